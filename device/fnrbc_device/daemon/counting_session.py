"""One session: frames from the camera's box to the count, the record, the lab and the page, until it ends."""

import logging
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from fnrbc_device.camera.colours import ColourWatch
from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.counting.claim import ClaimKeeper
from fnrbc_device.daemon.capture import Arrival, Capture, FrameBox
from fnrbc_device.daemon.footswitch import Footswitch
from fnrbc_device.daemon.recorder import Opening, Recorder
from fnrbc_device.daemon.status_board import SessionView, StatusBoard, looked_at
from fnrbc_device.errors import DiskFullError
from fnrbc_device.health import HealthMonitor
from fnrbc_device.host.clock import Clock
from fnrbc_device.host.garbage import Garbage
from fnrbc_device.mqtt.state_reporter import StateReporter
from fnrbc_device.records import HealthState, ProvisionalReason, SessionState, Step, Tally
from fnrbc_device.session_state import SessionControl

TAKE_TIMEOUT_S: Final = 0.5
"""How soon the daemon notices a stop while no frame comes."""

CAMERA_TIMEOUT_S: Final = 2.0
"""No frame for this long: the camera is lost."""

PIXEL_SIZE_SETTING: Final = "camera.pixel_size_um"
"""Where a person states the pixel size."""

COLOURS_SETTING: Final = "camera.exchange_red_blue = true"
"""Where a person says that the camera gives blue for red."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What sessions are made with, one after the other."""

    capture: Capture
    box: FrameBox
    recorder: Recorder
    control: SessionControl
    health: HealthMonitor
    reporter: StateReporter
    footswitch: Footswitch
    status_board: StatusBoard
    clock: Clock
    garbage: Garbage
    stop: threading.Event
    """Ends the process in an orderly way."""
    thumbnails: bool
    """Whether pictures of candidates go to the lab."""


class CountingSession:
    """Counts from where its opening stands to its end. Used once, by the counting thread."""

    def __init__(self, parts: Parts, opening: Opening) -> None:
        self._parts = parts
        self._opening = opening
        self._analyser = opening.analyser
        self._scale = ScaleWatch()
        self._colours = ColourWatch(COLOURS_SETTING, lambda words: _log.warning("%s", words))
        self._doubt = ""
        self._claims = ClaimKeeper(opening.meta.errors, parts.clock.monotonic_s)
        self._provisional: tuple[ProvisionalReason, ...] = ()
        self._stain = self._analyser.stain.state
        self._last_seq = parts.recorder.last_seq
        self._waited_since_s = parts.clock.monotonic_s()
        self._held = opening.state != "running"
        """What comes is shown, and not counted."""
        self.full: DiskFullError | None = None
        """Why it had to be closed before its time."""
        self._tally = self._analyser.tally()

    def run(self) -> Tally:
        """Count until somebody ends the session, the source ends or the disk is full; then close it.

        Returns
        -------
        Tally
            As recorded in the journal.

        Raises
        ------
        JournalError
            The record cannot be written.
        SourceError
            A live camera failed for good. The session goes on with the next start, when the camera is back.
        """
        parts = self._parts
        parts.control.enter(self._opening.state)
        parts.footswitch.begin()
        parts.health.begin()
        opening = self._opening
        about = (opening.specimen, opening.state, opening.meta.kind)
        parts.reporter.begin(opening.session, opening.began, self._last_seq, *about)
        self._tally = self._claimed(self._tally)
        parts.reporter.tell(self._tally, self._last_seq)  # what was told before the power went may be behind the record
        try:
            self._count()
        except DiskFullError as full:
            self.full = full
            self._drop_waiting()
        parts.capture.raise_live_fault()
        return self._finish()

    @property
    def told(self) -> SessionView:
        """What those who look are told of it."""
        return SessionView(self._opening.session, self._opening.meta, self._tally, self._analyser.slide_map)

    def _count(self) -> None:
        parts = self._parts
        while not (parts.stop.is_set() or parts.box.ended or parts.control.state == "stopping"):
            arrival, dropped = parts.box.take(TAKE_TIMEOUT_S)
            trouble = self._watch_camera()
            parts.garbage.follow()
            self._held = self._held and parts.control.state != "running"
            if self._held:
                self._look_on(arrival)
            elif arrival is None:
                self._wait(trouble)
            else:
                self._take(arrival, dropped)
            parts.footswitch.follow(self._hold)
            if parts.control.state == "paused" and not self._held:
                self._hold()
            parts.reporter.say_state(parts.control.state, self._last_seq, self._tally)
        self._take_waiting()

    def _hold(self) -> None:
        """Count what waits, for it came before; what comes from now on is shown, and not counted."""
        self._take_waiting()
        self._held = True

    def _look_on(self, arrival: Arrival | None) -> None:
        """Show a frame that comes while the session is held."""
        parts = self._parts
        self._waited_since_s = parts.clock.monotonic_s()
        self._show(looked_at(arrival.frame if arrival else None), "paused", "paused")
        parts.status_board.alive()

    def _take_waiting(self) -> None:
        """Count what waits when the session is held or ended."""
        arrivals, dropped = self._waiting()
        try:
            while arrivals:
                self._take(arrivals.popleft(), dropped)
                dropped = 0
        finally:
            self._analyser.drop(len(arrivals))

    def _drop_waiting(self) -> None:
        """Tell what waits as dropped: there is no room for it in the record."""
        arrivals, dropped = self._waiting()
        self._analyser.drop(dropped + len(arrivals))

    def _waiting(self) -> tuple[deque[Arrival], int]:
        """What waits to be counted, oldest first, and how many were dropped before it; nothing while it is held."""
        return (deque(), 0) if self._held else self._parts.box.take_waiting()

    def _take(self, arrival: Arrival, dropped: int) -> None:
        """Count one frame; what it changed is on record before anybody is told."""
        parts, analyser = self._parts, self._analyser
        self._waited_since_s = parts.clock.monotonic_s()
        parts.recorder.catch_up(analyser)
        analyser.drop(dropped)
        step = analyser.analyse(arrival.frame)
        step = replace(step, tally=self._claimed(step.tally))
        self._last_seq = parts.recorder.write(step, analyser)
        self._tally = step.tally
        self._watch(step, arrival, dropped)
        self._note_border(step.frame.index)
        if parts.thumbnails:
            self._show_candidates(step)
        parts.reporter.tell(step.tally, self._last_seq)
        parts.footswitch.see(step)
        state = parts.control.state
        self._show(step, state, "paused" if state == "paused" else "counting")
        parts.status_board.alive()

    def _wait(self, trouble: str) -> None:
        """No frame came."""
        parts = self._parts
        now = parts.clock.monotonic_s()
        if trouble or now - self._waited_since_s > CAMERA_TIMEOUT_S:
            parts.health.note(trouble or "camera_lost", now)
            self._show(None, "running", "counting")
        if trouble:  # the camera is waited for: that is no standstill of ours
            parts.status_board.alive()

    def _watch_camera(self) -> str:
        """Name the camera's trouble, and record the gaps that are over."""
        parts = self._parts
        for gap in parts.capture.take_gaps():
            note = {"reason": gap.reason, "seconds": gap.seconds, "reopened": gap.reopened}
            parts.recorder.note("gap", note, gap.after_frame)
        if parts.capture.trouble:
            parts.health.note(parts.capture.trouble, parts.clock.monotonic_s())
        return parts.capture.trouble

    def _watch(self, step: Step, arrival: Arrival, dropped: int) -> None:
        parts = self._parts
        now = parts.clock.monotonic_s()
        parts.health.watch(step, arrival.arrived_s, now, dropped)
        if parts.recorder.low:
            parts.health.note("disk_low", now)
        self._scale.see(step.frame, step.reason)
        self._watch_scale(now)
        self._colours.see(step.frame, step.reason)
        self._analyser.border.note("colours_impossible", holds=self._colours.fault is not None)
        for reason in step.tally.provisional:
            parts.health.note(reason, now)
        self._watch_stain(now, step.frame.index)

    def _watch_scale(self, now_s: float) -> None:
        """Tell where red cells contradict the stated pixel size."""
        doubt = self._scale.doubt(self._analyser.pixel_size_um, PIXEL_SIZE_SETTING)
        if doubt and not self._doubt:
            _log.warning("%s", doubt)
        self._doubt = doubt
        if doubt:
            self._parts.health.note("pixel_size_doubtful", now_s)
        self._analyser.border.note("pixel_size_out_of_domain", holds=bool(doubt))

    def _claimed(self, tally: Tally, *, final: bool = False) -> Tally:
        return self._claims.claimed(tally, self._analyser.border.reasons, final=final)

    def _note_border(self, frame: int | None = None) -> None:
        """Put it on record where the session crosses the border of what the network was measured on."""
        reasons = self._tally.provisional
        if reasons != self._provisional:
            self._provisional = reasons
            self._parts.recorder.note("provisional", {"reasons": list(reasons)}, frame)

    def _watch_stain(self, now_s: float, frame: int) -> None:
        """Tell what is known of the stain, and put it on record when it comes to be known or changes."""
        parts, stain = self._parts, self._analyser.stain
        if stain.doubt == "no_colours":
            parts.health.note("colours_missing", now_s)
        if stain.state == "changed":
            parts.health.note("stain_changed", now_s)
        if stain.state != self._stain:
            self._stain = stain.state
            _log.info("the stain is %s", stain.in_words())
            parts.recorder.note("stain", stain.as_note(), frame)

    def _show_candidates(self, step: Step) -> None:
        """Hand the pictures of newly counted candidates to the lab."""
        pictures = self._analyser.counter.pictures
        for one in step.events:
            if one.event == "counted" and one.verdict.is_candidate and one.cell in pictures:
                self._parts.status_board.candidate(one.cell, pictures[one.cell][0].crop)

    def _finish(self) -> Tally:
        parts, analyser = self._parts, self._analyser
        events = analyser.finish()
        self._scale.finish()
        self._watch_scale(parts.clock.monotonic_s())
        tally = self._claimed(replace(analyser.tally(), cells_open=0), final=True)
        if self.full is None:
            self._tally = tally
            self._note_border()
            # It was refined since it was settled: what the whole session agreed on is what the report says.
            parts.recorder.note("stain", analyser.stain.as_note() | {"final": True})
        ended = parts.clock.utc()
        complete = tally.islands <= 1 and tally.frames_used > 0 and self.full is None
        self._last_seq = parts.recorder.end(ended, tally, complete, events, analyser, str(self.full or ""))
        self._tally = tally
        parts.control.enter("finished")
        parts.reporter.end(tally, self._last_seq, ended, complete)
        self._show(None, "finished", "stopping" if parts.stop.is_set() else "ready")
        return tally

    def _show(self, step: Step | None, state: SessionState, health_state: HealthState) -> None:
        parts = self._parts
        health = parts.status_board.show(step, state, health_state, self.told)
        parts.footswitch.show(health)
        parts.reporter.tell_health(health, self._last_seq)
