"""A daemon that is killed at any moment: nobody's count is lost or doubled, and the record stays one chain."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mortal import Mortal, recorded, standing

PIXEL_UM = 0.125


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    mortal = Mortal()
    yield mortal
    mortal.close()


@pytest.fixture(scope="module")
def undisturbed(mortal: Mortal, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[float, float, str]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert mortal.killed_until_it_ends(folder, "recording", kills=0, seed=0) == 0
    return standing(folder)


def test_a_recording_counts_the_same_however_often_the_daemon_is_killed(mortal, undisturbed, tmp_path):
    struck = mortal.killed_until_it_ends(tmp_path, "recording", kills=8, seed=5)

    assert struck >= 4
    assert standing(tmp_path) == undisturbed
    assert len(undisturbed) >= 8
    frames = [frame for (frame,) in recorded(tmp_path, "SELECT frame FROM frames ORDER BY frame")]
    assert frames == list(range(mortal.frames))
    kinds = [kind for (kind,) in recorded(tmp_path, "SELECT kind FROM audit ORDER BY link")]
    assert (kinds[0], kinds[-1], kinds.count("begun")) == ("begun", "ended", 1)
    told = [json.loads(payload)["event"] for (payload,) in recorded(tmp_path, "SELECT payload FROM outbox")]
    assert (told.count("started"), told.count("finished")) == (1, 1)
    assert told.count("resumed") == kinds.count("resumed") <= struck


def test_a_camera_goes_on_where_the_hand_is_and_no_cell_is_counted_twice(mortal, undisturbed, tmp_path):
    mortal.killed_until_it_ends(tmp_path, "live", kills=4, seed=6)

    places = np.array([place[:2] for place in standing(tmp_path).values()])
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(places))
    assert apart.min() * PIXEL_UM > 3.0
    assert len(places) == len(undisturbed)
    frames = [frame for (frame,) in recorded(tmp_path, "SELECT frame FROM frames ORDER BY frame")]
    assert frames == sorted(set(frames))


def test_without_its_checkpoint_a_session_goes_on_from_the_record(mortal, undisturbed, tmp_path):
    pid = mortal.start(tmp_path, "recording")
    kill_after(pid, tmp_path, frames=100)
    assert mortal.ended() == -9
    for checkpoint in tmp_path.glob("*.checkpoint"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])

    mortal.start(tmp_path, "recording")
    assert mortal.ended() == 0

    assert standing(tmp_path) == undisturbed


def kill_after(pid: int, folder: Path, frames: int) -> None:
    while len(recorded(folder, "SELECT 1 FROM frames")) < frames:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
