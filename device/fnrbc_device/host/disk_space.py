"""Room on the disk: how much a record can still grow, and a reserve that is given up to close it properly."""

import contextlib
import os
import resource
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MB: Final = 1_000_000

RESERVE_BYTES: Final = 24 * MB
"""The write-ahead file's bound and what a session's end writes."""

CLOSE_AT_BYTES: Final = 8 * MB
"""A running session is closed while there is still this much room: a thousand frames of a busy slide take 6 MB."""


@dataclass(frozen=True, slots=True)
class RecordSettings:
    """What the record may take of the disk."""

    least_free_mb: int = 200
    """A session is not begun with less."""
    keep_days: int = 365
    """Sessions that ended longer ago go, once all their messages are acknowledged."""
    keep_mb: int = 20_000
    """The oldest acknowledged sessions go while all together take more."""


def room_bytes(folder: Path, growing: Iterable[Path] = ()) -> int:
    """Bytes that files in a folder can still grow by, before the disk or this process' limit on files stops them.

    Raises
    ------
    OSError
        The folder is not there.
    """
    free = shutil.disk_usage(folder).free
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return free
    return min([free, *(limit - _size(path) for path in growing)])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class Reserve:
    """A file that does nothing but hold room.

    Parameters
    ----------
    folder
        On the disk where the room is wanted.
    """

    def __init__(self, folder: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = folder / "reserve"
        self._bytes = size_bytes

    def hold(self) -> bool:
        """Take the room; False where there is not enough, and then nothing is taken."""
        if _size(self._path) == self._bytes:
            return True
        try:
            # Asking for more than there is would fill the disk for a moment, under everybody who writes to it.
            if room_bytes(self._path.parent) < self._bytes:
                self.give_up()
                return False
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._bytes)
        except OSError:
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
