"""What SQLite or the system refuses of the journal, in words with the cure that fits."""

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from fnrbc_device.errors import DiskFullError, JournalError

BUSY_S: Final = 5.0
"""How long one writer waits for the other. Neither holds the file while it waits for anything else; the
longest transaction measured (20 acknowledgements) takes 1 ms."""

NO_TEXT: Final = "malformed, and what SQLite says of it is no text"
"""Python 3.10 then gives an error without words; later ones give one about the decoding."""


def journal_error(path: Path, error: Exception) -> JournalError:
    """Say what SQLite or the system refused, with the cure that fits."""
    words = str(error) or NO_TEXT
    kind = DiskFullError if _is_full(words) else JournalError
    return kind(f"the journal {path} cannot be used: {words}; {_cure(path, words)}")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite speaks of what stands in the file, not of who may read it or of who holds it."""
    words = str(error)
    return not any(one in words for one in ("locked", "unable to open", "readonly", "denied", "disk I/O"))


def _is_full(words: str) -> bool:
    return "full" in words or "disk I/O" in words or "No space" in words


def _cure(path: Path, words: str) -> str:
    if _is_full(words):
        return f"{_free_mb(path)} MB are free there: free some, or set the state folder on a larger disk"
    if "readonly" in words or "unable to open" in words or "denied" in words or "Read-only" in words:
        return "let this user write to the file and its folder, or choose another state folder"
    if "not a database" in words or "malformed" in words or "can't decode" in words:
        return (
            "the file is damaged or something else: bring a backup back with `fnrbc restore`, "
            "or move it away for a new one"
        )
    if "locked" in words:
        return f"another process has held it for {BUSY_S:.0f} s: end it"
    return "check the file and the disk below it"


def _free_mb(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free // 1_000_000
    except OSError:
        return 0
