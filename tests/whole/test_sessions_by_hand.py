"""A daemon whose sessions people start: it looks without counting, counts, and waits for the next."""

import pytest

from attended import SOON_S, Device
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import CommandError
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.session_state import SessionPlan
from mortal import SHAPE, calm_path


@pytest.fixture
def device(tmp_path):
    device = Device(tmp_path)
    yield device
    device.end()


def test_nothing_is_counted_before_somebody_starts_and_the_picture_is_there(device):
    snapshot = device.shown(lambda one: one.step is not None)

    assert (snapshot.state, snapshot.session_id, snapshot.health.state) == ("idle", "", "ready")
    assert snapshot.step.tally.frames == 0
    assert snapshot.step.marks == []


def test_sessions_follow_each_other_with_what_was_said_at_their_start(device):
    for specimen in ("A 17", "B 4"):
        device.ask("start", SessionPlan(operator="anna", specimen=specimen))
        assert device.control.wait("running", SOON_S)
        device.shown(lambda one: one.state == "running" and one.step is not None and one.step.tally.frames_used > 5)
        device.ask("stop")
        assert device.control.wait("finished", SOON_S)
    device.end()

    with Journal.open(device.journal_path) as journal:
        assert journal.unfinished() == []
        rows = journal._connection.execute("SELECT session, meta FROM sessions ORDER BY started_utc").fetchall()
        frames = [[frame.index for frame in journal.frames(session)] for session, _ in rows]
    assert ['"specimen": "A 17"' in rows[0][1], '"specimen": "B 4"' in rows[1][1]] == [True, True]
    assert frames[0][-1] < frames[1][0]
    assert prove(device.journal_path).fault == ""


def test_after_the_end_of_a_recording_the_daemon_stays_for_the_review_and_begins_nothing(tmp_path):
    slide = SimulatedSlide.make(5, "giemsa", 40)
    path = calm_path(slide, 40)
    device = Device(tmp_path, source=SimulatedMicroscope(slide, path, seed=5, frame_shape=SHAPE, fps=60))
    device.ask("start")
    assert device.control.wait("finished", SOON_S)

    device.shown(lambda one: one.obstacle == "recording_ended")
    with pytest.raises(CommandError, match="The recording is at its end"):
        device.ask("start")

    assert device.control.state == "finished"
    assert device.thread.is_alive()
    device.end()
