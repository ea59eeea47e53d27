"""A connection to the journal that cannot change it, for who looks while others count."""

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

    Raises
    ------
    JournalError
        There is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise JournalError(f"{path} does not exist; give the state folder that holds journal.sqlite")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S, isolation_level=None
        )
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise journal_error(path, error) from error
    return connection


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


def knows_session(path: Path, session: str) -> bool:
    """Whether a session is in the journal; true where it cannot be read, since what is wrong is said elsewhere."""
    try:
        with closing(open_to_read(path)) as connection:
            row = connection.execute("SELECT 1 FROM sessions WHERE session = ?", (session,)).fetchone()
    except (JournalError, sqlite3.Error):
        return True
    return row is not None
