"""A daemon that is killed at any moment: nobody's count is lost or doubled, and the record stays one chain."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fnrbc_device.camera.simulated.slide import SimulatedSlide
from mortal import Mortal, held_to_truth, kill_after, recorded, standing

SEED, CELLS = 77, 40


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    mortal = Mortal(SEED, CELLS, frames=140)
    yield mortal
    mortal.close()


Outcome = tuple[dict[int, tuple[float, float, str]], list[tuple[object, ...]]]


def outcome(folder: Path) -> Outcome:
    """Where each cell stands and as what, and the views that were kept of it."""
    views = "SELECT cell, view, crops.frame, picture FROM crops JOIN events USING (seq) ORDER BY cell, view"
    return standing(folder), recorded(folder, views)


@pytest.fixture(scope="module")
def undisturbed(mortal: Mortal, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert mortal.killed_until_it_ends(folder, "recording", kills=0, seed=0) == 0
    return outcome(folder)


def test_a_recording_counts_the_same_however_often_the_daemon_is_killed(mortal, undisturbed, tmp_path):
    struck = mortal.killed_until_it_ends(tmp_path, "recording", kills=6, seed=5)

    assert struck >= 3
    assert outcome(tmp_path) == undisturbed
    assert all(len(part) >= 5 for part in undisturbed)
    frames = [frame for (frame,) in recorded(tmp_path, "SELECT frame FROM frames ORDER BY frame")]
    assert frames == list(range(mortal.frames))
    kinds = [kind for (kind,) in recorded(tmp_path, "SELECT kind FROM audit ORDER BY link")]
    assert (kinds[:2], kinds[-1], kinds.count("begun")) == (["made", "begun"], "ended", 1)
    told = [json.loads(payload)["event"] for (payload,) in recorded(tmp_path, "SELECT payload FROM outbox")]
    assert (told.count("started"), told.count("finished")) == (1, 1)
    assert told.count("resumed") == kinds.count("resumed") <= struck


def test_a_camera_goes_on_where_the_hand_is_and_counts_what_it_shows_once(mortal, tmp_path):
    mortal.killed_until_it_ends(tmp_path, "live", kills=4, seed=6)

    held = held_to_truth(tmp_path, SimulatedSlide.make(SEED, "giemsa", CELLS), mortal.frames)
    assert (held.found, held.twice) == (held.wanted, [])
    assert held.wanted >= 3
    frames = [frame for (frame,) in recorded(tmp_path, "SELECT frame FROM frames ORDER BY frame")]
    assert frames == sorted(set(frames))


def test_without_its_checkpoint_a_session_goes_on_from_the_record(mortal, undisturbed, tmp_path):
    pid = mortal.start(tmp_path, "recording")
    kill_after(pid, tmp_path, "SELECT 1 FROM frames", 70)
    assert mortal.ended() == -9
    for checkpoint in tmp_path.glob("*.checkpoint"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])

    mortal.start(tmp_path, "recording")
    assert mortal.ended() == 0

    assert outcome(tmp_path) == undisturbed
