"""Between sessions: what the camera sees is shown, and nothing is counted, until somebody starts one."""

import logging
from collections.abc import Callable
from typing import Literal

from fnrbc_device.daemon.counting_session import CAMERA_TIMEOUT_S, TAKE_TIMEOUT_S, Parts
from fnrbc_device.daemon.recorder import Opening
from fnrbc_device.daemon.status_board import NO_SESSION, SessionView, looked_at
from fnrbc_device.errors import DiskFullError, SourceError
from fnrbc_device.records import BadFrame, Frame
from fnrbc_device.session_state import SessionPlan
from fnrbc_device.texts import cue_sentence

Begin = Callable[[SessionPlan, int], Opening]
"""Begins a session as planned, from a frame's number on."""

AtTheEnd = Literal["leave", "stay"]
"""What to do when the source has no more frames: people may still want to review."""

_log = logging.getLogger(__name__)


class Idle:
    """Waits for a session to be asked for, and begins it.

    Parameters
    ----------
    parts
        What the daemon runs on.
    begin
        Raises DiskFullError or SourceError where no session can be begun.
    at_the_end
        Whether to go on waiting when the source has ended.
    """

    def __init__(self, parts: Parts, begin: Begin, at_the_end: AtTheEnd) -> None:
        self._parts = parts
        self._begin = begin
        self._at_the_end = at_the_end
        self._seen_s = 0.0
        self._no_picture = ""
        """What is wrong with the camera's pictures, as a reason of the health state."""
        self._obstacle = ""

    def for_start(self, told: SessionView) -> Opening | None:
        """Show what the camera sees until somebody starts a session; None where the process shall end.

        Parameters
        ----------
        told
            The last session as it was shown; it stays in sight while it is the newest.
        """
        parts = self._parts
        self._seen_s = parts.clock.monotonic_s()
        while not (parts.stop.is_set() or self._is_over()):
            frame = self._look()
            parts.capture.raise_live_fault()
            parts.recorder.look_at_room()
            self._look_for_obstacles()
            parts.footswitch.follow()
            if parts.control.state == "starting":
                opening = self._begun(frame.index if frame else 0)
                if opening is not None:
                    return opening
            self._show(frame, told)
        return None

    def _is_over(self) -> bool:
        return self._parts.box.ended and self._at_the_end == "leave"

    def _look(self) -> Frame | BadFrame | None:
        """Take the newest frame, which nothing counts; None where there is none, or looking would use it up."""
        parts = self._parts
        if parts.capture.waits or parts.box.ended:
            parts.control.wait("starting", TAKE_TIMEOUT_S)
            return None
        arrival, _ = parts.box.take(TAKE_TIMEOUT_S)
        parts.capture.take_gaps()
        now = parts.clock.monotonic_s()
        if arrival is not None:
            self._seen_s = now
        lost = now - self._seen_s > CAMERA_TIMEOUT_S
        self._no_picture = parts.capture.trouble or ("camera_lost" if lost else "")
        if self._no_picture:
            parts.health.note(self._no_picture, now)
        return arrival.frame if arrival else None

    def _look_for_obstacles(self) -> None:
        """Know why no session can be started before somebody asks for one."""
        parts = self._parts
        if parts.recorder.low:
            parts.health.note("disk_low", parts.clock.monotonic_s())
        self._obstacle = self._newest_obstacle()
        if parts.control.state != "starting":
            parts.control.hinder(cue_sentence(self._obstacle) if self._obstacle else "")

    def _newest_obstacle(self) -> str:
        parts = self._parts
        if parts.box.ended:
            return "recording_ended" if parts.capture.is_recording else "camera_lost"
        return self._no_picture or ("disk_low" if parts.recorder.low else "")

    def _begun(self, first_frame: int) -> Opening | None:
        """Begin what was asked for; None where there is no room or no camera, which the page then says."""
        parts = self._parts
        parts.reporter.say_state("starting", parts.recorder.last_seq)
        try:
            if parts.box.ended:
                raise SourceError("the recording is at its end; start the daemon again")
            return self._begin(parts.control.plan, first_frame)
        except (DiskFullError, SourceError) as error:
            _log.error("no session was begun: %s", error)
            reason = "disk_low" if isinstance(error, DiskFullError) else "camera_lost"
            parts.health.note(reason, parts.clock.monotonic_s())
            parts.control.enter("idle", cue_sentence(self._newest_obstacle() or reason))
            parts.reporter.say_state("idle", parts.recorder.last_seq)
            return None

    def _show(self, frame: Frame | BadFrame | None, told: SessionView) -> None:
        parts = self._parts
        state = parts.control.state
        told = told if state == "finished" else NO_SESSION
        health = parts.status_board.show(looked_at(frame), state, "ready", told, self._obstacle)
        parts.footswitch.show(health)
        parts.reporter.tell_health(health, parts.recorder.last_seq)
        parts.status_board.alive()
