"""One session on disk: begun or gone on with, written frame by frame, and closed properly whatever the disk does."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from fnrbc_device.camera.source import FrameSource
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.daemon.checkpoint import CheckpointFile
from fnrbc_device.daemon.resume import Resume, why_not
from fnrbc_device.errors import DiskFullError
from fnrbc_device.host.clock import Clock, boot_id, moment_of
from fnrbc_device.host.disk_space import CLOSE_AT_BYTES, MB, RecordSettings, Reserve, room_bytes
from fnrbc_device.journal.audit import Kind
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import NOTHING_KEPT, Kept, Unfinished
from fnrbc_device.journal.retention import prune
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.records import CountEvent, SessionMeta, SessionState, Step, Tally

MOSAIC_PX: Final = 2048
MOSAICS: Final = 8
"""Largest side of an island's picture that is kept, and of how many: some 0.5 MB each, 4 MB a session at most."""

CHECKPOINT_FRAMES: Final = 120
"""Between two checkpoints of 1 to 3 MB, at least: four seconds at 30 frames/s. One takes 5 ms and 10 us a cell of the
counting thread's time, so there are also at least as many frames between two as there are cells: fewer than one frame
in a hundred waits for one, and the share of the time stays the same however long a session grows."""

PUT_OFF_FRAMES: Final = 30
"""How long a checkpoint waits for a frame that suits it: of a live camera one after which no views wait, for it would
cut them, beside the look, first; of a source that shows its frames again one that is not looked back at, for its
picture is not kept. Of 120 checkpoints at frames that might be, 12 went on to other events within 30 frames."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """How a session starts."""

    session: str
    meta: SessionMeta
    analyser: Analyser
    began: datetime
    first_frame: int
    """Index that the source's next frame has in the record."""
    specimen: str
    """Hash of the specimen's id, for the lab."""
    state: SessionState = "running"
    """``paused`` or ``stopping`` where somebody had asked for that when it was cut off."""


class Recorder:
    """Keeps the record of one session after the other. Used by the thread that opened the journal.

    Parameters
    ----------
    journal
        Open.
    folder
        The device's state folder.
    clock
        UTC for names, monotonic for intervals.
    settings
        What the record may take.
    seen_again
        Whether the source shows its frames again when a session goes on.
    """

    def __init__(
        self, journal: Journal, folder: Path, clock: Clock, settings: RecordSettings, *, seen_again: bool = False
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._clock = clock
        self._settings = settings
        self._seen_again = seen_again
        self._reserve = Reserve(folder)
        self._checkpoint: CheckpointFile | None = None
        self._since_checkpoint = CHECKPOINT_FRAMES
        self._owed: int | None = None
        """Frame whose checkpoint is written before the next frame is counted."""
        self._keyframes = 0
        self.low = False
        """Whether there is less room than a session is begun with."""
        self._unwritten: list[CountEvent] = []
        """Counted by a frame that the disk refused: the session's end records them."""

    @property
    def last_seq(self) -> int:
        """``seq`` of the last record of the log."""
        return self._journal.last_seq

    def go_on(
        self,
        meta: SessionMeta,
        source: FrameSource,
        fresh: Callable[[float], Analyser],
        may_go_on: Callable[[], bool],
    ) -> Opening | None:
        """Go on with the session that was cut off; None where there is none that can be gone on with.

        Parameters
        ----------
        meta
            What a new session's counts would rest on; one that rests on something else is ended instead.
        source
            Newly opened.
        fresh
            Makes an analyser that has seen nothing, for a pixel size in um.
        may_go_on
            False ends looking again at what the source shows again.

        Raises
        ------
        JournalError
            The record is damaged, or cannot be written.
        """
        now = self._clock.utc()
        self._prune(now)
        for cut_off in self._journal.cut_off():
            words = why_not(cut_off, meta, now)
            if not words:
                return self._gone_on(cut_off, source, fresh, may_go_on)
            _log.warning("session %s, which was cut off, is ended: %s", cut_off.session, words)
            self._journal.abandon(cut_off.session, words)
            CheckpointFile(self._folder, cut_off.session).remove()
        return None

    def begin(self, meta: SessionMeta, fresh: Callable[[float], Analyser], first_frame: int) -> Opening:
        """Begin a session.

        Parameters
        ----------
        meta
            What its counts rest on.
        fresh
            Makes an analyser that has seen nothing, for a pixel size in um.
        first_frame
            Index that its first frame will have, or less.

        Raises
        ------
        DiskFullError
            There is not enough room for a session.
        JournalError
            The record cannot be written.
        """
        session, now = self.begin_record(meta)
        self._note_session(session)
        specimen = specimen_hash(meta.specimen, self._folder)
        return Opening(session, meta, fresh(meta.pixel_size_um), now, first_frame, specimen)

    def begin_record(self, meta: SessionMeta) -> tuple[str, datetime]:
        """Begin the record of a session, whoever counts it; gives its name and when it began. Raises as ``begin``."""
        now = self._clock.utc()
        self._prune(now)
        self._require_room()
        session = self._free_name(now)
        self._journal.begin(session, now, meta)
        return session, now

    def write(self, step: Step, analyser: Analyser) -> int:
        """Record a step; returns ``last_seq``.

        Raises
        ------
        DiskFullError
            The disk is full, or so nearly that the session must be closed now.
        JournalError
            The record cannot be written.
        """
        added = analyser.placing.registration.keyframes.added
        kept = _kept(analyser, step.events, self._keyframes)
        checkpoint = self._is_checkpoint_due(analyser, step)
        try:
            # A checkpoint that knows of frames which a loss of power took from the record would be of no use.
            last_seq = self._journal.record(step, kept, on_disk=checkpoint)
        except DiskFullError:
            self._unwritten = step.events
            raise
        self._keyframes = added
        self._owed = step.frame.index if checkpoint else None
        if checkpoint:
            self._since_checkpoint = 0
            if not analyser.views_wait:
                self.catch_up(analyser)
        self._require_room_to_close()
        return last_seq

    def catch_up(self, analyser: Analyser) -> None:
        """Write the checkpoint that is owed, before the next frame is counted, which begins with cutting the views."""
        if self._owed is None or self._checkpoint is None:
            return
        frame, self._owed = self._owed, None
        try:
            self._checkpoint.write(analyser, frame)
        except OSError as error:
            _log.warning("no checkpoint (%s): the record alone will have to do", error.strerror)

    def look_at_room(self) -> None:
        """See whether there is room for a session, while none runs."""
        self.low = not self._has_room()

    def note(self, kind: Kind, note: dict[str, Any], frame: int | None = None) -> None:
        """Write what a person did, or a time without camera, into the audit."""
        self._journal.note(kind, note, frame)

    def end(
        self, ended: datetime, tally: Tally, complete: bool, events: list[CountEvent], analyser: Analyser, ending: str
    ) -> int:
        """Close the session; returns ``last_seq``.

        Raises
        ------
        JournalError
            The record cannot be written, not even into the room that was held for it.
        """
        if ending:
            self._reserve.give_up()
            self._journal.fold()
        kept = NOTHING_KEPT if ending else _kept(analyser, events, analyser.placing.registration.keyframes.added)
        if not ending:
            kept = replace(kept, mosaics=_mosaics(analyser))
        last_seq = self._journal.end(ended, tally, complete, [*self._unwritten, *events], ending, kept)
        if self._checkpoint is not None:
            self._checkpoint.remove()
        return last_seq

    def _gone_on(
        self,
        cut_off: Unfinished,
        source: FrameSource,
        fresh: Callable[[float], Analyser],
        may_go_on: Callable[[], bool],
    ) -> Opening:
        self._reserve.hold()
        note = {"after_frame": cut_off.last_frame, "last_utc": cut_off.last_utc, "boot": boot_id()}
        self._journal.resume(cut_off.session, note)
        meta = SessionMeta(**json.loads(cut_off.meta))
        resuming = Resume(self._journal, cut_off.session, self._folder, lambda: fresh(meta.pixel_size_um))
        analyser = resuming.analyser(source, may_go_on)
        self._note_session(cut_off.session)
        self._keyframes = analyser.placing.registration.keyframes.added
        _log.warning("going on with session %s after frame %d", cut_off.session, cut_off.last_frame)
        began, following = moment_of(cut_off.started_utc), cut_off.last_frame + 1
        specimen = specimen_hash(meta.specimen, self._folder)
        state = self._journal.state_asked_for(cut_off.session)
        return Opening(cut_off.session, meta, analyser, began, following, specimen, state)

    def _note_session(self, session: str) -> None:
        self._checkpoint = CheckpointFile(self._folder, session)
        self._since_checkpoint, self._owed, self._keyframes, self._unwritten = CHECKPOINT_FRAMES, None, 0, []

    def _prune(self, now: datetime) -> None:
        prune(self._journal, self._settings, now if self._clock.synchronised() else None)

    def _is_checkpoint_due(self, analyser: Analyser, step: Step) -> bool:
        self._since_checkpoint += 1
        late = self._since_checkpoint - max(CHECKPOINT_FRAMES, step.tally.cells)
        unsuited = analyser.may_look_back if self._seen_again else analyser.views_wait
        return self._checkpoint is not None and late >= (PUT_OFF_FRAMES if unsuited else 0)

    def _free_name(self, now: datetime) -> str:
        """Name of a session that starts now; a clock that was set back may have given it before."""
        name = first = now.strftime("s%Y%m%d-%H%M%S")
        number = 1
        while self._journal.knows(name):
            number += 1
            name = f"{first}-{number}"
        return name

    def _require_room(self) -> None:
        if not self._has_room():
            raise DiskFullError(
                f"{self._room() // MB} MB are free for {self._folder}, below the limit of "
                f"{self._settings.least_free_mb} for a session; free some, or lower record.keep_mb"
            )

    def _require_room_to_close(self) -> None:
        room = self._room()
        self.low = room < self._settings.least_free_mb * MB
        if room >= CLOSE_AT_BYTES:
            return
        self._journal.fold()
        if self._room() < CLOSE_AT_BYTES:
            raise DiskFullError(
                f"{self._room() // MB} MB are free for {self._folder}, below the {CLOSE_AT_BYTES // MB} that a "
                "session needs to be closed properly, so it was closed; free some and start again"
            )

    def _has_room(self) -> bool:
        return self._reserve.hold() and self._room() >= self._settings.least_free_mb * MB

    def _room(self) -> int:
        return room_bytes(self._folder, self._journal.files)


def _kept(analyser: Analyser, events: list[CountEvent], keyframes_before: int) -> Kept:
    """Pictures that go with events: what a person reviews, and what registration holds on to since then."""
    keyframes = analyser.placing.registration.keyframes
    if not events and keyframes.added == keyframes_before:
        return NOTHING_KEPT
    new = [keyframe for keyframe in keyframes if keyframe.number >= keyframes_before]
    return Kept(analyser.counter.pictures, new, analyser.frame_shape or (0, 0))


def _mosaics(analyser: Analyser) -> list[Mosaic]:
    """How the slide looked, of so many islands as are kept, the largest first."""
    seen = analyser.slide_map
    found = [seen.mosaic(island, MOSAIC_PX) for island in seen.islands] if seen else []
    there = [one for one in found if one is not None]
    return sorted(there, key=lambda one: -int(np.count_nonzero(one.coverage)) * one.um_per_px**2)[:MOSAICS]
