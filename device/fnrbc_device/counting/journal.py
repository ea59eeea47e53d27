"""The record on disk: each frame, each step of the count and its message, in one transaction."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

from fnrbc_device.clock import Clock, SystemClock, iso_utc
from fnrbc_device.counting.recount import recount, standing
from fnrbc_device.counting.schema import (
    EVENT_COLUMNS,
    event_of,
    event_row,
    journal_error,
    open_database,
    roll_back,
)
from fnrbc_device.errors import JournalError
from fnrbc_device.publishing.payloads import CellRecord, Record, SessionRecord, cell_fields
from fnrbc_device.publishing.topics import LOG_CELL, LOG_SESSION, require_segment
from fnrbc_device.records import BadFrame, CountEvent, Join, Step, Tally

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


class Journal:
    """The sessions of a device, their frames and their counts. Used by one thread, the one that opened it.

    ``open`` makes it. A session is begun, recorded step by step and ended; each of these is one transaction
    that also holds the messages of the log, so that what is told and what is recorded cannot differ.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, device: str, clock: Clock) -> None:
        self._connection = connection
        self._path = path
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
            self._tell_session("started", session_id, meta, {})
        self._running = (session_id, meta)
        return self._last_seq

    def record(self, step: Step) -> int:
        """Write down what one frame changed, and tell the log; returns ``last_seq``.

        All of it or nothing: the frame, its events and their messages are one transaction.

        Raises
        ------
        JournalError
            No session runs, the frame is recorded already, or the disk refuses.
        """
        session_id, meta = self._session()
        with self._transaction():
            self._enter_frame(session_id, step)
            for event in step.events:
                self._enter_event(session_id, meta, step.frame.index, event)
            for join in step.joins:
                row = (join.island, join.into, float(join.row_px), float(join.col_px))
                self._connection.execute(
                    "INSERT INTO joins VALUES (?, ?, ?, ?, ?, ?)", (session_id, step.frame.index, *row)
                )
        return self._last_seq

    def end(
        self, ended_utc: datetime, tally: Tally, complete: bool, last_events: Sequence[CountEvent] = ()
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

        Raises
        ------
        JournalError
            No session runs, the tally is not what the recorded events add up to, or the disk refuses.
        """
        session_id, meta = self._session()
        names = ("cells", "fnrbc", "leukocytes", "other", "indeterminate", "frames", "frames_used")
        counts: dict[str, Any] = {name: getattr(tally, name) for name in names}
        with self._transaction():
            for event in last_events:
                self._enter_event(session_id, meta, event.best_frame, event)
            self._require_agreement(session_id, tally)
            self._connection.execute(
                "UPDATE sessions SET ended_utc = ?, complete = ? WHERE session = ?",
                (iso_utc(ended_utc), complete, session_id),
            )
            self._tell_session("finished", session_id, meta, counts | {"complete": complete})
        self._running = None
        return self._last_seq

    def events(self, session_id: str) -> list[CountEvent]:
        """Every step of a session's count, in order."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {EVENT_COLUMNS} FROM events WHERE session = ? ORDER BY seq", (session_id,)
            ).fetchall()
        return [event_of(row) for row in rows]

    def joins(self, session_id: str) -> list[Join]:
        """The islands of a session that were joined, in order."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT island, into_island, row_px, col_px FROM joins WHERE session = ? ORDER BY frame, island",
                (session_id,),
            ).fetchall()
        return [Join(*row) for row in rows]

    def tally(self, session_id: str) -> Tally:
        """Count a session again from its recorded events, joins and frames alone.

        The area and the cells still open are not in the record, and stay 0.
        """
        ended = {join.island for join in self.joins(session_id)}
        with self._reading():
            frames = self._connection.execute(
                "SELECT used, reason, island FROM frames WHERE session = ?", (session_id,)
            ).fetchall()
        return replace(
            recount(self.events(session_id)),
            frames=len(frames),
            frames_used=sum(used for used, _, _ in frames),
            frames_rejected=dict(Counter(reason for used, reason, _ in frames if not used)),
            islands=len({island for used, _, island in frames if used and island is not None} - ended),
        )

    def verdict_counts(self, session_id: str) -> dict[str, int]:
        """How many cells of a session stand counted as each class, ``indeterminate`` among them."""
        return dict(Counter(verdict.class_name for verdict in standing(self.events(session_id)).values()))

    def unfinished(self) -> list[str]:
        """Sessions that were begun and never ended, oldest first: the last start was cut off in them."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT session FROM sessions WHERE ended_utc IS NULL ORDER BY started_utc"
            ).fetchall()
        return [session for (session,) in rows]

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

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise journal_error(self._path, error) from error

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

    def _enter_event(self, session_id: str, meta: SessionMeta, frame: int, event: CountEvent) -> None:
        fields = cell_fields(event)
        fields["reason"] = event.reason[:MAX_REASON]
        self._tell(LOG_CELL, CellRecord(**self._envelope(session_id), bundle=meta.bundle, **fields))
        self._connection.execute(
            f"INSERT INTO events (seq, session, frame, {EVENT_COLUMNS}) VALUES ({', '.join('?' * 19)})",
            (self._last_seq, session_id, frame, *event_row(event)),
        )

    def _tell_session(
        self,
        event: Literal["started", "finished"],
        session_id: str,
        meta: SessionMeta,
        counts: dict[str, Any],
    ) -> None:
        about: dict[str, Any] = {
            "software": meta.software,
            "bundle": meta.bundle,
            "pixel_size_um": meta.pixel_size_um,
        }
        source = meta.source[:MAX_REASON]
        envelope = self._envelope(session_id)
        self._tell(LOG_SESSION, SessionRecord(**envelope, event=event, source=source, **about, **counts))

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
