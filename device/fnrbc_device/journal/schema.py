"""The tables of the journal, and opening its file: one SQLite database a device."""

import logging
import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import JournalError
from fnrbc_device.host.atomic_file import make_private, make_private_folder
from fnrbc_device.host.clock import Clock, SystemClock, iso_utc
from fnrbc_device.journal.audit import add_link, messages_gone, plates_kept, sealed
from fnrbc_device.journal.migrations import FIRST_VERSION, SCHEMA_VERSION, make_tables, take_steps, version_fault
from fnrbc_device.journal.sqlite_errors import BUSY_S, journal_error
from fnrbc_device.records import CountEvent, Verdict

JOURNAL_NAME: Final = "journal.sqlite"
"""The journal's file in the state folder."""

ROOM_FOR_COPY: Final = 3
"""Times the journal's size that must be free for a copy of it: the copy, and as much again for what is recorded."""

_log = logging.getLogger(__name__)

WAL_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""The write-ahead file is cut back to this after a burst."""

EVENT_COLUMNS: Final = (
    "event, cell, class_name, role, probability, target_probability, island, row_px, col_px, x_um, y_um,"
    " diameter_um, nucleus_ratio, views, best_frame, reason"
)
"""The columns of ``events`` that are the event itself, in the order of ``event_row`` and ``event_of``."""


def open_database(path: Path, clock: Clock | None = None) -> sqlite3.Connection:
    """Open the journal's file, making it where there is none, and carrying an older one over to today's tables.

    Write-ahead log with ``synchronous=FULL``: what was committed survives a power cut, but where its writer says
    otherwise for frames that change nothing of the count. The connection is bound to the thread that opened it and
    begins no transaction by itself.

    Parameters
    ----------
    path
        The file. It is its owner's alone, whatever the umask; its folder is made where it is missing.

    Raises
    ------
    JournalError
        The file cannot be opened, is no journal, or one of a newer version.
    """
    try:
        make_private_folder(path.parent)
        # SQLite gives the write-ahead file the mode of the database.
        make_private(path)
        for beside in ("-wal", "-shm"):
            make_private(path.with_name(path.name + beside), create=False)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    except (OSError, sqlite3.Error) as error:
        raise journal_error(path, error) from error
    try:
        _prepare(connection, path, iso_utc((clock or SystemClock()).utc()))
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


def _prepare(connection: sqlite3.Connection, path: Path, at_utc: str) -> None:
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect while the file is still empty
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    _keep_for_the_way_back(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    try:
        _make_or_carry(connection, path, at_utc)
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def _keep_for_the_way_back(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a journal of an older version before it is carried over: the older software reads no other."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    copy = path.with_name(f"{path.name}.version-{version}")
    if not FIRST_VERSION <= version < SCHEMA_VERSION or copy.exists():
        return
    size = path.stat().st_size
    if shutil.disk_usage(path.parent).free < ROOM_FOR_COPY * size:
        _log.warning("there is no room for a copy of %s before it is carried over (%d MB)", path, size // 1_000_000)
        return
    part = copy.with_name(copy.name + ".part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    with closing(sqlite3.connect(part)) as target:
        connection.backup(target)
        target.execute("PRAGMA journal_mode = DELETE").fetchall()
    part.replace(copy)


def _make_or_carry(connection: sqlite3.Connection, path: Path, at_utc: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        _make(connection, at_utc)
    elif FIRST_VERSION <= version < SCHEMA_VERSION:
        _carry(connection, version, at_utc)
    else:
        raise JournalError(version_fault(path, version))


def _make(connection: sqlite3.Connection, at_utc: str) -> None:
    make_tables(connection)
    epoch = secrets.token_hex(8)
    connection.execute(
        "INSERT INTO journal (epoch, last_seq, before_first, last_hash) VALUES (?, 0, ?, ?)", (epoch, epoch, epoch)
    )
    add_link(connection, "", "made", (1, 0), at_utc, note={"sealed": sealed(connection)})


def _carry(connection: sqlite3.Connection, version: int, at_utc: str) -> None:
    """Bring an older journal to today's tables; a link says so, and seals what the older software left open."""
    take_steps(connection, version)
    note: dict[str, Any] = {"from": version, "to": SCHEMA_VERSION, "sealed": sealed(connection)}
    if version == FIRST_VERSION:
        note |= {"gone": messages_gone(connection), "plates": plates_kept(connection)}
    (last_seq,) = connection.execute("SELECT last_seq FROM journal").fetchone()
    add_link(connection, "", "carried", (last_seq + 1, last_seq), at_utc, note=note)
