"""The blanks and controls on record, as the machine counted them."""

import json
import sqlite3
from collections import Counter
from typing import Final

from fnrbc_device.counting.recount import ENTERING, column
from fnrbc_device.host.clock import moment_of
from fnrbc_device.journal.details import said
from fnrbc_device.quality.blanks import Blank
from fnrbc_device.quality.controls import NOTHING_ASKED, ControlResult, ControlRules, Standing, standing
from fnrbc_device.records import SessionKind, Verdict

MOST: Final = 500
"""Sessions of a kind that are read, the newest: at 3 ms each, a page waits a second and a half for them."""

_COUNTED: Final = (
    "SELECT class_name, role, count(*) FROM"
    " (SELECT max(seq), cell, event, class_name, role FROM events WHERE session = ? GROUP BY cell)"
    f" WHERE event IN ({', '.join(repr(one) for one in ENTERING)}) GROUP BY class_name, role"
)


def blanks(connection: sqlite3.Connection, bundle: str) -> dict[str, Blank]:
    """Read the blanks that were counted with a bundle, by session, the oldest first."""
    found = [session for session, _, of, _ in _ended(connection, "blank") if of == bundle]
    return {session: Blank(*machine_count(connection, session)) for session in found}


def controls(connection: sqlite3.Connection) -> list[ControlResult]:
    """Read the controls, of all bundles, the oldest first."""
    return [
        ControlResult(session, material, bundle, moment_of(ended), *machine_count(connection, session))
        for session, ended, bundle, material in _ended(connection, "control")
    ]


def session_standing(connection: sqlite3.Connection, session: str, rules: ControlRules) -> Standing:
    """Tell how the controls stood when a session started; of a blank and of a control none is asked.

    Parameters
    ----------
    session
        That is on record.
    rules
        The laboratory's.
    """
    row = connection.execute("SELECT started_utc, meta FROM sessions WHERE session = ?", (session,)).fetchone()
    started, meta = row
    about = json.loads(meta)
    asked = rules if about.get("kind", "sample") == "sample" else NOTHING_ASKED
    known = controls(connection) if asked.asked else []
    return standing(known, asked, about["bundle"], moment_of(started))


def machine_count(connection: sqlite3.Connection, session: str) -> tuple[int, int]:
    """FNRBC and leukocytes of a session, as the machine counted them."""
    counts = Counter[str]()
    for class_name, role, cells in connection.execute(_COUNTED, (session,)):
        counts[column(Verdict(class_name, role, 0.0, 0.0))] += cells
    return counts["fnrbc"], counts["leukocytes"]


def _ended(connection: sqlite3.Connection, kind: SessionKind) -> list[tuple[str, str, str, str]]:
    """Name, end, bundle and specimen of the sessions of a kind, the oldest first."""
    rows = connection.execute(
        f"SELECT session, ended_utc, json_extract(meta, '$.bundle'), {said(connection, 'specimen')}"
        " FROM sessions WHERE ended_utc IS NOT NULL AND json_extract(meta, '$.kind') = ?"
        " ORDER BY ended_utc DESC, session DESC LIMIT ?",
        (kind, MOST),
    ).fetchall()
    return rows[::-1]
