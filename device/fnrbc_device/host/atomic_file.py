"""Files that are complete or not there, through a kill and a loss of power; and locks that end with their holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.05


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Put a file in its place in one step: who looks sees the old one or the new one.

    Parameters
    ----------
    mode
        Who may read and write it, from the first byte on; the process's umask takes more away.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # one left by a kill keeps its own mode
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring names that were made or changed in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold a lock file, whose folder is made if need be. The system lets go of it however the holder ends.

    Raises
    ------
    TimeoutError
        Somebody else holds it longer than that.
    OSError
        It cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        deadline = time.monotonic() + timeout_s
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} is held")
            time.sleep(_POLL_S)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
