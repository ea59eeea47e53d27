"""The sessions of a device as its pages show them: found, listed, and each with what it rests on and leaves open."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from fnrbc_device.counting.claim import claim
from fnrbc_device.counting.recount import column, tally_of
from fnrbc_device.host.clock import iso_utc
from fnrbc_device.journal.audit import provisional
from fnrbc_device.journal.details import DetailName, described, said
from fnrbc_device.language import _, number
from fnrbc_device.records import SessionMeta, Tally
from fnrbc_device.sessions.reviews import groups
from fnrbc_device.sessions.verified_count import VerifiedTally, verified_tally
from fnrbc_device.texts import left_open

PAGE_SIZE: Final = 20
"""Sessions on a page of the list: each of 3,000 cells and 50,000 frames takes some 30 ms to add up."""

MAX_HAPPENINGS: Final = 200
"""Of one session, the newest: a camera that comes and goes could fill the page."""

_COLUMNS: Final = (
    "session, started_utc, ended_utc, ending, meta, signed_utc, signed_by, area_mm2, revisit_share"
)

_SEARCHED: Final[tuple[DetailName, ...]] = ("specimen", "operator", "note")
"""What was said of a session, where a searched word may stand."""


_ORDERS: Final = ("start", "pause", "resume", "stop", "mark")
"""Commands that are about the session. Others, such as a login, are on record with whatever session ran then."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which sessions are looked for. Empty: all."""

    words: str = ""
    """All of them stand in its specimen, operator, note, objective or name, whatever their case."""
    first_day: str = ""
    last_day: str = ""
    """ISO 8601, both included, of its start by this machine's clock on the wall."""


@dataclass(frozen=True, slots=True)
class ArchivedSession:
    """One session, running or ended, as the record knows it."""

    session: str
    started_utc: str
    ended_utc: str | None
    """None while it runs, or was cut off and not gone on with."""
    ending: str
    """Why it ended, where nobody asked for it."""
    meta: SessionMeta
    signed_utc: str | None
    signed_by: str | None
    area_known: bool
    """Whether the area is on record: it is from the session's end on."""
    tally: Tally
    """The machine's count."""
    verified: VerifiedTally
    """The count after review, beside it and never mixed with it."""

    @property
    def leads(self) -> bool:
        """Whether the count after review stands first: it is signed off, or all that was asked was decided."""
        return self.signed_utc is not None or (self.verified.complete and self.verified.reviewed > 0)

    @property
    def left_open(self) -> list[str]:
        """What keeps the count from being complete, in words; empty where nothing does."""
        words = [_("the session has not ended")] if self.ended_utc is None else []
        words += left_open(self.tally.frames_used, self.tally.islands, self.tally.cells_open)
        if self.ending:
            words.append(_("it was ended before its time: %(why)s", why=self.ending))
        waiting = self.verified.candidates - self.verified.reviewed
        if waiting:
            words.append(
                _(
                    "%(waiting)s of %(candidates)s candidates are not reviewed",
                    waiting=number(waiting),
                    candidates=number(self.verified.candidates),
                )
            )
        return words


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that stands in the audit of a session beside its frames and decisions."""

    at_utc: str
    kind: str
    """Of the link, such as ``gap`` or ``command``."""
    frame: int | None
    fields: dict[str, Any]
    """What the link notes, and what its message said."""


def find(connection: sqlite3.Connection, search: Search, page: int = 1) -> tuple[list[ArchivedSession], int]:
    """Find sessions, newest first.

    Parameters
    ----------
    connection
        To the journal; nothing is changed.
    search
        Which ones.
    page
        From 1; of ``PAGE_SIZE`` sessions each.

    Returns
    -------
    list, int
        Those on the page, and how many there are on all pages.
    """
    # SQLite's own lower() knows ASCII only.
    connection.create_function("folded", 1, lambda text: str(text).casefold(), deterministic=True)
    where, wanted = _condition(connection, search)
    (total,) = connection.execute(f"SELECT count(*) FROM sessions WHERE {where}", wanted).fetchone()
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE {where} ORDER BY started_utc DESC, session DESC LIMIT ? OFFSET ?",
        (*wanted, PAGE_SIZE, (page - 1) * PAGE_SIZE),
    ).fetchall()
    return [_session(connection, row) for row in rows], total


def read(connection: sqlite3.Connection, session: str) -> ArchivedSession | None:
    """Read one session; None where the record has none of that name."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE session = ?", (session,)).fetchone()
    return _session(connection, row) if row else None


def happenings(connection: sqlite3.Connection, session: str) -> list[Happening]:
    """What happened in a session beside its frames and decisions: gaps, flags, commands, alarms. In order."""
    rows = connection.execute(
        "SELECT at_utc, kind, frame, note, payload FROM audit LEFT JOIN outbox ON seq = first_seq"
        " AND kind IN ('command', 'alarm', 'signed', 'withdrawn') WHERE session = ?"
        " AND kind NOT IN ('frame', 'review', 'result')"
        " AND (kind <> 'command' OR payload IS NULL OR json_extract(payload, '$.verb') IN (?, ?, ?, ?, ?))"
        " ORDER BY link DESC LIMIT ?",
        (session, *_ORDERS, MAX_HAPPENINGS),
    ).fetchall()
    return [
        Happening(at, kind, frame, json.loads(payload or "{}") | json.loads(note))
        for at, kind, frame, note, payload in reversed(rows)
    ]


def _begins(day: str, further: int) -> str:
    """When a day begins here, or so many days further, in UTC; days that no session can have are brought in reach."""
    within = min(max(day, "1971-01-01"), "9998-12-31")
    return iso_utc((datetime.fromisoformat(within) + timedelta(days=further)).astimezone())


def _condition(connection: sqlite3.Connection, search: Search) -> tuple[str, tuple[str, ...]]:
    """SQL that holds for the sessions looked for, and its values."""
    where, wanted = ["1"], []
    objective = "coalesce(json_extract(meta, '$.objective'), '')"
    place = " || char(10) || ".join(["session", objective, *(said(connection, one) for one in _SEARCHED)])
    for word in search.words.casefold().split():
        where.append(f"instr(folded({place}), ?) > 0")
        wanted.append(word)
    for day, comparison, further in ((search.first_day, ">=", 0), (search.last_day, "<", 1)):
        if day:
            where.append(f"started_utc {comparison} ?")
            wanted.append(_begins(day, further))
    return " AND ".join(where), tuple(wanted)


def _session(connection: sqlite3.Connection, row: Sequence[Any]) -> ArchivedSession:
    session, started, ended, ending, meta, signed_utc, signed_by, area_mm2, revisit_share = row
    known = described(connection, session, SessionMeta(**json.loads(meta)))
    tally = replace(_tally(connection, session), unique_area_mm2=area_mm2 or 0.0, revisit_share=revisit_share or 0.0)
    reasons = provisional(connection, session)
    claimed = claim(tally.fnrbc, tally.leukocytes, known.errors, reasons)
    return ArchivedSession(
        session=session,
        started_utc=started,
        ended_utc=ended,
        ending=ending,
        meta=known,
        signed_utc=signed_utc,
        signed_by=signed_by,
        area_known=area_mm2 is not None,
        tally=replace(tally, claim=claimed, provisional=reasons),
        verified=verified_tally(connection, session),
    )


def _tally(connection: sqlite3.Connection, session: str) -> Tally:
    """The machine's count, added up by the database: a page shows many sessions."""
    counts = Counter[Any]()
    for alike in groups(connection, session):
        counts[column(alike.verdict)] += alike.cells
    frames = connection.execute(
        "SELECT used, coalesce(reason, ''), count(*) FROM frames WHERE session = ? GROUP BY used, reason", (session,)
    ).fetchall()
    (islands,) = connection.execute(
        "SELECT count(DISTINCT island) FROM frames WHERE session = :session AND used"
        " AND island NOT IN (SELECT island FROM joins WHERE session = :session)",
        {"session": session},
    ).fetchone()
    return replace(
        tally_of(counts),
        frames=sum(n for _, _, n in frames),
        frames_used=sum(n for used, _, n in frames if used),
        frames_rejected={reason: n for used, reason, n in frames if not used},
        islands=islands,
    )
