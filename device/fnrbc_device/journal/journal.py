"""The record on disk: each frame, each step of the count and its message, in one transaction."""

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from fnrbc_device.contract.names import require_segment
from fnrbc_device.errors import JournalError
from fnrbc_device.host.clock import Clock, SystemClock, iso_utc
from fnrbc_device.journal.audit import Kind, provisional
from fnrbc_device.journal.epochs import LogState, log_state, require_own_numbers
from fnrbc_device.journal.proof import first_fault
from fnrbc_device.journal.queries import NOTHING_KEPT, Kept
from fnrbc_device.journal.results import results_of
from fnrbc_device.journal.schema import open_database
from fnrbc_device.journal.writer import JournalWriter
from fnrbc_device.records import CountEvent, SessionMeta, Step, Tally

ON_DISK_EVERY: Final = 30
"""Frames that a loss of power may take at most, all of them such as changed nothing of the count: a second. The disk
holds a transaction up by 2 to 8 ms, and by hundreds where others write; see decision 57."""


class Journal(JournalWriter):
    """The sessions of a device, their frames and their counts. Used by one thread, the one that opened it.

    ``open`` makes it. A session is begun, recorded step by step and ended; each of these is one transaction
    that also holds the messages of the log and a link of the audit, so that what is told and what is recorded cannot
    differ, and what was recorded cannot be changed unnoticed.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, device: str, clock: Clock) -> None:
        super().__init__(connection, path, device, clock)
        self._running: tuple[str, SessionMeta] | None = None
        self._frames_not_on_disk = 0

    @classmethod
    def open(cls, path: Path, device: str = "fnrbc", clock: Clock | None = None) -> "Journal":
        """Open the journal, making it where there is none. One that is older than what was told begins a new epoch.

        Parameters
        ----------
        path
            The file, usually ``journal.sqlite`` in the device's state folder.
        device
            Name that stands in every message.

        Raises
        ------
        JournalError
            The file cannot be written, is no journal, or one of a newer version.
        """
        require_segment(device, "device")
        clock = clock or SystemClock()
        require_own_numbers(path, device, clock)
        return cls(open_database(path, clock), path, device, clock)

    @property
    def last_seq(self) -> int:
        """``seq`` of the last record of the log, 0 before the first."""
        return self._last_seq

    @property
    def log_state(self) -> LogState:
        """How far the log reaches, and under which epoch."""
        with self._reading():
            return log_state(self._connection)

    def begin(self, session_id: str, started_utc: datetime, meta: SessionMeta) -> int:
        """Start a session and tell the log; returns ``last_seq``.

        Raises
        ------
        ConfigError
            The id is not fit to be part of a topic.
        JournalError
            A session runs already, this id was used before, or the disk refuses.
        """
        require_segment(session_id, "session")
        if self._running:
            raise JournalError(f"session {self._running[0]} is still running; end it before {session_id}")
        if self.knows(session_id):
            raise JournalError(f"session {session_id} is in {self._path} already; choose another id")
        with self._transaction():
            self._connection.execute(
                "INSERT INTO sessions (session, started_utc, meta) VALUES (?, ?, ?)",
                (session_id, iso_utc(started_utc), json.dumps(asdict(meta))),
            )
            first = self._tell_session("started", session_id, meta, {})
            self._link(session_id, "begun", first)
        self._running = (session_id, meta)
        return self._last_seq

    def resume(self, session_id: str, note: dict[str, Any]) -> int:
        """Go on with a session that was cut off, and mark it as such; returns ``last_seq``.

        Parameters
        ----------
        note
            What is known of the time between, for the audit.

        Raises
        ------
        JournalError
            A session runs already, this one has ended or never began, its record is damaged, or the disk refuses.
        """
        if self._running:
            raise JournalError(f"session {self._running[0]} is still running; end it before {session_id}")
        if session_id not in self.unfinished():
            raise JournalError(f"session {session_id} is not open in {self._path}; begin a new one")
        with self._reading():
            fault = first_fault(self._connection, session_id)
        if fault:
            raise JournalError(
                f"the journal {self._path} is damaged: {fault}; bring a backup back with `fnrbc restore`, "
                "or move it away for a new one"
            )
        meta = SessionMeta(**json.loads(self._unfinished(session_id).meta))
        with self._transaction():
            first = self._tell_session("resumed", session_id, meta, {})
            self._link(session_id, "resumed", first, note=note)
        self._running = (session_id, meta)
        return self._last_seq

    def note(self, kind: Kind, note: dict[str, Any], frame: int | None = None) -> None:
        """Write into the audit what stands in no other table: a time without camera, a flag that a person set.

        Raises
        ------
        JournalError
            No session runs, or the disk refuses.
        """
        session_id, _ = self._session()
        with self._transaction():
            self._link(session_id, kind, self._last_seq + 1, frame=frame, note=note)

    def record(self, step: Step, kept: Kept = NOTHING_KEPT, *, on_disk: bool = False) -> int:
        """Write down what one frame changed, and tell the log; returns ``last_seq``.

        All of it or nothing: the frame, its events, their messages and pictures are one transaction. Where it changes
        the count, and every ``ON_DISK_EVERY`` frames, it is on the disk when this returns, and all before it. A frame
        that changes nothing survives the end of the process at once, and a loss of power with the next such one.

        Parameters
        ----------
        on_disk
            It is to be on the disk whatever it changes: something else is about to rest on it.

        Raises
        ------
        JournalError
            No session runs, the frame is recorded already, or the disk refuses.
        """
        session_id, meta = self._session()
        on_disk = on_disk or bool(step.events or step.joins) or self._frames_not_on_disk + 1 >= ON_DISK_EVERY
        with self._transaction(on_disk=on_disk):
            first = self._last_seq + 1
            self._enter_frame(session_id, step)
            for event in step.events:
                self._enter_event(session_id, meta, step.frame.index, event, kept)
            for join in step.joins:
                row = (join.island, join.into, float(join.row_px), float(join.col_px))
                self._connection.execute(
                    "INSERT INTO joins (session, frame, island, into_island, row_px, col_px) VALUES (?, ?, ?, ?, ?, ?)",
                    (session_id, step.frame.index, *row),
                )
            plates = self._keep_plates(session_id, step.frame.index, kept)
            self._link(session_id, "frame", first, frame=step.frame.index, note=plates)
        self._frames_not_on_disk = 0 if on_disk else self._frames_not_on_disk + 1
        return self._last_seq

    def end(
        self,
        ended_utc: datetime,
        tally: Tally,
        complete: bool,
        last_events: Sequence[CountEvent] = (),
        ending: str = "",
        kept: Kept = NOTHING_KEPT,
    ) -> int:
        """Finish the session and tell the log its counts; returns ``last_seq``.

        Parameters
        ----------
        ended_utc
            When it ended.
        tally
            What was told; it must be what the recorded events add up to.
        complete
            Nothing is left open: no cell unsettled, no island unjoined.
        last_events
            Steps of the count that the session's end itself brought; recorded in the same transaction.
        ending
            Why it ended, where nobody asked for it: a full disk, or a loss of power that it did not go on after.
        kept
            Pictures of the cells that the end settled.

        Raises
        ------
        JournalError
            No session runs, the tally is not what the recorded events add up to, or the disk refuses.
        """
        session_id, meta = self._session()
        names = ("cells", "fnrbc", "leukocytes", "other", "indeterminate", "frames", "frames_used")
        counts: dict[str, Any] = {name: getattr(tally, name) for name in names}
        with self._transaction():
            first = self._last_seq + 1
            for event in last_events:
                self._enter_event(session_id, meta, event.best_frame, event, kept)
            self._require_agreement(session_id, tally)
            seen = (float(tally.unique_area_mm2), float(tally.revisit_share)) if tally.unique_area_mm2 else (None, None)
            self._connection.execute(
                "UPDATE sessions SET ended_utc = ?, complete = ?, ending = ?, area_mm2 = ?, revisit_share = ?,"
                " (frame_rows, frame_cols) = (SELECT frame_rows, frame_cols FROM plates"
                " WHERE plates.session = sessions.session LIMIT 1) WHERE session = ?",
                (iso_utc(ended_utc), complete, ending, *seen, session_id),
            )
            self._connection.execute("DELETE FROM plates WHERE session = ?", (session_id,))
            self._tell_session("finished", session_id, meta, counts | {"complete": complete})
            self._keep_mosaics(session_id, kept)
            reasons = provisional(self._connection, session_id)
            note = {"frames_dropped": tally.frames_dropped} | ({"reasons": reasons} if reasons else {})
            self._link(session_id, "ended", first, note=note)
        self._running = None
        return self._last_seq

    def abandon(self, session_id: str, ending: str) -> int:
        """End a session that was cut off with what is recorded of it; returns ``last_seq``.

        Raises
        ------
        JournalError
            It cannot be gone on with either (``resume``), or the disk refuses.
        """
        self.resume(session_id, {"ending": ending})
        return self.end(self._clock.utc(), self.tally(session_id), complete=False, ending=ending)

    def fold(self) -> None:
        """Bring the write-ahead file's content into the database and give its room back, where the disk lets it."""
        with contextlib.suppress(sqlite3.Error):  # what cannot be folded stays where it is, and is as safe there
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def let_go(self, session_id: str) -> None:
        """Remove the oldest session and its part of the audit, whose chain then begins after it; a link says so.

        Raises
        ------
        JournalError
            It is not the oldest, not ended, or has messages that nobody acknowledged; or the disk refuses.
        """
        oldest = self.oldest_to_let_go()
        if oldest is None or oldest[0] != session_id:
            raise JournalError(f"session {session_id} cannot be let go of: it is not the oldest that may go")
        with self._transaction():
            known = results_of(self._connection, session_id)
            note = self._cut_audit(session_id)
            for table in ("plates", "mosaics", "events", "joins", "frames", "sessions"):  # decisions: with links
                self._connection.execute(f"DELETE FROM {table} WHERE session = ?", (session_id,))
            first = self._last_seq + 1
            if known and known[-1].event == "signed":
                self._tell_removed(known[-1])
            self._link("", "let_go", first, note=note)
        self._connection.execute("PRAGMA incremental_vacuum").fetchall()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _session(self) -> tuple[str, SessionMeta]:
        if self._running is None:
            raise JournalError(f"no session runs in the journal {self._path}; begin one first")
        return self._running

    def _require_agreement(self, session_id: str, tally: Tally) -> None:
        """Refuse to close a session whose told count is not its recorded one."""
        recorded = self.tally(session_id)
        for name in ("cells", "fnrbc", "leukocytes", "other", "indeterminate"):
            told, known = getattr(tally, name), getattr(recorded, name)
            if told != known:
                raise JournalError(
                    f"session {session_id} would end with {told} {name}, but its record adds up to {known}; "
                    "keep the journal and report it: this is a defect"
                )
