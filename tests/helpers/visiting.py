"""A visitor of the pages: keeps cookies as a browser does, and hands back the token of the page it read last."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fnrbc_device.web.access import passwords
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.settings import AccessSettings
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView

PASSWORD = "correct horse battery"

TOKEN = re.compile(r'name="token" (?:content|value)="([^"]*)"')


def cheaply_hashed(password: str = PASSWORD) -> str:
    """A hash that costs next to nothing to try, as its own text says: most tests log in for something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "COST", (4, 8, 1))
        return passwords.hash_password(password)


@contextmanager
def guarded_pages(folder: Path) -> Iterator[WebServer]:
    """Pages of a state folder that want a login."""
    live, journal = LiveView(), folder / "journal.sqlite"
    access = Authentication(AccessSettings(folder, "always"), journal)
    server = WebServer(live, context=WebContext(live, journal_path=journal), access=access)
    server.start()
    yield server
    server.stop()


class Visit(httpx.Client):
    """A browser without a screen.

    Parameters
    ----------
    url
        Of the pages.
    ca
        Certificate of the authority to believe; None for plain text.
    """

    def __init__(self, url: str, ca: Path | None = None, **more: Any) -> None:
        trust = ssl.create_default_context(cafile=str(ca)) if ca else False
        super().__init__(base_url=url, verify=trust, timeout=10, **more)
        self.token = ""

    def read(self, path: str) -> httpx.Response:
        """Read a page as a browser asks for it, and take its token."""
        answer = self.get(path, headers={"accept": "text/html"})
        self.token = (TOKEN.findall(answer.text) or [self.token])[0]
        return answer

    def give(self, path: str, **fields: str) -> httpx.Response:
        """Send a form with the token."""
        return self.post(path, data={"token": self.token, **fields})

    def log_in(self, name: str, password: str) -> httpx.Response:
        """Log in, and read the first page."""
        self.read("/login")
        answer = self.give("/login", name=name, password=password)
        if answer.status_code == 303:
            self.read("/")
        return answer
