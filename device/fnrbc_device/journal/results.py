"""The results of signed sessions as the record keeps them: each with the figures as they were signed."""

import sqlite3
from typing import Any

from fnrbc_device.contract.results import ResultRecord


def enter_result(connection: sqlite3.Connection, record: ResultRecord) -> None:
    """Write a result, within the transaction that tells it."""
    row = (record.seq, record.session, record.version, record.event, record.ts, record.to_json())
    connection.execute(
        "INSERT INTO results (seq, session, version, event, at_utc, payload) VALUES (?, ?, ?, ?, ?, ?)", row
    )


def results_of(connection: sqlite3.Connection, session: str) -> list[ResultRecord]:
    """All that was told of a session's sign-offs, in order."""
    return _read(connection, "WHERE session = ? ORDER BY seq", (session,))


def results_after(connection: sqlite3.Connection, seq: int, limit: int) -> list[ResultRecord]:
    """Results of whatever session with a higher ``seq``, in order, at most ``limit``."""
    return _read(connection, "WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))


def newest_result(connection: sqlite3.Connection) -> ResultRecord | None:
    """The last that was told; None before the first sign-off."""
    return next(iter(_read(connection, "ORDER BY seq DESC LIMIT 1", ())), None)


def last_result_seq(connection: sqlite3.Connection) -> int:
    """``seq`` of the last result; 0 where there is none."""
    if not has_table(connection, "results"):
        return 0
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM results").fetchone()[0])


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the journal has a table: one of an older version, that is only read, lacks the newer ones."""
    where = "type = 'table' AND name = ?"
    return connection.execute(f"SELECT 1 FROM sqlite_master WHERE {where}", (name,)).fetchone() is not None


def _read(connection: sqlite3.Connection, which: str, values: tuple[Any, ...]) -> list[ResultRecord]:
    if not has_table(connection, "results"):
        return []
    rows = connection.execute(f"SELECT payload FROM results {which}", values)
    return [ResultRecord.model_validate_json(payload) for (payload,) in rows]
