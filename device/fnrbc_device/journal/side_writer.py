"""Appends to the journal's log beside the thread that counts: each record a transaction, and a link of the audit."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fnrbc_device.contract.payloads import Record
from fnrbc_device.host.clock import Clock
from fnrbc_device.journal.audit import Kind, add_link
from fnrbc_device.journal.envelope import Envelope
from fnrbc_device.journal.schema import open_database, roll_back
from fnrbc_device.journal.sqlite_errors import journal_error

MAX_TEXT: Final = 256
"""Characters of a text in a message."""


class SideWriter:
    """A connection of its own, bound to the thread that made it.

    ``synchronous=FULL``: a record that was sent and then lost in a power cut would leave its number to another record,
    which consumers would drop.
    """

    def __init__(self, path: Path, device: str, clock: Clock) -> None:
        self._path = path
        self._device = device
        self._clock = clock
        self._connection = open_database(path, clock)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def _tell(self, topic: str, record: Record, kind: Kind, note: dict[str, Any] | None = None) -> int:
        """Write a record and close its transaction's link; returns its ``seq``. What the link covers is written."""
        self._connection.execute(
            "INSERT INTO outbox (seq, topic, payload) VALUES (?, ?, ?)", (record.seq, topic, record.to_json())
        )
        self._connection.execute("UPDATE journal SET last_seq = ?", (record.seq,))
        add_link(self._connection, record.session, kind, (record.seq, record.seq), record.ts, note=note)
        return record.seq

    @contextmanager
    def _transaction(self, session: str | None = None) -> Iterator[dict[str, Any]]:
        """Hand out the envelope of the next record; it is written when the block ends, or not at all.

        Parameters
        ----------
        session
            That the record is about; None for the one that runs.
        """
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            epoch, last_seq = self._connection.execute("SELECT epoch, last_seq FROM journal").fetchone()
            about = self._running() if session is None else session
            yield Envelope(self._device, self._clock).of(epoch, last_seq + 1, about)
            self._connection.execute("COMMIT")

    def _running(self) -> str:
        row = self._connection.execute(
            "SELECT session FROM sessions WHERE ended_utc IS NULL ORDER BY started_utc DESC LIMIT 1"
        ).fetchone()
        return str(row[0]) if row else ""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise journal_error(self._path, error) from error
        finally:
            roll_back(self._connection)
