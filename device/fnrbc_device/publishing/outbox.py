"""The log's messages on their way out: what the journal wrote and the broker has not yet taken."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from fnrbc_device.clock import iso_utc
from fnrbc_device.counting.schema import journal_error, open_database, roll_back


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of the log, waiting."""

    seq: int
    topic: str
    """Suffix below the device's base, such as ``log/cell``."""
    payload: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the broker answered to a letter."""

    seq: int
    state: Literal["acked", "refused"]
    reason: str
    """In the broker's words; empty where it had none."""


class Outbox:
    """The journal's outbox, seen by the thread that sends. A connection of its own, bound to that thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_database(path)
        # An acknowledgement lost in a power cut costs a message sent twice, which its number gives away. So
        # this side does not wait for the disk, and leaves the disk to the side that counts.
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def pending(self, after_seq: int, limit: int) -> list[Letter]:
        """Letters with a higher ``seq`` that nobody has settled, in order, at most ``limit``."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT seq, topic, payload FROM outbox WHERE state = 'pending' AND seq > ?"
                " ORDER BY seq LIMIT ?",
                (after_seq, limit),
            ).fetchall()
        return [Letter(*row) for row in rows]

    def settle(self, settlements: Sequence[Settlement], at: datetime) -> None:
        """Write down answers of the broker, all in one transaction."""
        rows = [(one.state, one.reason, iso_utc(at), one.seq) for one in settlements]
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "UPDATE outbox SET state = ?, reason = ?, settled_utc = ?"
                " WHERE seq = ? AND state = 'pending'",
                rows,
            )
            self._connection.execute("COMMIT")

    def backlog(self) -> int:
        """Return how many letters wait."""
        with self._errors():
            row = self._connection.execute("SELECT count(*) FROM outbox WHERE state = 'pending'").fetchone()
        return int(row[0])

    def refused(self) -> list[Settlement]:
        """Letters that the broker refused: parked, kept, not sent again by themselves."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT seq, state, reason FROM outbox WHERE state = 'refused' ORDER BY seq"
            ).fetchall()
        return [Settlement(*row) for row in rows]

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise journal_error(self._path, error) from error
        finally:
            roll_back(self._connection)
