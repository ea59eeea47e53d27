"""A connection to the journal that cannot change it, for who looks while others count."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from fnrbc_device.errors import JournalError
from fnrbc_device.journal.sqlite_errors import journal_error

WAIT_S: Final = 5.0
"""Readers of a write-ahead log wait for nobody but who recovers it after a crash."""


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open the journal's file without a way to change it. The connection is bound to the thread that opened it.

    Where this user may not write beside the file, as on a read-only mount, it is read as one that nobody changes.

    Raises
    ------
    JournalError
        There is no such file, or it cannot be read; or a write-ahead file lies beside it that only who may write there
        can read.
    """
    if not path.is_file():
        raise JournalError(f"{path} does not exist; give the state folder that holds {path.name}")
    try:
        return _opened(path, "mode=ro")
    except sqlite3.Error as error:
        if not _may_not_write(error):
            raise journal_error(path, error) from error
        _require_no_write_ahead(path)
    try:
        return _opened(path, "mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise journal_error(path, error) from error


def _opened(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=WAIT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA schema_version").fetchone()  # the file itself is opened here
    except BaseException:
        connection.close()
        raise
    return connection


def _may_not_write(error: sqlite3.Error) -> bool:
    """SQLite wants to make the two files that belong to a write-ahead log, even to read."""
    return any(words in str(error) for words in ("readonly", "unable to open"))


def _require_no_write_ahead(path: Path) -> None:
    beside = path.with_name(path.name + "-wal")
    size = beside.stat().st_size if beside.exists() else 0
    if size:
        raise JournalError(
            f"the newest records of {path} lie in {beside.name} ({size} bytes), which can be read only where this user "
            f"may write; copy {path.name} and {beside.name} to a folder of your own, and read them there"
        )


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Read the journal as it is at one moment, whatever is written meanwhile.

    Raises
    ------
    JournalError
        There is no such file, or it cannot be read.
    """
    with closing(open_to_read(path)) as connection:
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise journal_error(path, error) from error


def bring_to_disk(path: Path) -> None:
    """Bring to the disk what was read: a loss of power must not take from the record what is known of it elsewhere.

    The newest frames, where they changed nothing of the count, may lie with the system alone (``Journal.record``).
    SQLite holds no lock on the write-ahead file itself, so nobody loses one when it is closed here.

    Raises
    ------
    JournalError
        The disk refuses.
    """
    try:
        with path.with_name(path.name + "-wal").open("rb") as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EINVAL):  # what takes no writing has none on its way
            raise journal_error(path, error) from error


def knows_session(path: Path, session: str) -> bool:
    """Whether a session is in the journal; true where it cannot be read, since what is wrong is said elsewhere."""
    try:
        with closing(open_to_read(path)) as connection:
            row = connection.execute("SELECT 1 FROM sessions WHERE session = ?", (session,)).fetchone()
    except (JournalError, sqlite3.Error):
        return True
    return row is not None
