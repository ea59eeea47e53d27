"""Who is logged in: sessions that this process alone knows, and that end by themselves."""

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fnrbc_device.web.access.accounts import Account

IDLE_S: Final = 30 * 60.0
"""Nothing was asked for in this time: a browser that somebody left open (OWASP Session Management Cheat Sheet)."""

ABSOLUTE_S: Final = 12 * 3600.0
"""A working day; whoever works longer logs in again."""

MAX_SESSIONS: Final = 256
MAX_OF_ACCOUNT: Final = 16
"""With one more, the one not used for longest ends."""

ID_BYTES: Final = 32


@dataclass(slots=True, eq=False)
class LoginSession:
    """One browser in which a person is logged in."""

    account: Account
    """As it was at the login: an account that was changed since has no session."""
    began_s: float
    used_s: float
    ended: bool = False
    """Somebody logged out, or the account was changed."""


class LoginSessions:
    """All sessions; lost with the process, so that a restart asks everybody to log in again. Safe from any thread.

    Parameters
    ----------
    now_s
        Monotonic clock, s.
    find_account
        Gives an account as it is now.
    """

    def __init__(self, now_s: Callable[[], float], find_account: Callable[[str], Account | None]) -> None:
        self._now_s = now_s
        self._find_account = find_account
        self._lock = threading.Lock()
        self._sessions: dict[bytes, LoginSession] = {}

    def begin(self, account: Account) -> str:
        """Begin a session; gives the secret that the browser shall keep."""
        secret, now = secrets.token_urlsafe(ID_BYTES), self._now_s()
        with self._lock:
            self._drop_old(now)
            own = [key for key, one in self._sessions.items() if one.account.name == account.name]
            for keys, limit in ((own, MAX_OF_ACCOUNT), (list(self._sessions), MAX_SESSIONS)):
                if len(keys) >= limit:
                    self._end(min(keys, key=lambda key: self._sessions[key].used_s))
            self._sessions[_key(secret)] = LoginSession(account, now, now)
        return secret

    def find(self, secret: str) -> LoginSession | None:
        """Give the session of a browser, which this counts as used; None where there is none, or not any more."""
        now, key = self._now_s(), _key(secret)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if now - session.used_s >= IDLE_S:
                del self._sessions[key]
                return None
        if not self.may_watch(session):
            self.end(secret)
            return None
        session.used_s = now
        return session

    def may_watch(self, session: LoginSession) -> bool:
        """Whether a picture that runs may go on: looking at it is no use of the session, and is not ended by idling."""
        over = session.ended or self._now_s() - session.began_s >= ABSOLUTE_S
        return not over and self._find_account(session.account.name) == session.account

    def end(self, secret: str) -> None:
        """End a session at once."""
        with self._lock:
            self._end(_key(secret))

    def _end(self, key: bytes) -> None:
        session = self._sessions.pop(key, None)
        if session is not None:
            session.ended = True

    def _drop_old(self, now: float) -> None:
        for key, session in list(self._sessions.items()):
            if now - session.used_s >= IDLE_S or now - session.began_s >= ABSOLUTE_S:
                del self._sessions[key]


def _key(secret: str) -> bytes:
    """What is kept of a secret: who reads the memory of this process cannot use it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
