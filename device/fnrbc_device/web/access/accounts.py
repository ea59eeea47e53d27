"""The accounts of a device: a file that only its owner reads, changed by ``fnrbc user`` while the daemon runs."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

from fnrbc_device.errors import ConfigError, UsageError
from fnrbc_device.host.atomic_file import held, write_whole
from fnrbc_device.web.access.user import RoleName

FILE_NAME: Final = "accounts.json"

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
"""Fit to be a part of a topic too, so that a person has one name at the page and at the broker."""

MAX_ACCOUNTS: Final = 200
MAX_BYTES: Final = 256 * 1024
LOCK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Account:
    """One person who may log in."""

    name: str
    role: RoleName
    password: str
    """Its hash."""


class AccountFile:
    """Reads and changes the accounts. Safe from any thread and beside other processes.

    Parameters
    ----------
    path
        The file; without it there is no account.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._accounts: dict[str, Account] = {}

    def find(self, name: str) -> Account | None:
        """Give an account as it stands in the file now; None where there is none of that name.

        Raises
        ------
        ConfigError
            The file is damaged, or others can read it.
        """
        return self.all().get(name)

    def all(self) -> dict[str, Account]:
        """Give all accounts by their names. The file is read again only when it was changed.

        Raises
        ------
        ConfigError
            The file is damaged, or others can read it.
        """
        with self._lock:
            found = self._state()
            if found != self._seen:
                self._accounts = _read(self.path) if found else {}
                self._seen = found
            return self._accounts

    @contextmanager
    def changing(self) -> Iterator[dict[str, Account]]:
        """Change the accounts that are handed out; they are written when the block ends, or not at all.

        Raises
        ------
        UsageError
            Another process changes them, the folder belongs to somebody else, or there are too many.
        ConfigError
            The file is damaged.
        """
        with _locked(self.path):
            accounts = dict(_read(self.path)) if self.path.exists() else {}
            yield accounts
            if len(accounts) > MAX_ACCOUNTS:
                raise UsageError(f"there would be {len(accounts)} accounts, the limit is {MAX_ACCOUNTS}; remove some")
            content = json.dumps({"accounts": [asdict(one) for one in accounts.values()]}, indent=1)
            write_whole(self.path, content.encode())

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def require_name(name: str) -> str:
    """Give a name that is fit for an account.

    Raises
    ------
    UsageError
        It is not.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"the name {name!r} is not 1 to 32 of a-z, 0-9, '_' and '-'; choose another")
    return name


def _read(path: Path) -> dict[str, Account]:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; chmod 600 {path}")
        content = path.read_bytes()[: MAX_BYTES + 1]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give it to the daemon's user") from error
    try:
        accounts = [Account(**one) for one in json.loads(content)["accounts"]]
        sound = all(NAME.fullmatch(one.name) and one.role in get_args(RoleName) for one in accounts)
    except (ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise ConfigError(f"{path} is damaged; move it away, and add the accounts again: fnrbc user add NAME")
    return {one.name: one for one in accounts}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        with held(path.with_name(path.name + ".lock"), LOCK_S):
            yield
    except TimeoutError as error:
        raise UsageError(f"somebody else changes {path}, for {LOCK_S:.0f} s already; try again") from error
