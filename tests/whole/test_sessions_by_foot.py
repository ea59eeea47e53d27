"""A technician's foot and the daemon: what a gesture does, what the lamp says, and what stands on record of it."""

import json
import time

import pytest

from attended import Device
from fnrbc_device.journal.proof import prove
from fnrbc_device.panel.lamp import colour_at
from mortal import recorded

pytest.importorskip("gpiozero", reason="gpiozero is not installed")

from fnrbc_device.panel.board import TURN_S, Panel, PanelPins
from fnrbc_device.panel.pins import pin_factory

TAP, REST, HOLD = (True, 0.2), (False, 0.6), (True, 1.0)
DOUBLE = [TAP, (False, 0.1), TAP, REST]


class Foot:
    """Presses the mock footswitch; the panel's time passes only while it does."""

    def __init__(self):
        self.factory = pin_factory("mock")
        self._now = 0.0
        self.panel = Panel(PanelPins(footswitch=7, green=29, red=31), self.factory, lambda: self._now)
        self.do([(False, 0.1)])

    def do(self, presses):
        for down, seconds in presses:
            pin = self.factory.pin("BOARD7")
            pin.drive_low() if down else pin.drive_high()
            for _ in range(round(seconds / TURN_S)):
                self._now += TURN_S
                self.panel.turn()

    def lamp(self):
        """What the lamp shows over four seconds."""
        shown = []
        for _ in range(200):
            self._now += TURN_S
            self.panel.turn()
            shown.append(tuple(bool(self.factory.pin(f"BOARD{number}").state) for number in (29, 31)))
        return shown


def lit(shown):
    """Share of the time that a lamp shows something."""
    return sum(any(colours) for colours in shown) / len(shown)


IDLE = lit([colour_at("idle", turn * TURN_S) for turn in range(200)])


def becomes_idle(footswitch):
    """Whether the lamp comes to the rhythm of a daemon that does not count; what was wrong before stays two seconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if lit(footswitch.lamp()) == pytest.approx(IDLE, abs=0.02):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def footswitch():
    footswitch = Foot()
    yield footswitch
    footswitch.panel.stop()


@pytest.fixture
def device(tmp_path, footswitch):
    device = Device(tmp_path, panel=footswitch.panel)
    yield device
    device.end()


def notes(folder):
    """What the record has of a person's doings: kind, frame and note."""
    rows = recorded(folder, "SELECT kind, frame, note FROM audit WHERE kind NOT IN ('made', 'frame') ORDER BY link")
    return [(kind, frame, json.loads(note)) for kind, frame, note in rows]


def test_a_foot_starts_holds_flags_and_takes_back_and_all_of_it_is_on_record(device, footswitch, tmp_path):
    def counted_on(frames):
        device.shown(lambda one: one.state == "running" and one.step is not None and one.step.tally.frames >= frames)

    device.shown(lambda one: one.step is not None)
    assert becomes_idle(footswitch)
    footswitch.do([HOLD, REST])  # there is nothing to flag yet
    footswitch.do([TAP, REST])
    counted_on(10)
    footswitch.do([HOLD, REST])
    counted_on(40)
    footswitch.do([HOLD, REST])
    counted_on(70)
    footswitch.do([*DOUBLE, *DOUBLE, *DOUBLE])  # two flags can be taken back, not three
    footswitch.do([TAP, REST])
    paused = device.shown(lambda one: one.state == "paused")
    assert paused.health.state == "paused"
    assert becomes_idle(footswitch)
    footswitch.do([TAP, REST])
    counted_on(100)
    device.end()

    said = notes(tmp_path)
    kinds = [kind for kind, _, _ in said if kind != "stain"]
    assert [kind for kind, _, _ in said][-2:] == ["stain", "ended"]
    assert kinds == ["begun", "flagged", "flagged", "unflagged", "unflagged", "paused", "unpaused", "ended"]
    first, second = (frame for kind, frame, _ in said if kind == "flagged")
    assert [frame for kind, frame, _ in said if kind == "unflagged"] == [second, first]
    place = recorded(tmp_path, f"SELECT island, row_px, col_px FROM frames WHERE frame = {first}")
    assert place == [(said[1][2]["island"], said[1][2]["row_px"], said[1][2]["col_px"])]
    ((meta,),) = recorded(tmp_path, "SELECT meta FROM sessions")
    assert json.loads(meta)["operator"] == "footswitch"
    assert prove(tmp_path / "journal.sqlite").fault == ""


def test_a_pause_names_the_last_frame_that_was_counted_before_it_and_none_is_counted_until_it_is_over(
    device, footswitch, tmp_path
):
    device.shown(lambda one: one.step is not None)
    for _ in range(4):
        footswitch.do([TAP, REST])
        device.shown(lambda one: one.state == "running" and one.step is not None and one.step.tally.frames >= 5)
        footswitch.do([TAP, REST])
        device.shown(lambda one: one.state == "paused")
    device.end()

    links = recorded(tmp_path, "SELECT kind, frame FROM audit WHERE kind IN ('frame', 'paused', 'unpaused')")
    pauses = [number for number, (kind, _) in enumerate(links) if kind == "paused"]
    assert len(pauses) == 4
    for number in pauses:
        assert links[number - 1][0] == "frame"
        assert links[number][1] == links[number - 1][1]
        assert [kind for kind, _ in links[number + 1 : number + 2]] in ([], ["unpaused"])


def test_a_second_tap_after_the_end_begins_another_session(device, footswitch, tmp_path):
    for _ in range(2):
        footswitch.do([TAP, REST])
        assert device.control.wait("running", 30)
        device.ask("stop")
        assert device.control.wait("finished", 30)
    device.end()

    assert recorded(tmp_path, "SELECT ended_utc IS NOT NULL FROM sessions") == [(1,), (1,)]
