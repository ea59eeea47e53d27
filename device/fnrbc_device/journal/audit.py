"""The audit: every transaction of the journal is a link of one chain, so that a change of the record shows.

A link's hash covers the link before it and all rows that its transaction wrote (chain.py). Whoever alters, adds or
removes a row must write all later links anew, and the last hash then differs from the one that was noted elsewhere.

What changes without being a row of its own is *sealed* in the note of the link that changed it: where the record begins
and what lay before that, the epoch, which messages are still kept, which alarms stand.
"""

import json
import sqlite3
from typing import Any, Final, Literal

from fnrbc_device.journal.chain import (
    CHAIN,
    LINK_COLUMNS,
    MESSAGE_COLUMNS,
    PLATE_COLUMNS,
    ROW_COLUMNS,
    SESSION_COLUMNS,
    Row,
    hash_of_plate,
    insert,
    link_hash,
    message_hash,
    plain,
    select,
)
from fnrbc_device.journal.spans import Spans
from fnrbc_device.records import ProvisionalReason

Kind = Literal[
    "made",
    "carried",
    "restored",
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
    "provisional",
    "stain",
    "ended",
    "signed",
    "withdrawn",
    "result",
    "described",
    "let_go",
    "pruned",
]
"""What a link is about: the journal's making, its being carried over from an older version, a new epoch after a backup
was restored; a session's begin, its going on after a crash, its end; one frame; a time without camera; what a person
did at the microscope or asked for from elsewhere; an alarm; a decision on a cell; where a session crosses the border of
what the network was measured on; where its stain is settled, or another; a session's sign-off, that it was withdrawn,
and what the laboratory was told of either; what people said of a session after its start; an old session, or old
messages, that were let go of."""

SEALED_COLUMNS: Final = ("epoch", "epoch_before", "first_seq", "oldest_seq", "first_link", "before_first")
"""Of the table ``journal``; ``last_seq``, ``last_link`` and ``last_hash`` are those of the last link."""

_BY_SEQ: Final = (
    ("events", "seq"), ("reviews", "seq"), ("crops", "seq, view"), ("results", "seq"), ("details", "seq"),
    ("surroundings", "seq, view"), ("mosaics", "seq, island"),
)  # fmt: skip


def provisional(connection: sqlite3.Connection, session: str) -> tuple[ProvisionalReason, ...]:
    """Why a session lies outside of what the network was measured on, as it was put on record last.

    The end of a session repeats it: so that of a long session one link is read and not every frame's.
    """
    row = connection.execute(
        "SELECT note FROM audit WHERE session = ? AND kind IN ('provisional', 'ended') ORDER BY link DESC LIMIT 1",
        (session,),
    ).fetchone()
    return tuple(json.loads(row[0]).get("reasons", ())) if row else ()


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
    told = " ".join(message_hash(message) for message in _by_seq(connection, "outbox", MESSAGE_COLUMNS, "seq", seqs))
    words = json.dumps(note, sort_keys=True) if note else "{}"
    link = (number, session, kind, frame, *seqs, at_utc, words, told, CHAIN)
    digest = link_hash(before, link, _rows(connection, link))
    connection.execute(insert("audit", (*LINK_COLUMNS, "hash")), (*link, digest))
    connection.execute("UPDATE journal SET last_link = ?, last_hash = ?", (number, digest))


def anchor(connection: sqlite3.Connection) -> dict[str, Any]:
    """The last link and its hash, for a message that takes them out of this machine."""
    link, digest = connection.execute("SELECT last_link, last_hash FROM journal").fetchone()
    return {"chain_link": link, "chain_hash": digest}


def sealed(connection: sqlite3.Connection) -> dict[str, Any]:
    """What a link is to seal where it changes any of it: for the note of that link."""
    row = connection.execute(select("journal", SEALED_COLUMNS)).fetchone()
    return {"journal": dict(zip(SEALED_COLUMNS, row, strict=True)), "alarms": standing_alarms(connection)}


def standing_alarms(connection: sqlite3.Connection) -> dict[str, str]:
    """Codes and details of the alarms that stand."""
    return dict(connection.execute("SELECT code, detail FROM alarms ORDER BY code"))


def messages_gone(connection: sqlite3.Connection) -> str:
    """Numbers of messages that links of the chain told and that are no longer kept."""
    kept = {seq for (seq,) in connection.execute("SELECT seq FROM outbox")}
    told = connection.execute("SELECT first_seq, last_seq FROM audit")
    return str(Spans(seq for first, last in told for seq in range(first, last + 1) if seq not in kept))


def plates_kept(connection: sqlite3.Connection) -> dict[str, dict[str, str]]:
    """Hashes of the pictures that registration holds on to, by session and number."""
    found: dict[str, dict[str, str]] = {}
    for row in connection.execute(select("plates", PLATE_COLUMNS)):
        found.setdefault(row[0], {})[str(row[1])] = hash_of_plate(row)
    return found


def _rows(connection: sqlite3.Connection, link: Row) -> dict[str, list[Row]]:
    """All that a link covers, read back from the tables."""
    _, session, kind, frame, first_seq, last_seq, *_ = link
    rows: dict[str, list[Row]] = {}
    if kind in SESSION_COLUMNS:
        columns = select("sessions", SESSION_COLUMNS[kind])
        rows["sessions"] = connection.execute(f"{columns} WHERE session = ?", (session,)).fetchall()
    if kind == "frame":
        for table in ("frames", "joins"):
            where = f"{select(table, ROW_COLUMNS[table])} WHERE session = ? AND frame = ? ORDER BY island"
            rows[table] = connection.execute(where, (session, frame)).fetchall()
    for table, order in _BY_SEQ:
        rows[table] = _by_seq(connection, table, ROW_COLUMNS[table], order, (first_seq, last_seq))
    return rows


def _by_seq(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], order: str, seqs: tuple[int, int]
) -> list[Row]:
    if seqs[1] < seqs[0]:
        return []
    rows = connection.execute(f"{select(table, columns)} WHERE seq BETWEEN ? AND ? ORDER BY {order}", seqs)
    return plain(table, rows)
