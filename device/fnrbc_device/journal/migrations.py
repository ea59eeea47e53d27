"""How the journal's tables came to be: those of 0.1.0, and each step since.

A new journal is made as 0.1.0 made it and goes through all steps, an older one through those that it lacks. So there is
one way to today's tables, and what a file must look like is known for every version.

To add a step: append it to ``STEPS``; name a new column in chain.py, at the end of its table's columns; write it. A
column of a table that links cover is added without a default, so that it is NULL in older rows: their links stay valid.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.journal.tables_of_0_1_0 import TABLES_OF_0_1_0

FIRST_VERSION: Final = 3
"""Of 0.1.0; what had a lower number was never released."""


@dataclass(frozen=True, slots=True)
class Step:
    """From one version of the tables to the next."""

    why: str
    sql: str


STEPS: Final[tuple[Step, ...]] = (
    Step(
        "links say how they are hashed; an epoch says where it begins and which was before it",
        """
        ALTER TABLE audit ADD COLUMN chain INTEGER;
        ALTER TABLE journal ADD COLUMN first_seq INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE journal ADD COLUMN epoch_before TEXT;
        """,
    ),
    Step(
        "a sign-off makes a result, which may be withdrawn; specimen, operator and note may be given after the start",
        """
        CREATE TABLE results (
            seq INTEGER PRIMARY KEY,
            session TEXT NOT NULL,
            version INTEGER NOT NULL,
            event TEXT NOT NULL CHECK (event IN ('signed', 'withdrawn', 'superseded', 'removed')),
            at_utc TEXT NOT NULL,
            payload TEXT NOT NULL
        ) STRICT;
        CREATE INDEX results_of_session ON results (session, seq);
        CREATE TRIGGER results_are_append_only BEFORE UPDATE ON results
        BEGIN SELECT RAISE(ABORT, 'a result is never changed: withdraw it by a new one'); END;
        CREATE TABLE details (
            seq INTEGER PRIMARY KEY,
            session TEXT NOT NULL,
            at_utc TEXT NOT NULL,
            who TEXT NOT NULL,
            specimen TEXT NOT NULL,
            operator TEXT NOT NULL,
            note TEXT NOT NULL
        ) STRICT;
        CREATE INDEX details_of_session ON details (session, seq);
        CREATE TRIGGER details_are_append_only BEFORE UPDATE ON details
        BEGIN SELECT RAISE(ABORT, 'what was said of a session is never changed: say it anew'); END;
        DROP TRIGGER signed_sessions_stay;
        CREATE TRIGGER signed_sessions_stay BEFORE UPDATE ON sessions
        WHEN OLD.signed_utc IS NOT NULL AND NEW.signed_utc IS NOT NULL
        BEGIN SELECT RAISE(ABORT, 'a session that was signed off stays as it is until that is withdrawn'); END;
        """,
    ),
    Step(
        "what lies round a cell and how the slide looked are kept for those who review",
        """
        CREATE TABLE surroundings (
            seq INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
            view INTEGER NOT NULL,
            side_um REAL NOT NULL,
            picture BLOB NOT NULL,
            PRIMARY KEY (seq, view)
        ) STRICT;
        CREATE TABLE mosaics (
            seq INTEGER NOT NULL,
            session TEXT NOT NULL,
            island INTEGER NOT NULL,
            um_per_px REAL NOT NULL,
            top_um REAL NOT NULL,
            left_um REAL NOT NULL,
            picture BLOB NOT NULL,
            PRIMARY KEY (session, island)
        ) STRICT;
        """,
    ),
)
"""The first leads from version 3 to 4. What was released is never changed.

In ``results`` and ``details`` ``seq`` is that of their record in the log. ``payload`` of a result is that record: the
figures as they were signed. The newest row of ``details`` says what holds of a session, in the place of what its start
said. A row goes with its link of the audit, which may outlive the session.

``surroundings`` has a JPEG beside each row of ``crops`` of a session that a camera brought: the same view unmasked.
``mosaics`` has one JPEG an island, made when the session ended; ``seq`` is that of its end. Both go with their session.
"""

SCHEMA_VERSION: Final = FIRST_VERSION + len(STEPS)
"""Counts up with every step. A file of a newer version is refused, never guessed at."""


def make_tables(connection: sqlite3.Connection, version: int = SCHEMA_VERSION) -> None:
    """Make the tables of a version in an empty database."""
    for statement in _statements(TABLES_OF_0_1_0):
        connection.execute(statement)
    take_steps(connection, FIRST_VERSION, version)


def take_steps(connection: sqlite3.Connection, version: int, until: int = SCHEMA_VERSION) -> None:
    """Bring the tables of one version to a later one, within the transaction."""
    for step in STEPS[version - FIRST_VERSION : until - FIRST_VERSION]:
        for statement in _statements(step.sql):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {until}")


def version_fault(path: Path, version: int) -> str:
    """Why a file of a version cannot be used, and what to do."""
    if version > SCHEMA_VERSION:
        return (
            f"the journal {path} has version {version}, this software knows versions up to {SCHEMA_VERSION}; install "
            "the newer fnrbc that wrote it, or restore a backup of an earlier one with `fnrbc restore`"
        )
    return (
        f"{path} is no journal, or one from before the first release (version {version}, this software knows "
        f"{FIRST_VERSION} to {SCHEMA_VERSION}); run the software that wrote it, or choose another state folder"
    )


def schema_fault(connection: sqlite3.Connection, version: int) -> str:
    """The first table, index or trigger that is not as the version has it, in words; empty where all are."""
    with closing(sqlite3.connect(":memory:")) as model:
        make_tables(model, version)
        wanted = dict(_schema(model))
    found = dict(_schema(connection))
    for name in (*wanted, *found):
        if name not in found:
            return f"the {name} is missing: it was removed"
        if name not in wanted:
            return f"the {name} is none of the journal's: it was added"
        if found[name] != wanted[name]:
            return f"the {name} is not as the journal has it: it was changed"
    return ""


def _schema(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    return ((f"{kind} {name}", " ".join(sql.split())) for kind, name, sql in rows)


def _statements(script: str) -> Iterator[str]:
    """Split a script where SQLite says that a statement is complete: a trigger holds semicolons of its own.

    ``executescript`` would commit half-way, and a power cut could leave half a journal.
    """
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
