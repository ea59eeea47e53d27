"""What a browser keeps beside a login: a signed cookie that tells browsers apart, and the name of who sits there."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fnrbc_device.host.atomic_file import write_whole

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
        self._key = key
        self._now_s = now_s

    def new(self) -> BrowserCookie:
        """Make a browser known."""
        return BrowserCookie(secrets.token_urlsafe(16))

    def named(self, browser: BrowserCookie, name: str) -> BrowserCookie:
        """Write down who sits before it."""
        return replace(browser, name=name, named_s=self._now_s())

    def write(self, browser: BrowserCookie) -> str:
        """Content of the cookie."""
        name = base64.urlsafe_b64encode(browser.name.encode("utf-8", "replace")).decode("ascii")
        said = f"{browser.id}.{int(browser.named_s)}.{name}"
        return f"{said}.{self._sign('browser', said)}"

    def read(self, cookie: str) -> BrowserCookie | None:
        """Give the browser of a cookie; None where we did not sign it. A name that is too old is left out."""
        said, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign("browser", said).encode()):
            return None
        identity, named_s, name = said.split(".")
        if self._now_s() - int(named_s) >= NAME_S:
            return BrowserCookie(identity)
        return BrowserCookie(identity, base64.urlsafe_b64decode(name).decode("utf-8"), float(named_s))

    def token(self, secret: str) -> str:
        """Make the token of a browser's id or a session's secret: whoever cannot read our pages cannot know it."""
        return self._sign("token", secret)

    def _sign(self, purpose: str, text: str) -> str:
        digest = hmac.digest(self._key, f"{purpose}:{text}".encode("utf-8", "replace"), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


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
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, os.urandom(KEY_BYTES), mode=0o600)
    return path.read_bytes()
