"""A daemon whose sessions people start: it looks without counting, counts, and waits for the next."""

import threading

import pytest

from fnrbc_device.bundle import load_bundle
from fnrbc_device.camera.simulated import SimulatedMicroscope
from fnrbc_device.camera.simulated_slide import SimulatedSlide
from fnrbc_device.control import SessionControl, SessionPlan
from fnrbc_device.counting.audit import prove
from fnrbc_device.counting.journal import Journal
from fnrbc_device.daemon import Daemon, Setup
from fnrbc_device.publishing.settings import MqttSettings
from fnrbc_device.web.live import LiveView

SOON_S = 30.0


class Device:
    """A daemon in a thread, over a simulated slide at 60 frames/s."""

    def __init__(self, folder):
        slide = SimulatedSlide.make(5, "giemsa", 40)
        self.control = SessionControl()
        self.live = LiveView()
        self.stop = threading.Event()
        self.journal_path = folder / "journal.sqlite"
        setup = Setup(
            source=SimulatedMicroscope(slide, seed=5, fps=60),
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=self.journal_path,
            mqtt=MqttSettings(enabled=False),
            live=self.live,
            start="by_hand",
            control=self.control,
        )
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: Daemon(setup).run(self.stop, ready.set), name="counting")
        self.thread.start()
        assert ready.wait(SOON_S)

    def shown(self, condition):
        """Wait until the page shows something."""
        seq = 0
        for _ in range(2000):
            shown = self.live.wait_newer(seq, SOON_S)
            assert shown is not None
            if condition(shown.snapshot):
                return shown.snapshot
            seq = shown.seq
        raise AssertionError("never shown")

    def ask(self, verb, plan=None):
        self.control.ask(verb, lambda: None, plan)

    def end(self):
        self.stop.set()
        self.thread.join(SOON_S)


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


def test_after_the_end_of_a_recording_the_daemon_stays_for_the_review_and_begins_nothing(device):
    device.ask("start")
    assert device.control.wait("finished", 2 * SOON_S)

    device.ask("start")

    assert device.control.wait("idle", SOON_S)
    assert device.shown(lambda one: "camera_lost" in one.health.reasons).state == "idle"
    assert device.thread.is_alive()
