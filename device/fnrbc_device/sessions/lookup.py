"""Single facts of a session's record, for pages and reports: its newest change, its frames' size, its cells."""

import sqlite3

from fnrbc_device.journal.schema import EVENT_COLUMNS, event_of
from fnrbc_device.records import CountEvent, Join


def newest(connection: sqlite3.Connection, limit: int) -> list[tuple[str, str]]:
    """Name and start (ISO 8601, UTC) of at most so many sessions, the newest first."""
    return connection.execute(
        "SELECT session, started_utc FROM sessions ORDER BY started_utc DESC, session DESC LIMIT ?", (limit,)
    ).fetchall()


def last_change(connection: sqlite3.Connection, session: str) -> int:
    """``seq`` of the last event or decision of a session: while it stays, so does all that is reported; 0 for none."""
    asked = "SELECT max((SELECT coalesce(max(seq), 0) FROM events WHERE session = :session),"
    asked += " (SELECT coalesce(max(seq), 0) FROM reviews WHERE session = :session))"
    return int(connection.execute(asked, {"session": session}).fetchone()[0])


def last_events(connection: sqlite3.Connection, session: str) -> list[CountEvent]:
    """The last step of each cell's count, in order of their numbers."""
    rows = connection.execute(
        f"SELECT max(seq), {EVENT_COLUMNS} FROM events WHERE session = ? GROUP BY cell ORDER BY cell", (session,)
    )
    return [event_of(row[1:]) for row in rows]


def joins_of(connection: sqlite3.Connection, session: str) -> list[Join]:
    """The islands of a session that were joined, in order."""
    rows = connection.execute(
        "SELECT island, into_island, row_px, col_px FROM joins WHERE session = ? ORDER BY frame, island", (session,)
    )
    return [Join(*row) for row in rows]


def frame_size_px(connection: sqlite3.Connection, session: str) -> tuple[int, int] | None:
    """Rows and columns of a session's frames; None where none was placed."""
    row = connection.execute(
        "SELECT coalesce(frame_rows, (SELECT frame_rows FROM plates WHERE plates.session = sessions.session LIMIT 1)),"
        " coalesce(frame_cols, (SELECT frame_cols FROM plates WHERE plates.session = sessions.session LIMIT 1))"
        " FROM sessions WHERE session = ?",
        (session,),
    ).fetchone()
    return (row[0], row[1]) if row and row[0] else None
