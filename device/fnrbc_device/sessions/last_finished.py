"""The last session that ended, as the record has it: what is told of it must outlast whatever ended the process."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from fnrbc_device.journal.read_only import reading
from fnrbc_device.records import SessionMeta, Tally
from fnrbc_device.sessions import archive


@dataclass(frozen=True, slots=True)
class Finished:
    """A session that ended."""

    session: str
    meta: SessionMeta
    tally: Tally
    started_utc: str
    ended_utc: str
    complete: bool


def last_finished(journal: Path) -> Finished | None:
    """Read the session that ended last; None where none did, or by an older version, which kept less of its end.

    Raises
    ------
    JournalError
        The record cannot be read.
    """
    with reading(journal) as connection:
        row = connection.execute(
            "SELECT session, complete, ended_utc, note FROM audit JOIN sessions USING (session)"
            " WHERE kind = 'ended' ORDER BY link DESC LIMIT 1"
        ).fetchone()
        session, complete, ended_utc, note = row or ("", False, "", "{}")
        entry = archive.read(connection, session)
    dropped = json.loads(note).get("frames_dropped")
    if entry is None or dropped is None:
        return None
    tally = replace(entry.tally, frames_dropped=dropped)
    return Finished(session, entry.meta, tally, entry.started_utc, ended_utc, bool(complete))
