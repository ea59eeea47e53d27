"""What is offered is what there is: no link that refuses, no role said otherwise, no difference that matters not."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from html import unescape
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from fnrbc_device.cli import app
from fnrbc_device.journal.journal import Journal
from fnrbc_device.records import SessionMeta, Tally
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.access.user import RoleName
from fnrbc_device.web.server import WebServer
from visiting import PASSWORD, Visit, cheaply_hashed, guarded_pages

BEGUN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
META = SessionMeta("0.2.0", "a" * 64, "camera 1", 0.125, threshold=0.5, config_hash="c" * 64)
SESSIONS = {
    "same": META,
    "beside": replace(META, config_hash="d" * 64, specimen="S 2", operator="ben", note="again"),
    "newer": replace(META, software="0.3.0", source="camera 2"),
    "other": replace(META, bundle="b" * 64),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions that nobody reviewed, and an account of each role."""
    folder, hashed = tmp_path_factory.mktemp("state"), cheaply_hashed()
    with Journal.open(folder / "journal.sqlite") as journal:
        for name, meta in SESSIONS.items():
            journal.begin(name, BEGUN, meta)
            journal.end(BEGUN, Tally(), complete=True)
    with AccountFile(folder / FILE_NAME).changing() as accounts:
        for role in get_args(RoleName):
            accounts[role] = Account(role, role, hashed)
    return folder


@pytest.fixture
def pages(folder: Path) -> Iterator[WebServer]:
    """Pages that want a login."""
    with guarded_pages(folder) as server:
        yield server


@pytest.fixture
def visit(pages: WebServer) -> Iterator[Any]:
    visits: list[Visit] = []

    def as_one(role: str) -> Visit:
        visits.append(Visit(pages.url))
        visits[-1].log_in(role, PASSWORD)
        return visits[-1]

    yield as_one
    for one in visits:
        one.close()


@pytest.mark.parametrize("role", get_args(RoleName))
def test_nobody_is_offered_a_way_that_is_refused_then(visit: Any, role: str) -> None:
    asked, seen = ["/"], set()
    browser = visit(role)
    while asked:
        path = asked.pop()
        answer = browser.get(path, headers={"accept": "text/html"})
        assert answer.status_code < 400, (role, path)
        seen.add(path)
        if answer.headers["content-type"].startswith("text/html") and not path.startswith("/sessions/same/export"):
            links = re.findall(r'<a [^>]*href="(/[^"#]*)', answer.text)
            asked += sorted({unescape(one) for one in links} - seen - set(asked))
    assert ("/learn" in seen, "/sessions/new" in seen) == (role in ("reviewer", "admin"), role != "viewer")
    assert "/sessions/same" in seen


def test_a_viewer_is_shown_no_form_that_changes_anything(visit: Any) -> None:
    browser = visit("viewer")
    for path in ("/", "/sessions", "/sessions/same", "/quality"):
        page = browser.get(path, headers={"accept": "text/html"}).text
        assert set(re.findall(r'method="post" action="([^"]*)"', page)) <= {"/logout", "/language"}
        assert 'data-verb="start"' not in page


@pytest.mark.parametrize(
    ("other", "said"),
    [("beside", ""), ("newer", "the counts can be compared"), ("other", "the counts cannot be compared")],
)
def test_two_sessions_cannot_be_compared_only_where_other_rules_counted(visit: Any, other: str, said: str) -> None:
    page = visit("viewer").get(f"/sessions/compare?s=same&s={other}", headers={"accept": "text/html"}).text
    notes = re.findall(r'role="status">([^<]*)<', page)
    assert bool(notes) == bool(said)
    assert all(said in note for note in notes)


def test_the_help_of_an_account_says_each_role_as_it_is() -> None:
    said = " ".join(CliRunner().invoke(app, ["user", "add", "--help"]).output.split())
    assert f"<{'|'.join(get_args(RoleName))}>" in said
    assert (
        "viewer looks; operator also counts; reviewer also decides on cells and signs off; admin also takes files with "
        "the specimen's id."
    ) in said
