"""What the technician's foot does to a session: each step of it is on record."""

import logging
from collections.abc import Callable
from typing import Final

from fnrbc_device.daemon.recorder import Recorder
from fnrbc_device.errors import CommandError
from fnrbc_device.health import Health
from fnrbc_device.panel.board import Panel
from fnrbc_device.panel.lamp import lamp_of
from fnrbc_device.records import Step
from fnrbc_device.session_state import SessionControl, SessionPlan

MOST_FLAGS: Final = 1000
"""Flags that can be taken back one by one."""

FOOT: Final = "footswitch"
"""Who starts a session that the foot starts."""

_log = logging.getLogger(__name__)


class Footswitch:
    """Follows the panel's gestures in the counting thread.

    Parameters
    ----------
    panel
        None where there is none; then nothing ever happens.
    recorder
        Keeps what was done.
    control
        What a tap changes.
    buzz
        Whether an fNRBC sounds the buzzer.
    """

    def __init__(self, panel: Panel | None, recorder: Recorder, control: SessionControl, buzz: bool) -> None:
        self._panel = panel
        self._recorder = recorder
        self._control = control
        self._buzz = buzz
        self._last: Step | None = None
        self._flags: list[int] = []

    def begin(self) -> None:
        """Take in that a session begins: what is flagged belongs to it."""
        self._last = None
        self._flags = []

    def follow(self, hold: Callable[[], None] = lambda: None) -> None:
        """Do what was asked since the last time.

        Parameters
        ----------
        hold
            Called before a pause is put on record: counts what came before it, and nothing that comes then.
        """
        for gesture in self._panel.take() if self._panel else ():
            if gesture == "start_pause":
                self._tap(hold)
            elif self._control.state not in ("running", "paused"):
                continue
            elif gesture == "flag":
                self._flag()
            elif self._flags:
                self._recorder.note("unflagged", {}, self._flags.pop())

    def see(self, step: Step) -> None:
        """Take the newest step in."""
        self._last = step
        targets = any(event.event == "counted" and event.verdict.role == "target" for event in step.events)
        if self._panel is not None and self._buzz and targets:
            self._panel.buzz()

    def show(self, health: Health) -> None:
        """Let the lamp say how it goes."""
        if self._panel is not None:
            self._panel.show(lamp_of(health))

    def _tap(self, hold: Callable[[], None]) -> None:
        """Start a session, hold it, or let it go on."""
        control = self._control
        try:
            if control.state == "running":
                hold()
                control.ask("pause", lambda: self._recorder.note("paused", {}, self._frame()))
            elif control.state == "paused":
                control.ask("resume", lambda: self._recorder.note("unpaused", {}, self._frame()))
            else:
                control.ask("start", lambda: None, SessionPlan(operator=FOOT))  # its begin is on record
        except CommandError as error:
            _log.info("the footswitch was not followed: %s", error)

    def _flag(self) -> None:
        """Flag the field in view: the last frame, and where it lies."""
        frame = self._frame()
        if self._last is None or frame is None:
            return
        pose = self._last.pose
        place = {"island": pose.island, "row_px": pose.row_px, "col_px": pose.col_px} if pose else {}
        self._recorder.note("flagged", place, frame)
        self._flags = [*self._flags[-MOST_FLAGS + 1 :], frame]

    def _frame(self) -> int | None:
        return self._last.frame.index if self._last else None
