"""All that decides who may use the pages, in one hand: accounts, sessions, browsers and limits."""

import logging
import socket
import threading
from pathlib import Path
from typing import Final

from fnrbc_device.errors import ConfigError
from fnrbc_device.host.clock import Clock, SystemClock
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.access.browser_cookie import MAX_NAME, BrowserCookies, signing_key
from fnrbc_device.web.access.login_audit import UNKNOWN, LoginAudit
from fnrbc_device.web.access.login_sessions import LoginSessions
from fnrbc_device.web.access.passwords import NO_ACCOUNT, is_right
from fnrbc_device.web.access.rate_limits import LoginLimit, RequestLimit
from fnrbc_device.web.access.settings import AccessSettings, is_loopback

WAITING_LOGINS: Final = 4
"""Logins that wait while one is tried: more would take the threads that answer other people."""

TRY_S: Final = 5.0

_log = logging.getLogger(__name__)


class Authentication:
    """Knows who may come in. Safe from any thread, but for ``requests``, which belongs to the event loop.

    Parameters
    ----------
    settings
        Of the configuration.
    journal_path, device
        Where it is put on record.
    clock
        Passed in, so that a test can step it.
    """

    def __init__(
        self,
        settings: AccessSettings | None = None,
        journal_path: Path | None = None,
        device: str = "fnrbc",
        clock: Clock | None = None,
    ) -> None:
        self.settings = settings or AccessSettings()
        clock = clock or SystemClock()
        folder = self.settings.state_dir
        self.accounts = AccountFile(folder / FILE_NAME) if folder else None
        self.entry = LoginAudit(journal_path, device, clock)
        self.sessions = LoginSessions(clock.monotonic_s, self.find_account)
        self.browsers = BrowserCookies(_key(folder), lambda: clock.utc().timestamp())
        self.requests = RequestLimit(clock.monotonic_s)
        self.needs_login = False
        self.names = frozenset(name.lower() for name in self.settings.names)
        self._limit = LoginLimit(clock.monotonic_s)
        self._one_at_a_time = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING_LOGINS)
        self._fault = ""

    def open_to(self, host: str) -> None:
        """Take in where the page listens, which says whether people log in.

        Raises
        ------
        ConfigError
            As ``wants_login``.
        """
        self.needs_login = wants_login(self.settings, host)
        if not is_loopback(host):
            self.names |= {socket.gethostname().lower()}

    def find_account(self, name: str) -> Account | None:
        """Give an account as it is now; None too while the file is damaged, which the log then says once."""
        try:
            fault, account = "", self.accounts.find(name) if self.accounts else None
        except ConfigError as error:
            fault, account = str(error), None
        if fault and fault != self._fault:
            _log.error("nobody can log in: %s", fault)
        self._fault = fault
        return account

    def log_in(self, name: str, password: str, address: str) -> str | float:
        """Begin a session for who knows the password.

        Returns
        -------
        str or float
            The session's secret; or how many seconds must pass before the next try; or 0 for a wrong name or password.

        Raises
        ------
        JournalError
            It cannot be put on record.
        """
        name = name[:MAX_NAME]
        wait_s = self._limit.wait_s(name, address)
        if wait_s > 0:
            return wait_s
        account = self.find_account(name)
        right = self._is_right(password, account.password if account else NO_ACCOUNT)
        if right is None:
            return 1.0
        if account is None or not right:
            self._limit.failed(name, address)
            self.entry.failed(account.name if account else UNKNOWN, address)
            return 0.0
        self.entry.done(account.name, "login", f"as {account.role}, from {address}")
        self._limit.succeeded(name, address)
        return self.sessions.begin(account)

    def log_out(self, secret: str, name: str, address: str) -> None:
        """End a session.

        Raises
        ------
        JournalError
            It cannot be put on record; the session is ended all the same.
        """
        self.sessions.end(secret)
        self.entry.done(name, "logout", f"from {address}")

    def _is_right(self, password: str, kept: str) -> bool | None:
        """Try a password, one at a time; None where too many wait."""
        if not self._waiting.acquire(blocking=False):
            return None
        try:
            if not self._one_at_a_time.acquire(timeout=TRY_S):
                return None
            try:
                return is_right(password, kept)
            finally:
                self._one_at_a_time.release()
        finally:
            self._waiting.release()


def wants_login(settings: AccessSettings, host: str) -> bool:
    """Say whether people log in at a page on a host.

    Raises
    ------
    ConfigError
        Others could reach it, and it speaks no TLS; or they shall log in, and there is no account.
    """
    beyond = not is_loopback(host)
    if beyond and None in (settings.cert_file, settings.key_file):
        raise ConfigError(
            f"the page's host is {host!r}, which others could reach in plain text; set web.cert_file and "
            "web.key_file, or use 127.0.0.1 and from elsewhere a tunnel: ssh -L 8080:127.0.0.1:PORT"
        )
    if not beyond and settings.login == "network":
        return False
    if settings.state_dir is None or not AccountFile(settings.state_dir / FILE_NAME).all():
        raise ConfigError(
            f"the page on {host} wants a login, and there is no account; add one: fnrbc user add NAME --role admin"
        )
    return True


def _key(folder: Path | None) -> bytes:
    try:
        return signing_key(folder)
    except OSError as error:
        raise ConfigError(f"state_dir {folder} cannot be written ({error.strerror}); choose one that can") from error
