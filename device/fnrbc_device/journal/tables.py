"""The journal's tables read in the order of the chain's links: each row once, whatever their number."""

import sqlite3
from collections.abc import Iterator
from typing import Final

from fnrbc_device.journal.chain import MESSAGE_COLUMNS, ROW_COLUMNS, SESSION_COLUMNS, Row, plain, select

_NEVER: Final = float("inf")

_LOWEST: Final = -(2**63)
"""Of what SQLite takes for a whole number."""

_TOLD: Final = {
    "events": "seq", "reviews": "seq", "crops": "seq, view", "results": "seq", "details": "seq",
    "surroundings": "seq, view", "mosaics": "seq, island",
}  # fmt: skip
"""Tables whose rows are told in the log, with their order. Journals of older versions lack the last four."""


class _Rows:
    """Rows in the order of a number that stands first in each."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._row = next(rows, None)

    @property
    def next_number(self) -> float:
        return self._row[0] if self._row else _NEVER

    def up_to(self, number: int) -> list[Row]:
        """Take the rows whose number is at most this."""
        found = []
        while self._row is not None and self._row[0] <= number:
            found.append(self._row)
            self._row = next(self._rows, None)
        return found


class Tables:
    """What the links from one on cover, link by link.

    Parameters
    ----------
    connection
        Within one read transaction.
    first_link
        The link to begin with.
    first_seq
        Of that link; None to find rows before it as well, which no link covers.
    """

    def __init__(self, connection: sqlite3.Connection, first_link: int, first_seq: int | None) -> None:
        self._connection = connection
        first_seq = _LOWEST if first_seq is None else first_seq
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._told = {
            table: self._by_seq(table, first_seq, order) for table, order in _TOLD.items() if table in there
        }
        sql = f"{select('outbox', MESSAGE_COLUMNS)} WHERE seq >= ? ORDER BY seq"
        self._messages = _Rows(connection.execute(sql, (first_seq,)))
        self._frames = self._by_link(first_link)
        self._frames_taken = 0
        self._joins = self._joins_by_frame()

    def rows_of(self, link: Row) -> dict[str, list[Row]]:
        """All rows that a link covers but messages, by table. Links are asked for in their order."""
        number, session, kind, frame, _, last_seq, *_ = link
        rows: dict[str, list[Row]] = {}
        if kind == "frame":
            rows["frames"] = [row[1:] for row in self._frames.up_to(number)]
            rows["joins"] = self._joins.pop((session, frame), [])
            self._frames_taken += len(rows["frames"])
        elif kind in SESSION_COLUMNS:
            sql = f"{select('sessions', SESSION_COLUMNS[kind])} WHERE session = ?"
            rows["sessions"] = self._connection.execute(sql, (session,)).fetchall()
        for table, told in self._told.items():
            if told.next_number <= last_seq:
                rows[table] = plain(table, told.up_to(last_seq))
        return rows

    def messages_up_to(self, seq: int) -> list[Row]:
        """Messages that are kept and were not taken before."""
        return self._messages.up_to(seq)

    def left_over(self) -> str:
        """The first row that no link covers, in words; empty where there is none."""
        names = {
            "events": "event", "reviews": "decision", "crops": "picture of the event", "results": "result",
            "details": "description", "surroundings": "surroundings of the event", "mosaics": "mosaic",
        }  # fmt: skip
        for table, told in self._told.items():
            if told.next_number != _NEVER:
                return f"the {names[table]} {told.next_number:.0f}"
        if self._messages.next_number != _NEVER:
            return f"the message {self._messages.next_number:.0f}"
        for session, frame in self._joins:
            return f"the join at frame {frame} of session {session}"
        return self._frame_left_over()

    def _frame_left_over(self) -> str:
        (frames,) = self._connection.execute("SELECT count(*) FROM frames").fetchone()
        if frames == self._frames_taken:
            return ""
        row = self._connection.execute(
            "SELECT session, frame FROM frames EXCEPT SELECT session, frame FROM audit WHERE kind = 'frame' LIMIT 1"
        ).fetchone()
        return f"frame {row[1]} of session {row[0]}" if row else "a frame"

    def _by_seq(self, table: str, first_seq: int, order: str) -> _Rows:
        sql = f"{select(table, ROW_COLUMNS[table])} WHERE seq >= ? ORDER BY {order}"
        return _Rows(self._connection.execute(sql, (first_seq,)))

    def _by_link(self, first_link: int) -> _Rows:
        """Frames with the number of their link before them. CROSS JOIN: for each link its frame, not the reverse."""
        columns = ", ".join(f"frames.{name}" for name in ROW_COLUMNS["frames"])
        sql = (
            f"SELECT audit.link, {columns} FROM audit CROSS JOIN frames USING (session, frame)"
            " WHERE audit.kind = 'frame' AND audit.link >= ? ORDER BY audit.link"
        )
        return _Rows(self._connection.execute(sql, (first_link,)))

    def _joins_by_frame(self) -> dict[tuple[str, int], list[Row]]:
        found: dict[tuple[str, int], list[Row]] = {}
        for row in self._connection.execute(f"{select('joins', ROW_COLUMNS['joins'])} ORDER BY session, frame, island"):
            found.setdefault((row[0], row[1]), []).append(row)
        return found
