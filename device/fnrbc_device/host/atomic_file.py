"""Files that are complete or not there, through a kill and a loss of power; and locks that end with their holder."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700

_POLL_S: Final = 0.05


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put a file in its place in one step: who looks sees the old one or the new one.

    Parameters
    ----------
    mode
        Who may read and write it, from the first byte on, whatever the umask; usually its owner alone.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # one left by a kill keeps its own mode
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner enters, whatever the umask; one that is there already keeps its mode."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(PRIVATE_FOLDER)


def make_private(path: Path, *, create: bool = True) -> None:
    """Let only its owner read and write a file, whatever the umask.

    A file that is there is not opened: to close it again would let go of the locks that SQLite holds on it for other
    threads of this process.

    Parameters
    ----------
    create
        Make it, empty, where it is missing.

    Raises
    ------
    OSError
        It cannot be made.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if create:
            _make_empty(path)
        return
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        path.chmod(PRIVATE_FILE)


def _make_empty(path: Path) -> None:
    """Make it under another name, and give it its own once nobody has it open."""
    descriptor, made = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        os.fchmod(descriptor, PRIVATE_FILE)
        os.close(descriptor)
        os.link(made, path)
    except FileExistsError:  # another was quicker
        return
    finally:
        Path(made).unlink(missing_ok=True)


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
