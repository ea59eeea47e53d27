"""What the links of the audit cover, column by column, and how a link is hashed.

Columns are hashed by their names, and one that is NULL is left out. So a column that a later version adds changes no
older link's hash, and whoever fills it in afterwards breaks the link of that row.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

CHAIN: Final = 2
"""How this software hashes links. A link without a number is of 0.1.0, which hashed values by their order."""

Row = tuple[Any, ...]

LINK_COLUMNS: Final = (
    "link", "session", "kind", "frame", "first_seq", "last_seq", "at_utc", "note", "told", "chain",
)  # fmt: skip
"""Of a link itself; ``hash`` is over these, the hash before and the rows below."""

SESSION_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "begun": ("session", "started_utc", "meta"),
    "ended": (
        "session", "ended_utc", "complete", "ending", "area_mm2", "revisit_share", "frame_rows", "frame_cols",
    ),
}  # fmt: skip
"""Of a session's row, by the kind of link that covers them."""

SIGNED_COLUMNS: Final = ("signed_utc", "signed_by")
"""Of a session's row: its sign-off. That link says itself when and by whom, for it may outlive the session's row."""

ROW_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "frames": (
        "session", "frame", "captured_at_s", "name", "island", "row_px", "col_px", "used", "reason", "detail",
    ),
    "joins": ("session", "frame", "island", "into_island", "row_px", "col_px"),
    "events": (
        "seq", "session", "frame", "event", "cell", "class_name", "role", "probability", "target_probability", "island",
        "row_px", "col_px", "x_um", "y_um", "diameter_um", "nucleus_ratio", "views", "best_frame", "reason",
    ),
    "reviews": (
        "seq", "session", "cell", "reviewer", "second", "decision", "class_name", "undoes", "at_utc", "note", "request",
    ),
    "crops": ("seq", "view", "frame", "picture"),
    "surroundings": ("seq", "view", "side_um", "picture"),
    "mosaics": ("seq", "session", "island", "um_per_px", "top_um", "left_um", "picture"),
    "results": ("seq", "session", "version", "event", "at_utc", "payload"),
    "details": ("seq", "session", "at_utc", "who", "specimen", "operator", "note"),
}  # fmt: skip
"""Of the rows that a link's transaction wrote, by table. A later version appends its columns to these."""

WITH_PICTURES: Final = frozenset({"crops", "plates", "surroundings", "mosaics"})
"""Tables whose last column is a picture: its hash is hashed in its place."""

PLATE_COLUMNS: Final = (
    "session", "number", "frame", "placed", "island", "row_px", "col_px", "factor", "pixel_um", "frame_rows",
    "frame_cols", "picture",
)  # fmt: skip
"""Of pictures that registration holds on to: their hashes stand in the note of their frame's link, for they go."""

MESSAGE_COLUMNS: Final = ("seq", "topic", "payload")
"""Of a message: its hash stands in ``told`` of its link, for it may go once the lab has it."""

NOT_COVERED: Final[Mapping[str, str]] = {
    "outbox.state": "how far the broker got: it changes with every acknowledgement, and says nothing of the count",
    "outbox.reason": "the broker's words beside it",
    "outbox.settled_utc": "when the broker answered",
}
"""Columns that no link covers, and why. All others are covered or sealed (audit.py)."""

_OF_0_1_0: Final[Mapping[str, int]] = {"frames": 10, "joins": 6, "events": 19, "reviews": 11, "crops": 4}
"""How many columns these tables had when links were hashed by order, and in which order tables followed each other."""

_SESSION_OF_0_1_0: Final[Mapping[str, int]] = {"begun": 3, "ended": 8}


@cache
def select(table: str, columns: tuple[str, ...]) -> str:
    """``SELECT`` of some columns by name, without a condition."""
    return f"SELECT {', '.join(f'{table}.{column}' for column in columns)} FROM {table}"


@cache
def insert(table: str, columns: tuple[str, ...]) -> str:
    """``INSERT`` of a row by its columns' names."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def plain(table: str, rows: Iterable[Row]) -> list[Row]:
    """Rows as they are hashed: of a picture, its hash."""
    if table in WITH_PICTURES:
        return [(*row[:-1], hashlib.sha256(row[-1]).hexdigest()) for row in rows]
    return list(rows)


def link_hash(before: str, link: Row, rows: Mapping[str, list[Row]]) -> str:
    """Hash of a link over the hash before it, itself and the rows that its transaction wrote.

    Parameters
    ----------
    link
        In the order of ``LINK_COLUMNS``.
    rows
        By table, in the order of ``ROW_COLUMNS`` (``sessions``: of ``SESSION_COLUMNS`` for this kind); pictures as
        their hashes.
    """
    if link[-1] is None:
        return _hash_of_0_1_0(before, link, rows)
    covered: dict[str, Any] = {"before": before, "link": _named(LINK_COLUMNS, link)}
    for table, found in rows.items():
        if found:
            columns = SESSION_COLUMNS[link[2]] if table == "sessions" else ROW_COLUMNS[table]
            covered[table] = [_named(columns, row) for row in found]
    return _digest(covered)


def unknown_to_0_1_0(link: Row, rows: Mapping[str, list[Row]]) -> bool:
    """Whether rows of a link of 0.1.0 have values in columns that were added later: they were filled in afterwards."""
    if link[-1] is not None:
        return False
    ends = {**_OF_0_1_0, "sessions": _SESSION_OF_0_1_0.get(link[2], 0)}
    return any(
        value is not None for table, found in rows.items() for row in found for value in row[ends.get(table, 0) :]
    )


def message_hash(message: Row) -> str:
    """Hash of a message: seq, topic, payload."""
    return hashlib.sha256(json.dumps(message).encode()).hexdigest()


def hash_of_plate(row: Row) -> str:
    """Hash of a row of ``plates``, in the order of ``PLATE_COLUMNS``."""
    return _digest(_named(PLATE_COLUMNS, plain("plates", [row])[0]))


def _named(columns: tuple[str, ...], row: Row) -> dict[str, Any]:
    return {name: value for name, value in zip(columns, row, strict=True) if value is not None}


def _digest(covered: Mapping[str, Any]) -> str:
    return hashlib.sha256(_encode(covered).encode()).hexdigest()


_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _hash_of_0_1_0(before: str, link: Row, rows: Mapping[str, list[Row]]) -> str:
    """Values by their order, without names: what a journal of 0.1.0 was hashed by."""
    values: list[Any] = [before, link[:-1]]
    if link[2] in _SESSION_OF_0_1_0:
        values += [row[: _SESSION_OF_0_1_0[link[2]]] for row in rows.get("sessions", ())]
    for table, end in _OF_0_1_0.items():
        values += [row[:end] for row in rows.get(table, ())]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
