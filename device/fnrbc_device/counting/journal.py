"""The record on disk: each frame, each step of the count and its message, in one transaction."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from fnrbc_device.clock import Clock, SystemClock, iso_utc
from fnrbc_device.counting.audit import Kind, add_link, first_fault
from fnrbc_device.counting.history import NOTHING_KEPT, History, Kept, as_png
from fnrbc_device.counting.schema import EVENT_COLUMNS, event_row, journal_error, open_database, roll_back
from fnrbc_device.errors import JournalError
from fnrbc_device.publishing.payloads import CellRecord, Record, SessionRecord, cell_fields
from fnrbc_device.publishing.topics import LOG_CELL, LOG_SESSION, require_segment
from fnrbc_device.records import BadFrame, CountEvent, Step, Tally

MAX_REASON: Final = 256
"""Characters of a reason or a name that go into a message; the journal keeps them whole."""


@dataclass(frozen=True, slots=True)
class SessionMeta:
    """What a session's counts rest on."""

    software: str
    bundle: str
    """Id of the model bundle."""
    source: str
    """The camera, the folder or the simulation, for people."""
    pixel_size_um: float
    config_hash: str = ""


class Journal(History):
    """The sessions of a device, their frames and their counts. Used by one thread, the one that opened it.

    ``open`` makes it. A session is begun, recorded step by step and ended; each of these is one transaction
    that also holds the messages of the log and a link of the audit, so that what is told and what is recorded cannot
    differ, and what was recorded cannot be changed unnoticed.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, device: str, clock: Clock) -> None:
        super().__init__(connection, path)
        self._device = device
        self._clock = clock
        self._running: tuple[str, SessionMeta] | None = None
        self.epoch: str
        """Random, made with the file: it tells this journal's numbers from those of any other."""
        self._last_seq: int
        self.epoch, self._last_seq = connection.execute("SELECT epoch, last_seq FROM journal").fetchone()

    @classmethod
    def open(cls, path: Path, device: str = "fnrbc", clock: Clock | None = None) -> "Journal":
        """Open the journal, making it where there is none.

        Parameters
        ----------
        path
            The file, usually ``journal.sqlite`` in the device's state folder.
        device
            Name that stands in every message.

        Raises
        ------
        JournalError
            The file cannot be written, is no journal, or one of another version.
        """
        require_segment(device, "device")
        return cls(open_database(path), path, device, clock or SystemClock())

    @property
    def last_seq(self) -> int:
        """``seq`` of the last record of the log, 0 before the first."""
        return self._last_seq

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
        if self._knows(session_id):
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
            raise JournalError(f"the journal {self._path} is damaged: {fault}; move it away, and a new one is made")
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

    def record(self, step: Step, kept: Kept = NOTHING_KEPT) -> int:
        """Write down what one frame changed, and tell the log; returns ``last_seq``.

        All of it or nothing: the frame, its events, their messages and pictures are one transaction.

        Raises
        ------
        JournalError
            No session runs, the frame is recorded already, or the disk refuses.
        """
        session_id, meta = self._session()
        with self._transaction():
            first = self._last_seq + 1
            self._enter_frame(session_id, step)
            for event in step.events:
                self._enter_event(session_id, meta, step.frame.index, event, kept)
            for join in step.joins:
                row = (join.island, join.into, float(join.row_px), float(join.col_px))
                self._connection.execute(
                    "INSERT INTO joins VALUES (?, ?, ?, ?, ?, ?)", (session_id, step.frame.index, *row)
                )
            self._keep_plates(session_id, step.frame.index, kept)
            self._link(session_id, "frame", first, frame=step.frame.index)
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
            self._connection.execute(
                "UPDATE sessions SET ended_utc = ?, complete = ?, ending = ? WHERE session = ?",
                (iso_utc(ended_utc), complete, ending, session_id),
            )
            self._connection.execute("DELETE FROM plates WHERE session = ?", (session_id,))
            self._tell_session("finished", session_id, meta, counts | {"complete": complete})
            self._link(session_id, "ended", first)
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

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Everything inside is written, or nothing; the number of the last record follows suit."""
        before = self._last_seq
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            (self._last_seq,) = self._connection.execute("SELECT last_seq FROM journal").fetchone()
            yield
            self._connection.execute("UPDATE journal SET last_seq = ?", (self._last_seq,))
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._last_seq = before
            roll_back(self._connection)
            if isinstance(error, sqlite3.Error):
                raise journal_error(self._path, error) from error
            raise

    def _session(self) -> tuple[str, SessionMeta]:
        if self._running is None:
            raise JournalError(f"no session runs in the journal {self._path}; begin one first")
        return self._running

    def _knows(self, session_id: str) -> bool:
        with self._reading():
            found = self._connection.execute("SELECT 1 FROM sessions WHERE session = ?", (session_id,))
            return found.fetchone() is not None

    def _enter_frame(self, session_id: str, step: Step) -> None:
        frame, pose = step.frame, step.pose
        self._connection.execute(
            "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                session_id,
                frame.index,
                frame.captured_at_s,
                frame.name,
                pose.island if pose else None,
                pose.row_px if pose else None,
                pose.col_px if pose else None,
                step.reason is None,
                step.reason,
                frame.detail if isinstance(frame, BadFrame) else None,
            ),
        )

    def _enter_event(self, session_id: str, meta: SessionMeta, frame: int, event: CountEvent, kept: Kept) -> None:
        fields = cell_fields(event)
        fields["reason"] = event.reason[:MAX_REASON]
        self._tell(LOG_CELL, CellRecord(**self._envelope(session_id), bundle=meta.bundle, **fields))
        self._connection.execute(
            f"INSERT INTO events (seq, session, frame, {EVENT_COLUMNS}) VALUES ({', '.join('?' * 19)})",
            (self._last_seq, session_id, frame, *event_row(event)),
        )
        crop = kept.crops.get(event.cell)
        if crop is not None:
            row = (self._last_seq, session_id, as_png(crop))
            self._connection.execute("INSERT INTO crops VALUES (?, ?, ?)", row)

    def _keep_plates(self, session_id: str, frame: int, kept: Kept) -> None:
        for plate in kept.plates:
            pose = (plate.pose.island, float(plate.pose.row_px), float(plate.pose.col_px))
            row = (plate.number, frame, plate.frame, *pose, float(plate.factor), float(plate.pixel_um))
            self._connection.execute(
                "INSERT INTO plates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (session_id, *row, as_png(plate.grey))
            )

    def _tell_session(
        self,
        event: Literal["started", "resumed", "finished"],
        session_id: str,
        meta: SessionMeta,
        counts: dict[str, Any],
    ) -> int:
        about: dict[str, Any] = {
            "software": meta.software,
            "bundle": meta.bundle,
            "pixel_size_um": meta.pixel_size_um,
        }
        source = meta.source[:MAX_REASON]
        envelope = self._envelope(session_id)
        self._tell(LOG_SESSION, SessionRecord(**envelope, event=event, source=source, **about, **counts))
        return self._last_seq

    def _link(
        self, session_id: str, kind: Kind, first: int, frame: int | None = None, note: dict[str, Any] | None = None
    ) -> None:
        now = iso_utc(self._clock.utc())
        add_link(self._connection, session_id, kind, (first, self._last_seq), now, frame=frame, note=note)

    def _envelope(self, session_id: str) -> dict[str, Any]:
        return {
            "device": self._device,
            "epoch": self.epoch,
            "seq": self._last_seq + 1,
            "ts": iso_utc(self._clock.utc()),
            "ts_sync": self._clock.synchronised(),
            "mono_ms": int(1000 * self._clock.monotonic_s()),
            "session": session_id,
        }

    def _tell(self, topic: str, record: Record) -> None:
        self._connection.execute(
            "INSERT INTO outbox (seq, topic, payload) VALUES (?, ?, ?)", (record.seq, topic, record.to_json())
        )
        self._last_seq = record.seq

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
