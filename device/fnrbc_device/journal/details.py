"""What people said of a session after its start: specimen, operator and note, the newest in the place of the first."""

import sqlite3
from dataclasses import replace
from typing import Final, Literal

from fnrbc_device.journal.results import has_table
from fnrbc_device.records import SessionMeta

_LAST: Final = 2**63 - 1

DetailName = Literal["specimen", "operator", "note"]


def said(connection: sqlite3.Connection, name: DetailName) -> str:
    """SQL for what holds of a row of ``sessions``: what was said last, or else at its start; empty for nothing."""
    first = f"json_extract(sessions.meta, '$.{name}')"
    if not has_table(connection, "details"):
        return f"coalesce({first}, '')"
    newest = f"SELECT {name} FROM details WHERE details.session = sessions.session ORDER BY seq DESC LIMIT 1"
    return f"coalesce(({newest}), {first}, '')"


def described(
    connection: sqlite3.Connection, session: str, meta: SessionMeta, before_seq: int = _LAST
) -> SessionMeta:
    """What a session's counts rest on, with what was said of it last, or last before a record of the log."""
    if not has_table(connection, "details"):
        return meta
    row = connection.execute(
        "SELECT specimen, operator, note FROM details WHERE session = ? AND seq < ? ORDER BY seq DESC LIMIT 1",
        (session, before_seq),
    ).fetchone()
    return replace(meta, specimen=row[0], operator=row[1], note=row[2]) if row else meta
