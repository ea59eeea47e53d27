"""The tables of the journal, and opening its file: one SQLite database a device."""

import secrets
import sqlite3
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import JournalError
from fnrbc_device.journal.sqlite_errors import BUSY_S, journal_error
from fnrbc_device.records import CountEvent, Verdict

JOURNAL_NAME: Final = "journal.sqlite"
"""The journal's file in the state folder."""

SCHEMA_VERSION: Final = 3
"""Counts up with every change of the tables. A file of another version is refused, never guessed at."""

WAL_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""The write-ahead file is cut back to this after a burst."""

TABLES: Final = """
CREATE TABLE journal (
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    oldest_seq INTEGER NOT NULL DEFAULT 1,
    first_link INTEGER NOT NULL DEFAULT 1,
    before_first TEXT NOT NULL,
    last_link INTEGER NOT NULL DEFAULT 0,
    last_hash TEXT NOT NULL
) STRICT;
CREATE TABLE sessions (
    session TEXT PRIMARY KEY,
    started_utc TEXT NOT NULL,
    ended_utc TEXT,
    complete INTEGER,
    ending TEXT NOT NULL DEFAULT '',
    meta TEXT NOT NULL,
    signed_utc TEXT,
    signed_by TEXT,
    area_mm2 REAL,
    revisit_share REAL,
    frame_rows INTEGER,
    frame_cols INTEGER
) STRICT;
CREATE TRIGGER signed_sessions_stay BEFORE UPDATE ON sessions WHEN OLD.signed_utc IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a session that was signed off stays as it is'); END;
CREATE TABLE frames (
    session TEXT NOT NULL REFERENCES sessions,
    frame INTEGER NOT NULL,
    captured_at_s REAL NOT NULL,
    name TEXT NOT NULL,
    island INTEGER,
    row_px REAL,
    col_px REAL,
    used INTEGER NOT NULL,
    reason TEXT,
    detail TEXT,
    PRIMARY KEY (session, frame)
) STRICT, WITHOUT ROWID;
CREATE TABLE joins (
    session TEXT NOT NULL,
    frame INTEGER NOT NULL,
    island INTEGER NOT NULL,
    into_island INTEGER NOT NULL,
    row_px REAL NOT NULL,
    col_px REAL NOT NULL,
    PRIMARY KEY (session, island),
    FOREIGN KEY (session, frame) REFERENCES frames
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions,
    frame INTEGER NOT NULL,
    event TEXT NOT NULL,
    cell INTEGER NOT NULL,
    class_name TEXT NOT NULL,
    role TEXT NOT NULL,
    probability REAL NOT NULL,
    target_probability REAL NOT NULL,
    island INTEGER NOT NULL,
    row_px REAL NOT NULL,
    col_px REAL NOT NULL,
    x_um REAL NOT NULL,
    y_um REAL NOT NULL,
    diameter_um REAL NOT NULL,
    nucleus_ratio REAL NOT NULL,
    views INTEGER NOT NULL,
    best_frame INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_session ON events (session, seq);
CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'an event is never changed: correct it by a new one'); END;
CREATE TABLE crops (
    seq INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
    view INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    picture BLOB NOT NULL,
    PRIMARY KEY (seq, view)
) STRICT;
CREATE TABLE plates (
    session TEXT NOT NULL,
    number INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    placed INTEGER NOT NULL,
    island INTEGER NOT NULL,
    row_px REAL NOT NULL,
    col_px REAL NOT NULL,
    factor REAL NOT NULL,
    pixel_um REAL NOT NULL,
    frame_rows INTEGER NOT NULL,
    frame_cols INTEGER NOT NULL,
    picture BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT;
CREATE TABLE audit (
    link INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    kind TEXT NOT NULL,
    frame INTEGER,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    at_utc TEXT NOT NULL,
    note TEXT NOT NULL,
    told TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_session ON audit (session, link);
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'a link of the audit is never changed'); END;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'acked', 'refused')),
    reason TEXT NOT NULL DEFAULT '',
    settled_utc TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (seq) WHERE state = 'pending';
CREATE TABLE alarms (
    code TEXT PRIMARY KEY,
    detail TEXT NOT NULL
) STRICT;
"""
"""An event's ``seq`` is that of its log message: the journal and the log can be laid side by side.

Frames and events stand on the islands as they were when written. A row of ``joins`` says that an island ended after a
frame, and what must be added to its places to get those on the older one; joins follow each other in the frames' order.

A row of ``crops`` is a view of a cell that people may decide on, or of a sample of the others; 0 is the best.
``plates`` are what registration holds on to when an unfinished session goes on; they go with its end. ``audit`` has a
link for each transaction (audit.py).

From ``oldest_seq`` on the outbox keeps every message. ``alarms`` are those that stand, however old.
"""


EVENT_COLUMNS: Final = (
    "event, cell, class_name, role, probability, target_probability, island, row_px, col_px, x_um, y_um,"
    " diameter_um, nucleus_ratio, views, best_frame, reason"
)
"""The columns of ``events`` that are the event itself, in the order of ``event_row`` and ``event_of``."""


REVIEW_TABLE: Final = """
CREATE TABLE reviews (
    seq INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    cell INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    second INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('confirmed', 'rejected', 'reclassified', 'undone')),
    class_name TEXT NOT NULL,
    undoes INTEGER UNIQUE,
    at_utc TEXT NOT NULL,
    note TEXT NOT NULL,
    request TEXT UNIQUE
) STRICT;
CREATE INDEX reviews_of_session ON reviews (session, seq);
CREATE TRIGGER reviews_are_append_only BEFORE UPDATE ON reviews
BEGIN SELECT RAISE(ABORT, 'a decision is never changed: undo it by a new one'); END;
"""
"""``seq`` is that of the decision's record in the log. ``second`` is 1 for the second reader, blind to the first.

``class_name`` is what the cell is by that decision, empty where it is none. ``undoes`` is the ``seq`` of the decision
that this row takes back, at most once. ``request`` is the asker's own name for what was asked, so that a repetition is
known. A row goes with its link of the audit, which may outlive the session: decisions on one come while others follow.
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the journal's file, making it where there is none.

    Write-ahead log with ``synchronous=FULL``: what was committed survives a power cut. The connection is
    bound to the thread that opened it and begins no transaction by itself.

    Parameters
    ----------
    path
        The file. Its folder is made where it is missing.

    Raises
    ------
    JournalError
        The file cannot be opened, is no journal, or one of another version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise journal_error(path, error) from error
    try:
        _prepare(connection, path)
    except BaseException as error:
        connection.close()
        # Of a damaged file the complaint itself may hold bytes that are no text.
        if isinstance(error, (sqlite3.Error, UnicodeDecodeError)):
            raise journal_error(path, error) from error
        raise
    return connection


def event_row(event: CountEvent) -> tuple[Any, ...]:
    """Write an event as its columns. Numbers are made plain here: SQLite takes no numpy scalars."""
    verdict = event.verdict
    return (
        event.event,
        int(event.cell),
        verdict.class_name,
        verdict.role,
        float(verdict.probability),
        float(verdict.target_probability),
        int(event.island),
        float(event.row_px),
        float(event.col_px),
        float(event.x_um),
        float(event.y_um),
        float(event.diameter_um),
        float(event.nucleus_ratio),
        int(event.views),
        int(event.best_frame),
        event.reason,
    )


def event_of(row: tuple[Any, ...]) -> CountEvent:
    """Read an event from its columns."""
    event, cell, class_name, role, probability, target_probability, *rest = row
    return CountEvent(event, cell, Verdict(class_name, role, probability, target_probability), *rest)


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what was begun. After a full disk SQLite has done so already, and a ROLLBACK would hide why."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect while the file is still empty
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        _make_or_check(connection, path)
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def _make_or_check(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    if version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise JournalError(
            f"the journal {path} has version {version}, this software writes {SCHEMA_VERSION}; "
            "run the software that wrote it, or choose another state folder"
        )
    for statement in _statements(TABLES + REVIEW_TABLE):
        connection.execute(statement)
    epoch = secrets.token_hex(8)
    connection.execute(
        "INSERT INTO journal (epoch, last_seq, before_first, last_hash) VALUES (?, 0, ?, ?)", (epoch, epoch, epoch)
    )
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _statements(script: str) -> list[str]:
    """Split a script where SQLite says that a statement is complete: a trigger holds semicolons of its own.

    ``executescript`` would commit half-way, and a power cut could leave half a journal.
    """
    statements, pending = [], ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
