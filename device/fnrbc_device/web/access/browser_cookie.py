"""What a browser keeps beside a login: a signed cookie that tells browsers apart, and the name of who sits there."""

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from itsdangerous import BadData, Signer, URLSafeSerializer

from fnrbc_device.host.atomic_file import make_private_folder, write_whole

KEY_NAME: Final = "page.key"
KEY_BYTES: Final = 32

NAME_S: Final = 12 * 3600.0
"""A stated name holds for a working day: the next person at the microscope is another."""

MAX_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class BrowserCookie:
    """One browser, as its cookie says."""

    id: str
    name: str = ""
    """Stated by the person before it; empty for nobody in particular."""
    named_s: float = 0.0
    """UTC, s."""


class BrowserCookies:
    """Signs and reads the cookies, and makes the token that each page hands back.

    Parameters
    ----------
    key
        Signs.
    now_s
        UTC, s.
    """

    def __init__(self, key: bytes, now_s: Callable[[], float]) -> None:
        self._cookies = URLSafeSerializer(key, salt="browser", signer_kwargs={"digest_method": hashlib.sha256})
        self._tokens = Signer(key, salt="token", digest_method=hashlib.sha256)
        self._now_s = now_s

    def new(self) -> BrowserCookie:
        """Make a browser known."""
        return BrowserCookie(secrets.token_urlsafe(16))

    def named(self, browser: BrowserCookie, name: str) -> BrowserCookie:
        """Write down who sits before it."""
        return replace(browser, name=name, named_s=self._now_s())

    def write(self, browser: BrowserCookie) -> str:
        """Content of the cookie."""
        return str(self._cookies.dumps([browser.id, int(browser.named_s), browser.name]))

    def read(self, cookie: str) -> BrowserCookie | None:
        """Give the browser of a cookie; None where we did not sign it. A name that is too old is left out."""
        try:
            identity, named_s, name = self._cookies.loads(cookie)
        except BadData:
            return None
        if self._now_s() - named_s >= NAME_S:
            return BrowserCookie(identity)
        return BrowserCookie(identity, name, float(named_s))

    def token(self, secret: str) -> str:
        """Make the token of a browser's id or a session's secret: whoever cannot read our pages cannot know it."""
        return self._tokens.get_signature(secret).decode("ascii")


def signing_key(folder: Path | None) -> bytes:
    """Give the key of a device, made once and kept: a page that is open outlives a restart of the daemon.

    Parameters
    ----------
    folder
        Where it is kept; None for one that is lost with the process.

    Raises
    ------
    OSError
        The folder refuses.
    """
    if folder is None:
        return os.urandom(KEY_BYTES)
    path = folder / KEY_NAME
    if not path.is_file() or path.stat().st_size != KEY_BYTES:
        make_private_folder(folder)
        write_whole(path, os.urandom(KEY_BYTES))
    return path.read_bytes()
