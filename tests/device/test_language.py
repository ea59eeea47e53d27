"""Each reader is spoken to in the language that was chosen, else configured, else asked for; files stay as they are."""

import csv
import io
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from babel.numbers import parse_decimal

from fnrbc_device.config import WebSettings
from fnrbc_device.errors import CommandError
from fnrbc_device.health import REASONS
from fnrbc_device.journal.journal import Journal
from fnrbc_device.language import (
    ENGLISH,
    _,
    decimal,
    english,
    languages,
    local,
    ngettext,
    number,
    preferred,
    resay,
    script_words,
    speaking,
    spoken,
)
from fnrbc_device.records import SessionMeta
from fnrbc_device.reporting.spreadsheet import BOM, for_spreadsheet
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from screens import left_in_english
from visiting import Visit

OTHERS = ("de", "zh")


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    server = WebServer(LiveView())
    server.start()
    with httpx.Client(base_url=server.url) as client:
        yield client
    server.stop()


@pytest.fixture
def journal(tmp_path: Path, make_step: Any) -> Path:
    """A session that has ended, with a candidate that nobody decided on."""
    path, begun = tmp_path / "journal.sqlite", datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    with Journal.open(path) as writing:
        writing.begin("s1", begun, SessionMeta("0.1.0", "b", "simulation", 0.125))
        writing.record(make_step(0, [3, 4, 5]))
        writing.end(begun, writing.tally("s1"), complete=True)
    return path


def language_of(page: httpx.Response) -> str:
    found = re.search(r'<html lang="([a-zA-Z-]+)">', page.text)
    assert found is not None
    return found[1]


def choose(client: httpx.Client, language: str, onward: str = "/sessions") -> httpx.Response:
    found = re.search(r'name="token" content="([^"]+)"', client.get("/", headers={"accept": "text/html"}).text)
    assert found is not None
    return client.post("/language", data={"token": found[1], "language": language, "next": onward})


def test_english_german_and_chinese_are_there_under_their_own_names():
    assert dict(languages()) == {ENGLISH: "English", "de": "Deutsch", "zh": "中文"}


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("de-CH, de;q=0.9, en;q=0.8", "de"),
        ("en;q=0.5, zh-CN;q=0.9", "zh"),
        ("fr, en;q=0.3, de;q=0.2", "en"),
        ("de;q=0, zh;q=0.1", "zh"),
        ("fr-FR, it", None),
        ("", None),
        (";;q=,=,,de;q=x", None),
        ("x" * 100_000 + ",de", None),
    ],
)
def test_a_browser_gets_what_it_prefers_of_what_there_is(header: str, wanted: str | None):
    assert preferred(header) == wanted


def test_a_page_speaks_as_its_browser_asks_and_a_choice_stays(client: httpx.Client):
    assert language_of(client.get("/", headers={"accept-language": "de"})) == "de"
    assert language_of(client.get("/")) == ENGLISH

    answer = choose(client, "zh")

    assert (answer.status_code, answer.headers["location"]) == (303, "/sessions")
    assert "Max-Age=31536000" in answer.headers["set-cookie"]
    assert language_of(client.get("/", headers={"accept-language": "de"})) == "zh"
    assert "仅供研究使用" in client.get("/").text


def test_a_choice_leads_nowhere_else_and_knows_its_languages(client: httpx.Client):
    assert choose(client, "de", "//elsewhere.example").headers["location"] == "/"
    assert choose(client, "xx").status_code == 400
    assert choose(client, "../../etc/passwd").status_code == 400


def test_a_configured_language_goes_before_the_browsers():
    live = LiveView()
    server = WebServer(live, context=WebContext(live, language="de"))
    server.start()
    try:
        page = httpx.get(server.url, headers={"accept-language": "zh"})
        assert language_of(page) == "de"
    finally:
        server.stop()


def test_a_language_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="choose one of browser, en, de, zh"):
        WebSettings(language="fr")


def test_scripts_get_their_words_with_the_page(client: httpx.Client):
    page = client.get("/", headers={"accept-language": "de"}).text
    assert script_words("de")["Not connected"] == "Nicht verbunden"
    assert '"Not connected": "Nicht verbunden"' in page
    assert script_words(ENGLISH) == {}


def test_a_number_has_the_form_that_its_language_has_for_it():
    def said(count: int) -> str:
        return ngettext("%(count)s cell", "%(count)s cells", count)

    assert (said(1), said(2), said(12_345)) == ("1 cell", "2 cells", "12\N{NARROW NO-BREAK SPACE}345 cells")
    with speaking("de"):
        assert (said(1), said(0)) == ("1 Zelle", "0 Zellen")
        assert (decimal(2.25, 2), number(1_000_000)) == ("2,25", "1\u202f000\u202f000")
    with speaking("zh"):
        assert (said(1), said(2)) == ("1 个细胞", "2 个细胞")
        assert decimal(2.25, 2) == "2.25"


def test_words_of_tables_are_said_in_the_language_in_which_they_are_read():
    english = {code: reason.cure for code, reason in REASONS.items()}
    for language in OTHERS:
        with speaking(language):
            assert not {code for code, reason in REASONS.items() if reason.cure == english[code]}


def test_a_thread_speaks_english_whatever_another_speaks():
    heard: list[str] = []
    with speaking("de"):
        thread = threading.Thread(target=lambda: heard.append(spoken()))
        thread.start()
        thread.join()
    assert heard == [ENGLISH]
    assert spoken() == ENGLISH


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("language", "winter", "summer"),
    [
        ("en", "2026-01-15 00:30 UTC+1", "2026-07-15 01:30:05 UTC+2"),
        ("de", "15.01.2026 00:30 UTC+1", "15.07.2026 01:30:05 UTC+2"),
    ],
)
def test_a_time_is_local_and_says_how_far_from_utc(language: str, winter: str, summer: str):
    with speaking(language):
        assert local("2026-01-14T23:30:00.000Z") == winter
        assert local(datetime(2026, 7, 14, 23, 30, 5, tzinfo=timezone.utc), seconds=True) == summer
        assert local("no time at all") == "no time at all"


@pytest.mark.parametrize("language", [ENGLISH, *OTHERS])
def test_a_table_for_excel_is_read_back_as_its_language_reads_it(language: str):
    rows = [
        {"cell": 1, "name": "Zelle; rot, groß", "p": 0.9875, "x_um": -12.5},
        {"cell": 2, "name": '=HYPERLINK("x")', "p": 1e-05, "x_um": 1234.0},
        {"cell": 3, "name": "中文\n-1+2", "p": None, "x_um": 0.1},
    ]
    with speaking(language):
        content = for_spreadsheet(("cell", "name", "p", "x_um"), rows).decode()

    assert content.startswith(BOM)
    sign = ";" if language == "de" else ","
    found = list(csv.DictReader(io.StringIO(content.removeprefix(BOM), newline=""), delimiter=sign))
    assert [one["cell"] for one in found] == ["1", "2", "3"]
    assert [one["name"] for one in found] == ["Zelle; rot, groß", "'=HYPERLINK(\"x\")", "中文\n-1+2"]
    assert [float(parse_decimal(one["x_um"], locale=language)) for one in found] == [-12.5, 1234.0, 0.1]
    assert found[0]["p"] == ("0,9875" if language == "de" else "0.9875")
    assert found[2]["p"] == ""


def test_what_a_file_lacks_or_breaks_is_said_in_english():
    with speaking("de"):
        assert _("A sentence that no catalogue has, with %(what)s.", what="words") == (
            "A sentence that no catalogue has, with words."
        )
        assert _("") == ""


def refusals(visit: Visit) -> Iterator[str]:
    """What people are told who order what cannot be."""
    headers = {"x-fnrbc-token": visit.token}
    orders = [("pause", {}), ("start", {"wanted_leukocytes": "x"}), ("start", {"objective": "9x"}), ("mark", {"a": []})]
    for verb, fields in [*orders, ("start", {"specimen": "a\x07"}), ("start", {"note": "x" * 999}), ("none", {})]:
        answer = visit.post(f"/api/session/{verb}", json=fields, headers=headers)
        assert answer.status_code in (400, 404, 409)
        yield answer.json()["error"] if answer.headers["content-type"] == "application/json" else answer.text
    for reader in (1, 2):
        told = {"session": "s1", "cell": 4, "decision": "confirmed", "request": f"r{reader}", "reader": reader}
        answer = visit.post("/review/decisions", json=told, headers=headers)
    yield answer.text  # who read first cannot be the second
    for path in ("/sessions/s1/withdraw", "/sessions/none/sign", "/sessions/s1/sign"):
        answer = visit.give(path)
        assert answer.status_code in (404, 409)
        yield re.findall(r'role="alert">([^<]*)<', answer.text)[0]
    for path in ("/sessions/s1/export.exe", "/sessions/s1/export.hl7", "/review/crop/s1/4/9.png"):
        yield visit.get(path).text


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_refused_is_told_in_the_readers_language(journal: Path, language: str):
    live = LiveView()
    server = WebServer(live, context=WebContext(live, journal_path=journal))
    server.start()
    try:
        with Visit(server.url, headers={"accept-language": language}) as visit:
            visit.read("/name")
            visit.give("/name", name="Änne")
            visit.read("/sessions")
            told = list(refusals(visit))
    finally:
        server.stop()
    assert len(told) == len(set(told)) == 14
    assert list(left_in_english(told, language)) == []


def test_a_sentence_said_in_english_is_said_again_with_all_that_it_holds():
    said = english("the %(name)s has %(count)s characters, the limit is %(limit)s; shorten it",
                   name=english("note"), count=9, limit=5)  # fmt: skip

    assert said == "the note has 9 characters, the limit is 5; shorten it"
    with speaking("de"):
        assert resay(said) == resay(CommandError("malformed", said)) == (
            "Notiz: 9 Zeichen, erlaubt sind 5; bitte kürzen"
        )  # fmt: skip
        assert resay("what no catalogue has") == "what no catalogue has"
