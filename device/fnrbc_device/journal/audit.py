"""The audit: every transaction of the journal is a link of one chain, so that a change of the record shows.

A link's hash covers the link before it and all rows that its transaction wrote. Whoever alters, adds or removes a row
must write all later links anew, and the last hash then differs from the one that was noted elsewhere.
"""

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fnrbc_device.errors import JournalError
from fnrbc_device.journal.read_only import open_to_read
from fnrbc_device.journal.schema import SCHEMA_VERSION

Kind = Literal[
    "begun",
    "frame",
    "resumed",
    "gap",
    "paused",
    "unpaused",
    "flagged",
    "unflagged",
    "command",
    "alarm",
    "review",
    "ended",
    "signed",
]
"""What a link is about: a session's begin, its going on after a crash, its end; one frame; a time without camera; what
a person did at the microscope or asked for from elsewhere; an alarm; a decision on a cell; a
session's sign-off."""

_LINK_COLUMNS: Final = "link, session, kind, frame, first_seq, last_seq, at_utc, note, told"

_COVERED: Final = {
    "a frame": ("frames", "SELECT session, frame FROM frames", "SELECT session, frame FROM audit WHERE kind = 'frame'"),
    "a session": ("sessions", "SELECT session FROM sessions", "SELECT session FROM audit WHERE kind = 'begun'"),
    "a sign-off": (
        "sessions",
        "SELECT session, signed_utc, signed_by FROM sessions WHERE signed_utc IS NOT NULL OR signed_by IS NOT NULL",
        "SELECT session, at_utc, json_extract(note, '$.signed_by') FROM audit WHERE kind = 'signed'",
    ),
}
"""Rows that must have a link of their own, by what a person calls them: table, their keys, the links' keys."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the audit says of a journal."""

    links: int
    """Links that were proved, from the first that is kept."""
    sessions: int
    last_hash: str
    """Noted elsewhere, it proves later that nothing was rewritten up to here."""
    fault: str = ""
    """The first broken link and what is wrong with it, in one sentence; empty where the chain is whole."""


def add_link(
    connection: sqlite3.Connection,
    session: str,
    kind: Kind,
    seqs: tuple[int, int],
    at_utc: str,
    *,
    frame: int | None = None,
    note: dict[str, Any] | None = None,
) -> None:
    """Close a transaction with its link; the rows that it covers are written already.

    Parameters
    ----------
    connection
        Within the transaction.
    session, kind, frame
        What it is about.
    seqs
        First and last ``seq`` that the transaction told; the first is above the last where it told nothing.
    at_utc
        ISO 8601.
    note
        What stands in no other table.
    """
    number, before = connection.execute("SELECT last_link + 1, last_hash FROM journal").fetchone()
    told = _told(connection, *seqs)
    words = json.dumps(note or {}, sort_keys=True)
    link = (number, session, kind, frame, *seqs, at_utc, words, told)
    digest = _hash(connection, before, link)
    places = ", ".join("?" * (len(link) + 1))
    connection.execute(f"INSERT INTO audit ({_LINK_COLUMNS}, hash) VALUES ({places})", (*link, digest))
    connection.execute("UPDATE journal SET last_link = ?, last_hash = ?", (number, digest))


def prove(path: Path) -> Proof:
    """Prove a journal's record, without changing anything.

    Raises
    ------
    JournalError
        There is no journal of this version at the path.
    """
    with closing(open_to_read(path)) as connection:
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise JournalError(f"{path} has version {version}, this software proves {SCHEMA_VERSION}; run another")
            return _proved(connection)
        except (sqlite3.Error, ValueError, TypeError) as error:
            return Proof(0, 0, "", f"the file {path} is damaged: {error}")


def first_fault(connection: sqlite3.Connection, session: str) -> str:
    """First broken link from a session's begin on, in one sentence; empty where there is none."""
    (begun,) = connection.execute("SELECT min(link) FROM audit WHERE session = ?", (session,)).fetchone()
    if begun is None:
        return f"session {session} has no link in the audit: it was added afterwards"
    return _walked(connection, begun)[1] or _end_fault(connection)


def _proved(connection: sqlite3.Connection) -> Proof:
    (first,) = connection.execute("SELECT first_link FROM journal").fetchone()
    links, fault = _walked(connection, first)
    fault = fault or _end_fault(connection) or _uncovered(connection) or _damage(connection)
    (sessions,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
    (last_hash,) = connection.execute("SELECT last_hash FROM journal").fetchone()
    return Proof(links, sessions, last_hash, fault)


def _walked(connection: sqlite3.Connection, first: int) -> tuple[int, str]:
    """How many links hold from the first on, and what is wrong with the first that does not."""
    proved, before = 0, _hash_before(connection, first)
    links = connection.execute(f"SELECT {_LINK_COLUMNS}, hash FROM audit WHERE link >= ? ORDER BY link", (first,))
    for *link, digest in links:
        if link[0] != first + proved:
            return proved, f"link {first + proved} of the audit is missing: the next that is there is {link[0]}"
        fault = _fault_of(connection, before, tuple(link), digest)
        if fault:
            return proved, f"link {link[0]} of the audit ({_about(link)}) is broken: {fault}"
        before, proved = digest, proved + 1
    return proved, ""


def _hash_before(connection: sqlite3.Connection, link: int) -> str:
    row = connection.execute("SELECT hash FROM audit WHERE link = ?", (link - 1,)).fetchone()
    row = row or connection.execute("SELECT before_first FROM journal").fetchone()
    return str(row[0])


def _fault_of(connection: sqlite3.Connection, before: str, link: tuple[Any, ...], digest: str) -> str:
    if _hash(connection, before, link) != digest:
        return "what it covers was changed after it was written"
    # Messages that the lab has acknowledged may be gone, some of a link's or all; each that is kept must be as it was.
    told = dict(enumerate(link[8].split(), link[4]))
    for seq, digest_now in _messages(connection, link[4], link[5]):
        if told.get(seq) != digest_now:
            return f"its message {seq} was changed after it was written"
    return ""


def _about(link: list[Any]) -> str:
    frame = "" if link[3] is None else f" {link[3]}"
    return f"{link[2]}{frame} of session {link[1]}, {link[6]}"


def _end_fault(connection: sqlite3.Connection) -> str:
    last_link, last_hash, first, before = connection.execute(
        "SELECT last_link, last_hash, first_link, before_first FROM journal"
    ).fetchone()
    row = connection.execute("SELECT link, hash FROM audit ORDER BY link DESC LIMIT 1").fetchone()
    found = row or (first - 1, before)
    if found != (last_link, last_hash):
        return f"the audit ends at link {found[0]} where the journal's last is {last_link}: the record was cut short"
    return ""


def _uncovered(connection: sqlite3.Connection) -> str:
    """Rows that no link covers, and a sign-off whose row is as if it had not been."""
    for name, (table, rows, links) in _COVERED.items():
        row = connection.execute(f"{rows} EXCEPT {links} LIMIT 1").fetchone()
        if row:
            return f"{name} ({', '.join(map(str, row))}) of the table {table} has no link: it was added afterwards"
    for name, table in (("event", "events"), ("decision", "reviews")):
        row = connection.execute(
            f"SELECT seq FROM {table} AS told WHERE NOT EXISTS (SELECT 1 FROM audit WHERE seq BETWEEN first_seq AND"
            " last_seq AND audit.session = told.session) LIMIT 1"
        ).fetchone()
        if row:
            return f"the {name} {row[0]} has no link: it was added afterwards"
    row = connection.execute(
        "SELECT sessions.session FROM sessions LEFT JOIN audit ON audit.session = sessions.session AND kind = 'signed'"
        " WHERE signed_utc IS NOT at_utc OR signed_by IS NOT json_extract(note, '$.signed_by') LIMIT 1"
    ).fetchone()
    if row:
        return f"the sign-off of session {row[0]} is not the one that the audit knows"
    row = connection.execute("SELECT seq FROM outbox, journal WHERE seq > last_seq LIMIT 1").fetchone()
    return f"the message {row[0]} has no link: it was added afterwards" if row else ""


def _damage(connection: sqlite3.Connection) -> str:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if found == "ok" else f"the file is damaged beside the audit: {found}"


def _hash(connection: sqlite3.Connection, before: str, link: tuple[Any, ...]) -> str:
    """Hash of a link over the one before it and all that its transaction wrote, read back from the tables."""
    session, frame, seqs = link[1], link[3], (link[4], link[5])
    rows: list[Any] = [before, link]
    if link[2] == "begun":
        rows += connection.execute("SELECT session, started_utc, meta FROM sessions WHERE session = ?", (session,))
    elif link[2] == "ended":
        rows += connection.execute(
            "SELECT session, ended_utc, complete, ending, area_mm2, revisit_share, frame_rows, frame_cols"
            " FROM sessions WHERE session = ?",
            (session,),
        )
    elif link[2] == "frame":
        rows += connection.execute("SELECT * FROM frames WHERE session = ? AND frame = ?", (session, frame))
        rows += connection.execute("SELECT * FROM joins WHERE session = ? AND frame = ?", (session, frame))
    if seqs[1] >= seqs[0]:
        rows += connection.execute("SELECT * FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq", seqs)
        rows += connection.execute("SELECT * FROM reviews WHERE seq BETWEEN ? AND ? ORDER BY seq", seqs)
        views = connection.execute("SELECT * FROM crops WHERE seq BETWEEN ? AND ? ORDER BY seq, view", seqs)
        rows += [(*about, hashlib.sha256(picture).hexdigest()) for *about, picture in views]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _told(connection: sqlite3.Connection, first_seq: int, last_seq: int) -> str:
    """Hashes of the messages that a transaction told, one each: they are let go of one by one."""
    return " ".join(digest for _, digest in _messages(connection, first_seq, last_seq))


def _messages(connection: sqlite3.Connection, first_seq: int, last_seq: int) -> list[tuple[int, str]]:
    """Numbers and hashes of the messages of a transaction that are kept."""
    if last_seq < first_seq:
        return []
    rows = connection.execute(
        "SELECT seq, topic, payload FROM outbox WHERE seq BETWEEN ? AND ? ORDER BY seq", (first_seq, last_seq)
    )
    return [(row[0], hashlib.sha256(json.dumps(row).encode()).hexdigest()) for row in rows]
