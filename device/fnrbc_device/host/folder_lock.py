"""One writer a folder: a state folder, or a follower's folder of copies, is held by the process that works in it."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from fnrbc_device.errors import ConfigError, FolderHeldError
from fnrbc_device.host.atomic_file import make_private_folder
from fnrbc_device.host.clock import iso_utc

LOCK_NAME: Final = ".lock"

WAIT_S: Final = 1.0
"""For a holder that is on its way out: a daemon that is started again right after it was killed."""

_POLL_S: Final = 0.05
_MAX_NOTE: Final = 200
"""Bytes of what a holder says of itself."""


@contextmanager
def hold_state_folder(path: Path, who: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold a folder alone, made where it is missing; enter this before anything in the folder is opened.

    The lock is the kernel's (flock on ``.lock`` inside the folder): it ends with the holder, however that ends, so a
    file that a killed process left is no lock. Whoever only reads need not hold the folder, nor need those that append
    to the journal beside its daemon.

    Parameters
    ----------
    path
        The folder. Made with mode 700, whatever the umask.
    who
        Names the holder to those who are refused, such as ``fnrbc run``.
    wait_s
        How long somebody else's hold is waited for, s.

    Raises
    ------
    FolderHeldError
        Another process holds it; the sentence names which.
    ConfigError
        The folder cannot be made or written, or its disk knows no locks.
    """
    try:
        make_private_folder(path)
        descriptor = _open_lock(path)
    except OSError as error:
        raise ConfigError(
            f"the folder {path} cannot be used ({error.strerror}); choose one that this user can write"
        ) from error
    try:
        _lock(descriptor, path, wait_s)
        _say_who(descriptor, who)
        yield
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    # Never removed: of two who wait for it, one would hold a file that has no name any more.
    descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:  # made by root, for a restore perhaps: the folder's owner must be able to open it later
        owner = path.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    if os.fstat(descriptor).st_uid == os.geteuid() or os.geteuid() == 0:
        os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
    return descriptor


def _lock(descriptor: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise FolderHeldError(
                    f"{_holder(descriptor)} writes to {path}; end it first, or choose another folder"
                ) from None
        except OSError as error:
            raise ConfigError(
                f"the folder {path} cannot be locked ({error.strerror}); choose one on a local disk"
            ) from error
        time.sleep(_POLL_S)


def _say_who(descriptor: int, who: str) -> None:
    """Leave a note for those who are refused. Without one, on a full disk, the lock holds as well."""
    note = f"{who} (process {os.getpid()}, since {iso_utc(datetime.now(timezone.utc))})\n"
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode(), 0)
    except OSError:
        return


def _holder(descriptor: int) -> str:
    note = os.pread(descriptor, _MAX_NOTE, 0).decode(errors="replace").strip()
    return note if note and note.isprintable() else "another process"
