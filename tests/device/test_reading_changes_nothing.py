"""To read a page changes nothing: what has an effect is posted, by one of our own pages."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from starlette.routing import Route

from fnrbc_device.journal.journal import Journal
from fnrbc_device.records import SessionMeta, Tally
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.settings import AccessSettings
from fnrbc_device.web.app import application
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from fnrbc_device.web.stream import Viewers
from visiting import Visit

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
ELSEWHERE = "http://evil.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"
    with Journal.open(path) as journal:
        meta = SessionMeta("fnrbc 1", "a" * 64, "simulation", 0.125, operator="anna", specimen="A 17")
        journal.begin("s1", NOON, meta)
        journal.end(NOON, Tally(), complete=False)
    return path


@pytest.fixture
def web(path: Path) -> Iterator[WebServer]:
    """The pages as a person at the microscope has them: without a login."""
    live = LiveView()
    server = WebServer(live, "127.0.0.1", 0, WebContext(live, journal_path=path),
                       Authentication(AccessSettings(path.parent), path))  # fmt: skip
    server.start()
    yield server
    server.stop()


@pytest.fixture
def visit(web: WebServer) -> Iterator[Visit]:
    with Visit(web.url) as visit:
        yield visit


def content(path: Path) -> str:
    """All that the journal holds."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        for (table,) in tables:
            for row in sorted(database.execute(f"SELECT * FROM {table}").fetchall(), key=repr):
                digest.update(repr(row).encode())
    return digest.hexdigest()


def readable(path: Path) -> list[str]:
    """Every path that answers a GET, with what stands for its parts."""
    live = LiveView()
    context = WebContext(live, journal_path=path)
    pages = application(context, Viewers(live, lambda: None), Authentication(journal_path=path))
    parts = {"session": "s1", "form": "json", "cell:int": "1", "view:int": "0", "verb": "stop", "path:path": "x.css"}
    paths = []
    for route in pages._app.routes:
        if isinstance(route, Route) and "GET" in (route.methods or ()) and route.path != "/events":
            found = route.path
            for name, value in parts.items():
                found = found.replace("{" + name + "}", value)
            paths.append(found)
    return paths


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_every_page_changes_nothing_on_record(visit: Visit, path: Path, method: str) -> None:
    paths = readable(path)
    assert len(paths) > 10
    before = content(path)
    for one in paths:
        for query in ("", "?specimen=1", "?session=s1&decision=confirmed", "?s=s1&s=s1"):
            visit.request(method, one + query, headers={"origin": ELSEWHERE, "sec-fetch-site": "cross-site"})
    assert content(path) == before


def test_a_file_with_ids_is_taken_by_our_own_page_only_and_put_on_record(visit: Visit, path: Path) -> None:
    export, before = "/sessions/s1/export.json", content(path)
    visit.read("/sessions/s1")
    token = {"token": visit.token}
    refused = [
        visit.get(f"{export}?specimen=1"),
        visit.post(export),
        visit.post(export, data=token, headers={"origin": ELSEWHERE}),
        visit.post(export, data=token, headers={"sec-fetch-site": "cross-site"}),
        visit.post(export, data={"token": "x" * len(visit.token)}),
    ]
    assert [answer.status_code for answer in refused] == [405, 403, 403, 403, 403]
    assert not any("A 17" in answer.text for answer in refused)
    assert content(path) == before

    assert "A 17" in visit.give(export).text

    with closing(sqlite3.connect(path)) as database:
        (said,) = database.execute("SELECT payload FROM outbox WHERE topic = 'log/audit'").fetchall()
    assert "json of s1 with the specimen" in said[0]
