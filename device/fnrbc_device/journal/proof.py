"""Proves a journal's record whole, or names the first thing in it that was changed."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.errors import JournalError
from fnrbc_device.journal.audit import SEALED_COLUMNS, sealed
from fnrbc_device.journal.chain import PLATE_COLUMNS, SESSION_COLUMNS, SIGNED_COLUMNS, hash_of_plate, select
from fnrbc_device.journal.migrations import FIRST_VERSION, SCHEMA_VERSION, schema_fault, version_fault
from fnrbc_device.journal.read_only import bring_to_disk, reading
from fnrbc_device.journal.sqlite_errors import is_damage
from fnrbc_device.journal.walk import Walk

NOT_SEALED: Final = (
    "It is of 0.1.0, which did not seal where a record begins, its epoch, which messages were let go of and which "
    "alarms stand: the next start of the device carries it over and seals them."
)


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
    limits: str = ""
    """What the proof leaves out, in one sentence; empty where it leaves out nothing."""


def prove(path: Path) -> Proof:
    """Prove a journal's record as it is at one moment, without changing anything.

    Raises
    ------
    JournalError
        There is no journal of a known version at the path, or it cannot be read now.
    """
    with reading(path) as connection:
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < FIRST_VERSION or version > SCHEMA_VERSION:
                raise JournalError(version_fault(path, version))
            proof = proved(connection, version)
            bring_to_disk(path)
            return proof
        except (sqlite3.Error, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, sqlite3.Error) and not is_damage(error):
                raise
            return Proof(0, 0, "", f"the file {path} is damaged: {error}")


def first_fault(connection: sqlite3.Connection, session: str) -> str:
    """First broken link from a session's begin on, in one sentence; empty where there is none."""
    row = connection.execute(
        "SELECT link FROM audit WHERE session = ? AND kind = 'begun' ORDER BY link DESC LIMIT 1", (session,)
    ).fetchone()
    if row is None:
        return f"session {session} has no link in the audit: it was added afterwards"
    walk = Walk(connection, row[0], _hash_before(connection, row[0]), whole=False)
    return walk.go() or end_fault(connection, walk) or _plate_fault(connection, walk, session)


def proved(connection: sqlite3.Connection, version: int) -> Proof:
    """Prove the record that a connection sees, within its transaction; its file is of this version."""
    (rows,) = connection.execute("SELECT count(*) FROM journal").fetchone()
    first, before = connection.execute("SELECT first_link, before_first FROM journal").fetchone()
    walk = Walk(connection, first, before, whole=True, numbered=version > FIRST_VERSION)
    fault = walk.go() or end_fault(connection, walk) or _row_fault(connection, walk)
    if version > FIRST_VERSION:
        fault = fault or _plate_fault(connection, walk) or _seal_fault(connection, walk)
    fault = fault or ("" if rows == 1 else f"the table journal has {rows} rows instead of one: one was added")
    fault = fault or schema_fault(connection, version) or _damage(connection)
    sessions = len(walk.open) + len(walk.ended)
    return Proof(walk.links, sessions, walk.last_hash, fault, NOT_SEALED if version == FIRST_VERSION else "")


def _hash_before(connection: sqlite3.Connection, link: int) -> str:
    row = connection.execute("SELECT hash FROM audit WHERE link = ?", (link - 1,)).fetchone()
    row = row or connection.execute("SELECT before_first FROM journal").fetchone()
    return str(row[0])


def end_fault(connection: sqlite3.Connection, walk: Walk) -> str:
    """The chain must end where the journal says, and begin where it says."""
    last_link, last_hash, last_seq, first = connection.execute(
        "SELECT last_link, last_hash, last_seq, first_link FROM journal"
    ).fetchone()
    if (walk.next_link - 1, walk.last_hash) != (last_link, last_hash):
        return (
            f"the audit ends at link {walk.next_link - 1} where the journal's last is {last_link}: "
            "the record was cut short"
        )
    if walk.last_seq is not None and walk.last_seq != last_seq:
        return f"the journal's last record is {last_seq}, but that of its last link is {walk.last_seq}"
    (earlier,) = connection.execute("SELECT min(link) FROM audit").fetchone()
    if earlier is not None and earlier < first:
        return f"the record is said to begin at link {first}, but link {earlier} is there: its beginning was moved"
    return ""


def _row_fault(connection: sqlite3.Connection, walk: Walk) -> str:
    """Rows that no link covers, and sessions whose row says more than the links."""
    if row := walk.left_over():
        return f"{row} has no link: it was added afterwards"
    ending = SESSION_COLUMNS["ended"]
    for row in connection.execute(select("sessions", (*ending, *SIGNED_COLUMNS))):
        session, end, signed = row[0], row[1 : len(ending)], row[len(ending) :]
        if session not in walk.open and session not in walk.ended:
            return f"a session ({session}) of the table sessions has no link: it was added afterwards"
        if session in walk.open and any(value not in (None, "") for value in end):
            return f"the end of session {session} has no link: it was added afterwards"
        if signed != walk.signed.get(session, (None, None)):
            return f"the sign-off of session {session} is not the one that the audit knows"
    return ""


def _plate_fault(connection: sqlite3.Connection, walk: Walk, session: str = "") -> str:
    """Pictures that registration holds on to: those of sessions that have not ended, and no others."""
    where = "WHERE session = ?" if session else "WHERE session <> ?"
    expected = {
        (name, number): digest
        for name, plates in walk.open.items()
        if session in ("", name)
        for number, digest in plates.items()
    }
    for row in connection.execute(f"{select('plates', PLATE_COLUMNS)} {where} ORDER BY session, number", (session,)):
        if expected.pop((row[0], str(row[1])), "") != hash_of_plate(row):
            return f"plate {row[1]} of session {row[0]} is not the one that the audit knows"
    for name, number in expected:
        return f"plate {number} of session {name} is missing"
    return ""


def _seal_fault(connection: sqlite3.Connection, walk: Walk) -> str:
    """What the links seal must be what the tables say."""
    if "journal" not in walk.sealed:
        return f"no link says where the record begins: what lay before link {walk.next_link - walk.links} was removed"
    now = sealed(connection)
    for name in SEALED_COLUMNS:
        if now["journal"][name] != walk.sealed["journal"][name]:
            return (
                f"{name} of the journal is {now['journal'][name]}, but its links seal {walk.sealed['journal'][name]}: "
                "it was changed, or something was removed as if it were old"
            )
    if now["alarms"] != walk.sealed["alarms"]:
        return "the table alarms is not what the audit knows: an alarm was changed, added or removed"
    return ""


def _damage(connection: sqlite3.Connection) -> str:
    (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if found == "ok" else f"the file is damaged beside the audit: {found}"
