"""One daemon, session after session: started, held and ended by whoever may, and killed anywhere between."""

import json
import threading
import time
from collections.abc import Iterator

import pytest

from attended import FRAMES, SOON_S, Cable, Device, PowerLost, power_lost
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.errors import CommandError, SourceError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.proof import prove
from fnrbc_device.session_state import SessionPlan
from mortal import SHAPE, SPARE, Mortal, calm_path, kill_after, recorded


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    mortal = Mortal(frames=2000)
    yield mortal
    mortal.close()


def test_a_daemon_that_is_killed_while_it_waits_begins_nothing_by_itself(mortal, tmp_path):
    for _ in range(2):
        pid = mortal.start(tmp_path, "attended-nobody")
        kill_after(pid, tmp_path, "SELECT 1 FROM journal", 1)
        assert mortal.ended() == -9

    assert recorded(tmp_path, "SELECT 1 FROM sessions") == []
    assert prove(tmp_path / "journal.sqlite").fault == ""


def test_killed_in_its_second_session_it_goes_on_with_that_one_and_its_objective(mortal, tmp_path):
    pid = mortal.start(tmp_path, "attended-2")
    kill_after(pid, tmp_path, "SELECT 1 FROM frames WHERE session = (SELECT max(session) FROM sessions)"
               " AND (SELECT count(*) FROM sessions) = 2", 40)  # fmt: skip
    assert mortal.ended() == -9
    assert recorded(tmp_path, "SELECT ended_utc IS NOT NULL FROM sessions ORDER BY rowid") == [(1,), (0,)]

    mortal.start(tmp_path, "attended-end")
    assert mortal.ended() == 0

    rows = recorded(tmp_path, "SELECT session, meta, ended_utc IS NOT NULL, ending FROM sessions ORDER BY rowid")
    (_, first, *ended_first), (second, meta, *ended) = rows
    assert (ended_first, ended) == ([1, ""], [1, ""])
    assert (json.loads(first)["specimen"], json.loads(meta)["specimen"]) == ("A 17", SPARE.specimen)
    told = [json.loads(payload) for (payload,) in recorded(tmp_path, "SELECT payload FROM outbox ORDER BY seq")]
    lives = [(one["event"], one["pixel_size_um"]) for one in told if one["session"] == second and "source" in one]
    assert lives == [("started", 0.15), ("resumed", 0.15), ("finished", 0.15)]
    scale = recorded(tmp_path, f"SELECT x_um, col_px FROM events WHERE session = '{second}' AND col_px > 1")
    assert scale
    assert all(um == pytest.approx(0.15 * px) for um, px in scale)
    frames = [one for (one,) in recorded(tmp_path, f"SELECT frame FROM frames WHERE session = '{second}'")]
    assert frames == sorted(set(frames))
    assert prove(tmp_path / "journal.sqlite").fault == ""


@pytest.fixture
def start_device(tmp_path):
    devices = []

    def start(**changes):
        devices.append(Device(tmp_path, **changes))
        return devices[-1]

    yield start
    for device in devices:
        device.end()


def is_counting(snapshot, frames=5):
    return snapshot.state == "running" and snapshot.step is not None and snapshot.step.tally.frames_used >= frames


def test_without_room_a_start_is_refused_and_the_daemon_waits_and_says_why(start_device, tmp_path):
    device = start_device(record=RecordSettings(least_free_mb=10**9))
    device.shown(lambda one: one.obstacle == "disk_low")

    with pytest.raises(CommandError, match="The disk is nearly full"):
        device.ask("start")

    for _ in range(5):  # it is still said when no start has just brought it up
        snapshot = device.shown(lambda one: one.step is not None)
        assert (snapshot.state, snapshot.obstacle) == ("idle", "disk_low")
        assert "disk_low" in snapshot.health.reasons
    assert recorded(tmp_path, "SELECT 1 FROM sessions") == []
    assert device.thread.is_alive()


def camera_on(pulled, give_up_s=60.0):
    slide = SimulatedSlide.make(5, "giemsa", 40)
    microscope = SimulatedMicroscope(slide, calm_path(slide, FRAMES), seed=5, frame_shape=SHAPE, fps=60)
    return WatchedCamera("cable", lambda: Cable(microscope, pulled), 60.0, slide.pixel_size_um, give_up_s=give_up_s)


def test_a_camera_unplugged_while_nobody_counts_is_named_and_is_no_gap_of_the_next_session(start_device, tmp_path):
    pulled = threading.Event()
    device = start_device(source=camera_on(pulled))
    device.shown(lambda one: one.step is not None)
    pulled.set()
    pulled_s = time.monotonic()
    device.shown(lambda one: "camera_lost" in one.health.reasons and one.obstacle == "camera_lost")
    assert time.monotonic() - pulled_s < 2.0
    with pytest.raises(CommandError, match="The camera is gone"):
        device.ask("start")
    pulled.clear()
    device.shown(lambda one: "camera_lost" not in one.health.reasons)

    device.ask("start", SessionPlan(operator="anna"))
    device.shown(is_counting)
    device.end()

    assert device.ended_with is None
    assert recorded(tmp_path, "SELECT ended_utc IS NOT NULL FROM sessions") == [(1,)]
    assert recorded(tmp_path, "SELECT 1 FROM audit WHERE kind = 'gap' AND note LIKE '%camera_lost%'") == []


def test_a_camera_that_stays_away_while_nobody_counts_ends_the_process_so_that_it_is_started_anew(start_device):
    pulled = threading.Event()
    device = start_device(source=camera_on(pulled, give_up_s=0.5))
    pulled.set()
    device.thread.join(SOON_S)

    assert isinstance(device.ended_with, SourceError)
    assert "has given no good picture for" in str(device.ended_with)


def ask_on_record(device, verb):
    """Ask as a page or a broker's client does: it is on record first."""
    command_log = CommandLog(device.journal_path, "fnrbc", SystemClock())
    device.control.ask(verb, lambda: command_log.audit("anna", verb, "r1", ""))
    command_log.close()


def test_a_session_whose_end_was_ordered_when_the_power_went_is_ended_and_counts_nothing_more(start_device, tmp_path):
    with power_lost():
        device = start_device()
        device.ask("start")
        device.shown(is_counting)
        ask_on_record(device, "stop")
        device.thread.join(SOON_S)
        assert isinstance(device.ended_with, PowerLost)
    frames = recorded(tmp_path, "SELECT count(*) FROM frames")
    assert recorded(tmp_path, "SELECT ended_utc FROM sessions") == [(None,)]

    again = start_device()
    again.shown(lambda one: one.state == "finished" and one.step is not None)
    again.end()

    assert again.ended_with is None
    assert recorded(tmp_path, "SELECT ended_utc IS NOT NULL, complete FROM sessions") == [(1, 1)]
    assert recorded(tmp_path, "SELECT count(*) FROM frames") == frames
    assert prove(tmp_path / "journal.sqlite").fault == ""


def test_a_session_that_was_held_when_the_power_went_is_still_held(start_device, tmp_path):
    with power_lost():
        device = start_device()
        device.ask("start")
        device.shown(is_counting)
        ask_on_record(device, "pause")
        device.shown(lambda one: one.state == "paused")
        device.end()
        assert isinstance(device.ended_with, PowerLost)
    frames = recorded(tmp_path, "SELECT count(*) FROM frames")

    again = start_device()
    again.shown(lambda one: one.state == "paused" and one.step is not None)
    assert recorded(tmp_path, "SELECT count(*) FROM frames") == frames
    again.ask("resume")
    again.shown(is_counting)
