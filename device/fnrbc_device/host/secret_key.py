"""A key of this device's own, made at its first use and for its owner's eyes only."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from fnrbc_device.errors import JournalError
from fnrbc_device.host.atomic_file import sync_folder

KEY_BYTES: Final = 32


def secret_key(path: Path, consequence: str) -> bytes:
    """Read the key, or make it.

    Parameters
    ----------
    path
        Of its file.
    consequence
        What another key would mean, for the sentence where the file is damaged.

    Raises
    ------
    JournalError
        It cannot be made or read, or is none.
    """
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise JournalError(
            f"the key {path} cannot be made or read ({error.strerror}); let this user write to that folder"
        ) from error
    if len(key) != KEY_BYTES:
        raise JournalError(
            f"the key {path} has {len(key)} bytes instead of {KEY_BYTES}; restore it, or move it away for a new one, "
            f"{consequence}"
        )
    return key


def _make(path: Path) -> None:
    """Put a new key in its place whole. Of two who come at once, one wins and both use that key."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()
    sync_folder(path.parent)
