"""The log's messages on their way out: what the journal wrote and the broker has not yet taken."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from fnrbc_device.contract.results import ResultRecord
from fnrbc_device.host.clock import Clock, SystemClock, iso_utc
from fnrbc_device.journal.audit import add_link, sealed
from fnrbc_device.journal.epochs import last_told, log_state, note_told
from fnrbc_device.journal.results import last_result_seq, newest_result
from fnrbc_device.journal.schema import open_database, roll_back
from fnrbc_device.journal.spans import Spans
from fnrbc_device.journal.sqlite_errors import journal_error

PRUNE_AT_ONCE: Final = 500
"""Rows let go of in one transaction: about 5 ms, in which the side that counts waits for the file."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One message of the log, waiting."""

    seq: int
    topic: str
    """Suffix below the device's base, such as ``log/cell``."""
    payload: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What the broker answered to a letter."""

    seq: int
    state: Literal["acked", "refused"]
    reason: str
    """In the broker's words; empty where it had none."""


class Outbox:
    """The journal's outbox, seen by the thread that sends. A connection of its own, bound to that thread."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._connection = open_database(path, self._clock)
        self._told_seq = last_told(path, log_state(self._connection).epoch)
        # An acknowledgement lost in a power cut costs a message sent twice, which its number gives away. So
        # this side does not wait for the disk, and leaves the disk to the side that counts.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def pending(self, after_seq: int, limit: int) -> list[OutboxMessage]:
        """Letters with a higher ``seq`` that nobody has settled, in order, at most ``limit``."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT seq, topic, payload FROM outbox WHERE state = 'pending' AND seq > ?"
                " ORDER BY seq LIMIT ?",
                (after_seq, limit),
            ).fetchall()
        return [OutboxMessage(*row) for row in rows]

    def again(self, from_seq: int, to_seq: int, limit: int) -> list[OutboxMessage]:
        """Letters that the broker took before, marked as replayed, in order, at most ``limit``."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT seq, topic, payload FROM outbox WHERE state = 'acked' AND seq BETWEEN ? AND ?"
                " ORDER BY seq LIMIT ?",
                (from_seq, to_seq, limit),
            ).fetchall()
        return [OutboxMessage(seq, topic, _replayed(payload)) for seq, topic, payload in rows]

    def oldest_seq(self) -> int:
        """``seq`` from which on every record is kept; above the last one where none is.

        A parked record may be older than others that were let go of: what has a hole cannot be replayed as a whole.
        """
        with self._errors():
            row = self._connection.execute("SELECT oldest_seq FROM journal").fetchone()
        return int(row[0])

    def acknowledge(self, acknowledgements: Sequence[Acknowledgement], at: datetime) -> None:
        """Write down answers of the broker, all in one transaction."""
        rows = [(one.state, one.reason, iso_utc(at), one.seq) for one in acknowledgements]
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "UPDATE outbox SET state = ?, reason = ?, settled_utc = ?"
                " WHERE seq = ? AND state = 'pending'",
                rows,
            )
            (epoch,) = self._connection.execute("SELECT epoch FROM journal").fetchone()
            self._connection.execute("COMMIT")
        if told := [one.seq for one in acknowledgements if one.state == "acked"]:
            self._told_seq = max(self._told_seq, *told)
            note_told(self._path, epoch, self._told_seq)

    def newest_result(self) -> ResultRecord | None:
        """The last result that was told, for the state that is retained; None before the first sign-off."""
        with self._errors():
            return newest_result(self._connection)

    def last_result_seq(self) -> int:
        """``seq`` of that; 0 before the first."""
        with self._errors():
            return last_result_seq(self._connection)

    def backlog(self) -> int:
        """Return how many letters wait."""
        with self._errors():
            row = self._connection.execute("SELECT count(*) FROM outbox WHERE state = 'pending'").fetchone()
        return int(row[0])

    def prune(self, before: datetime, max_bytes: int) -> int:
        """Let go of records that the broker took: those settled before a moment, and the oldest above a size.

        What is pending or parked stays, whatever its age and size. Returns how many were let go.
        """
        gone = 0
        while batch := self._delete("AND settled_utc < ?", iso_utc(before)):
            gone += batch
        while self.size_bytes() > max_bytes and (batch := self._delete("AND ? = ''", "")):
            gone += batch
        return gone

    def size_bytes(self) -> int:
        """Size of the messages kept, in any state."""
        with self._errors():
            row = self._connection.execute("SELECT total(length(CAST(payload AS BLOB))) FROM outbox").fetchone()
        return int(row[0])

    def retry(self, limit: int = -1) -> list[int]:
        """Make the oldest refused letters pending again, at most ``limit``, or all; returns their numbers."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            rows = self._connection.execute(
                "UPDATE outbox SET state = 'pending', settled_utc = NULL WHERE seq IN"
                " (SELECT seq FROM outbox WHERE state = 'refused' ORDER BY seq LIMIT ?) RETURNING seq",
                (limit,),
            ).fetchall()
            self._connection.execute("COMMIT")
        return [seq for (seq,) in rows]

    def refused(self) -> list[Acknowledgement]:
        """Letters that the broker refused: parked, kept, not sent again by themselves."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT seq, state, reason FROM outbox WHERE state = 'refused' ORDER BY seq"
            ).fetchall()
        return [Acknowledgement(*row) for row in rows]

    def count_refused(self) -> int:
        """Return how many letters are parked."""
        with self._errors():
            row = self._connection.execute("SELECT count(*) FROM outbox WHERE state = 'refused'").fetchone()
        return int(row[0])

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def _delete(self, which: str, value: str) -> int:
        """Delete the oldest of the acknowledged rows, few at once: the side that counts must not wait for long."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            gone = self._connection.execute(
                "DELETE FROM outbox WHERE seq IN"
                f" (SELECT seq FROM outbox WHERE state = 'acked' {which} ORDER BY seq LIMIT ?) RETURNING seq",
                (value, PRUNE_AT_ONCE),
            ).fetchall()
            if gone:
                self._note_gone([seq for (seq,) in gone])
            self._connection.execute("COMMIT")
        return len(gone)

    def _note_gone(self, gone: list[int]) -> None:
        """A link says which messages were let go of, so that none can be missing unsaid."""
        self._connection.execute("UPDATE journal SET oldest_seq = max(oldest_seq, ?)", (max(gone) + 1,))
        (last_seq,) = self._connection.execute("SELECT last_seq FROM journal").fetchone()
        note = {"gone": str(Spans(gone)), "sealed": sealed(self._connection)}
        add_link(self._connection, "", "pruned", (last_seq + 1, last_seq), iso_utc(self._clock.utc()), note=note)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise journal_error(self._path, error) from error
        finally:
            roll_back(self._connection)


def _replayed(payload: str) -> str:
    return json.dumps(json.loads(payload) | {"replayed": True}, separators=(",", ":"), ensure_ascii=False)
