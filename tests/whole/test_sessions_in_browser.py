"""Sessions from their start to their file, in a real Chromium over a daemon that counts: page, record and lab agree."""

import csv
import io
import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from appliance import SOON_S, Device, handed_over, of_fhir, of_hl7, taken
from chromium import CONTRASTS, Chromium, open_chromium
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import SessionMeta, Tally
from fnrbc_device.sessions.verified_count import verified_tally
from fnrbc_device.texts import RESEARCH_USE_ONLY
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.settings import AccessSettings
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from visiting import PASSWORD, Visit, cheaply_hashed

NASTY = '"><script>document.title="owned"</script>\' & Ü'
TAB = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
ENTER = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}


@pytest.fixture
def device(tmp_path: Path, embedded_broker: Any) -> Iterator[Device]:
    (tmp_path / "lis").mkdir()
    mqtt = MqttSettings(port=embedded_broker.port, site="lab", device="bench")
    found = Device(tmp_path, mqtt, laboratory=tmp_path / "lis")
    yield found
    found.end()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    found = open_chromium(tmp_path / "profile")
    found.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "taken"))
    yield found
    found.close()


def press(browser: Chromium, key: dict[str, Any], times: int = 1) -> None:
    for _ in range(times):
        browser.on_page("Input.dispatchKeyEvent", type="keyDown", **key)
        browser.on_page("Input.dispatchKeyEvent", type="keyUp", **key)


def type_in(browser: Chromium, text: str) -> None:
    browser.on_page("Input.insertText", text=text)


def tab_to(browser: Chromium, selector: str) -> None:
    """Go there as somebody without a mouse does."""
    for _ in range(80):
        if browser.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return
        press(browser, TAB)
    raise AssertionError(f"no way to {selector} by keyboard")


def follow(browser: Chromium, selector: str, arrived: str) -> None:
    """Press Enter on something that leads to another page."""
    tab_to(browser, selector)
    press(browser, ENTER)
    browser.wait_for(f"location.pathname === {json.dumps(arrived)} && document.readyState === 'complete'")


def require_well_shown(browser: Chromium) -> None:
    """Nothing sticks out, every text stands out from its ground, and nothing complains."""
    browser.wait_for("document.readyState === 'complete'")  # with its style sheets
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The words of a drawing lie on its shapes, which have no background to be found.
    contrasts = [one for one in browser.evaluate(CONTRASTS) if isinstance(one[1], str)]
    assert [one for one in contrasts if one[0] < 4.5] == []
    assert browser.complaints() == []


def test_a_session_from_its_form_to_its_files_by_keyboard_alone(
    browser: Chromium, device: Device, tmp_path: Path, listen: Callable[..., Any], embedded_broker: Any
) -> None:
    lab = listen(embedded_broker.port)
    url = device.web.url
    browser.open(f"{url}sessions/new")
    require_well_shown(browser)
    browser.wait_for("document.activeElement.name === 'specimen'")  # the browser focuses it with its first frame
    type_in(browser, NASTY)
    tab_to(browser, "[name=wanted_leukocytes]")
    type_in(browser, "500")
    tab_to(browser, "[name=note]")
    type_in(browser, "a note of ours")
    follow(browser, "#start", "/")
    device.wait_for_candidates(3)
    browser.wait_for("document.querySelector('[data-verb=pause]').checkVisibility()")
    tab_to(browser, "[data-opens=ending]")
    press(browser, ENTER)
    tab_to(browser, "[data-verb=stop]")
    press(browser, ENTER)
    assert device.control.wait("finished", SOON_S)
    (session,) = device.sessions()
    counted = device.tally(session)

    browser.open(f"{url}sessions?q=script")
    assert browser.text("tbody td.text") == NASTY
    require_well_shown(browser)
    follow(browser, "tbody a", f"/sessions/{session}")
    assert browser.evaluate("document.title") == f"fnrbc session {session}"
    assert browser.text("#machine-fnrbc") == str(counted.fnrbc)
    assert browser.text("#machine-leukocytes") == str(counted.leukocytes)
    assert browser.text("#machine-cells") == str(counted.cells)
    assert browser.evaluate("[...document.images].every(image => image.naturalWidth === 120)")
    require_well_shown(browser)

    tab_to(browser, "#signing")
    press(browser, ENTER)
    tab_to(browser, "#reason")
    type_in(browser, "all seen under the microscope")
    tab_to(browser, "#sign")
    press(browser, ENTER)
    browser.wait_for("document.querySelector('.note.signed')?.innerText.includes('Signed off by microscope')")
    assert not browser.evaluate("Boolean(document.getElementById('sign'))")

    for form in ("html", "csv", "json"):
        tab_to(browser, f"a[href$='export.{form}']")
        press(browser, ENTER)
        content = taken(tmp_path / "taken", f"fnrbc-{session}.{form}").decode()
        assert specimen_hash(NASTY, tmp_path) in content
        assert "owned" not in content
        assert "a note of ours" not in content
        assert RESEARCH_USE_ONLY in content
    rows = list(csv.DictReader(io.StringIO(taken(tmp_path / "taken", f"fnrbc-{session}.csv").decode())))
    figures = json.loads(taken(tmp_path / "taken", f"fnrbc-{session}.json"))
    assert len(rows) == counted.cells
    assert sum(row["class"] == "fnrbc" for row in rows) == figures["machine"]["fnrbc"] == counted.fnrbc

    lab.wait_for(lambda heard: any(one.topic.endswith("log/audit") and "sign" in one.payload for one in heard))
    require_one_result(browser, device, lab, tmp_path, session)
    summary = lab.on("summary")[-1].fields
    assert (summary["fnrbc"], summary["leukocytes"]) == (counted.fnrbc, counted.leukocytes)
    assert lab.on("session")[-1].fields["specimen"] == specimen_hash(NASTY, tmp_path)
    assert {one.fields["specimen"] for one in lab.on("log/session")} == {specimen_hash(NASTY, tmp_path)}
    assert not any("owned" in one.payload or "note of ours" in one.payload for one in lab.heard)
    assert prove(device.path).fault == ""

    browser.open((tmp_path / "taken" / f"fnrbc-{session}.html").as_uri())
    assert browser.evaluate("document.scripts.length") == 0
    # Nobody decided on a candidate: what a person verified is nothing yet, and the machine's count stands beside it.
    boxes = "[...document.querySelectorAll('.counts .main strong')].map(box => box.innerText)"
    assert browser.evaluate(boxes) == ["0", str(counted.fnrbc)]


def require_one_result(browser: Chromium, device: Device, lab: Any, folder: Path, session: str) -> None:
    """The page, the message, FHIR, HL7 and the record say the same; so do the files in the laboratory's folder."""
    lab.wait_for(lambda heard: any(one.topic.endswith("bench/result") for one in heard))
    result = lab.on("result")[-1].fields
    with reading(device.path) as connection:
        verified = verified_tally(connection, session)
    assert (result["verified"], result["session"], result["reason"]) == (True, session, "all seen under the microscope")
    assert (result["fnrbc"], result["leukocytes"]) == (verified.fnrbc, verified.leukocytes)
    assert (browser.text("#verified-fnrbc"), browser.text("#verified-leukocytes")) == (
        str(verified.fnrbc), str(verified.leukocytes),
    )  # fmt: skip
    for form, name in (("fhir", f"fnrbc-{session}.fhir.json"), ("hl7", f"fnrbc-{session}.hl7")):
        tab_to(browser, f"a[href$='export.{form}']")
        press(browser, ENTER)
        content = taken(folder / "taken", name).decode()
        assert content == handed_over(folder / "lis", name.removeprefix(f"fnrbc-{session}"))
        figures = of_fhir(content) if form == "fhir" else of_hl7(content)
        assert (figures["fnrbc"], figures["leukocytes"]) == (verified.fnrbc, verified.leukocytes)
        assert RESEARCH_USE_ONLY in content


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of two short sessions, one of them with another bundle."""
    path = tmp_path_factory.mktemp("record") / "journal.sqlite"
    with Journal.open(path) as journal:
        for number, bundle in ((1, "a" * 64), (2, "b" * 64)):
            begun = datetime(2026, 3, number, 12, tzinfo=timezone.utc)
            meta = SessionMeta("fnrbc 1", bundle, "simulation", 0.125, operator="anna", specimen=NASTY * number)
            journal.begin(f"s{number}", begun, meta)
            journal.end(begun, Tally(), complete=False)
    return path


@pytest.fixture
def pages(record: Path) -> Iterator[WebServer]:
    live = LiveView()
    server = WebServer(live, context=WebContext(live, journal_path=record))
    server.start()
    yield server
    server.stop()


def test_ticked_sessions_stand_side_by_side_and_what_differs_is_told(browser: Chromium, pages: WebServer) -> None:
    browser.open(f"{pages.url}sessions")
    for session in ("s2", "s1"):
        tab_to(browser, f"[value={session}]")
        press(browser, {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32, "text": " "})
    follow(browser, "form[action$=compare] button", "/sessions/compare")
    assert browser.evaluate("[...document.querySelectorAll('thead a')].map(link => link.innerText)") == ["s2", "s1"]
    assert browser.text("tr.differs th") == "\u2260 Model bundle"


def test_a_session_to_learn_from_is_chosen_by_keyboard(browser: Chromium, pages: WebServer) -> None:
    browser.open(f"{pages.url}sessions")
    follow(browser, "nav [href='/learn']", "/learn")
    assert browser.evaluate("document.querySelector('select').value") == "s2"
    tab_to(browser, "select")
    press(browser, {"key": "ArrowDown", "code": "ArrowDown", "windowsVirtualKeyCode": 40})
    tab_to(browser, ".search button")
    press(browser, ENTER)
    browser.wait_for("location.search === '?session=s1' && document.readyState === 'complete'")
    assert browser.text("[aria-current=page]") == "Learn"
    assert "s1" in browser.text("[aria-labelledby=drift] [role=status]")


@pytest.fixture
def visit(pages: WebServer) -> Iterator[Visit]:
    with Visit(pages.url) as found:
        found.read("/sessions")
        yield found


@pytest.mark.parametrize(
    "session", ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "s9", "S1", "s1%00", "s1'--", "x" * 5000, "%ff", "<script>"]
)
def test_a_session_that_is_none_is_not_found_and_nothing_leaks(pages: WebServer, session: str) -> None:
    for path in (f"/sessions/{session}", f"/sessions/{session}/export.csv", f"/sessions/{session}/proof"):
        with socket.create_connection(("127.0.0.1", pages.port), timeout=10) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda raw=raw: raw.recv(65536), b""))  # type: ignore[misc]
        assert answer.split(b" ", 2)[1] in (b"404", b"400"), (path, answer[:200])
        assert b"journal" not in answer
        assert b"<script>" not in answer


@pytest.mark.parametrize("name", ["export.exe", "export.", "export.csv.html", "export.%2e%2e", "export.html/x"])
def test_a_format_that_is_none_is_not_found(visit: Visit, name: str) -> None:
    assert visit.get(f"/sessions/s1/{name}").status_code == 404


@pytest.mark.parametrize("bad", ["x" * 10_000, "a\x00b", "a\nb", "\x1b]0;x\x07", "\u202eevil"])
def test_a_specimen_that_cannot_be_one_is_refused_in_one_sentence_and_nothing_begins(
    visit: Visit, pages: WebServer, bad: str
) -> None:
    answer = visit.give("/sessions/new", specimen=bad, note="<b>kept</b>")
    assert answer.status_code == 400
    assert answer.text.count('role="alert"') == 1
    assert "&lt;b&gt;kept&lt;/b&gt;" in answer.text
    headers = {"x-fnrbc-token": visit.token}
    told = visit.post("/api/session/start", json={"specimen": bad}, headers=headers)
    assert told.status_code == 400
    assert told.json()["error"].endswith(".")


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"note": {}}', b"[" * 10_000, b'{"specimen": true}'])
def test_an_order_that_is_none_is_refused(visit: Visit, body: bytes) -> None:
    assert visit.post("/api/session/mark", content=body, headers={"x-fnrbc-token": visit.token}).status_code == 400


def test_an_order_that_does_not_fit_is_refused_with_the_reason_and_leaves_no_record(visit: Visit, record: Path) -> None:
    before = prove(record).links
    for verb in ("pause", "resume", "stop", "mark"):
        answer = visit.post(f"/api/session/{verb}", headers={"x-fnrbc-token": visit.token})
        assert (answer.status_code, "this one is idle" in answer.json()["error"]) == (409, True)
    assert visit.post("/api/session/explode", headers={"x-fnrbc-token": visit.token}).status_code == 404
    assert visit.get("/api/session/start").status_code == 405
    assert prove(record).links == before


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("q=" + "x" * 300, 400),
        ("from=2026-13-01", 400),
        ("to=x", 400),
        ("page=-1", 200),
        ("page=9999999", 200),
        ("page=999", 200),
        ("q=%00", 200),
        ("q=%27%22%3C", 200),
        ("from=2026-03-01&to=2026-03-02", 200),
    ],
)
def test_whatever_is_searched_for_gets_a_page(visit: Visit, query: str, status: int) -> None:
    assert visit.get(f"/sessions?{query}").status_code == status


@pytest.mark.parametrize("query", ["", "s=s1", "s=s1&s=s1", "&".join(f"s=s{n}" for n in range(7))])
def test_too_few_or_too_many_are_not_compared(visit: Visit, query: str) -> None:
    answer = visit.get(f"/sessions/compare?{query}")
    assert answer.status_code == 400
    assert "tick 2 to 6" in answer.text
    assert visit.get("/sessions/compare?s=s1&s=../x").status_code == 404


def test_each_may_do_what_the_role_allows_and_an_order_names_who_gave_it(tmp_path: Path) -> None:
    hashed = cheaply_hashed()
    with AccountFile(tmp_path / FILE_NAME).changing() as accounts:
        for name, role in (("vera", "viewer"), ("olga", "operator"), ("rita", "reviewer"), ("ada", "admin")):
            accounts[name] = Account(name, role, hashed)  # type: ignore[arg-type]
    access = Authentication(AccessSettings(tmp_path, "always"), tmp_path / "journal.sqlite")
    device = Device(tmp_path, MqttSettings(enabled=False), access)
    try:
        _try_all_roles(device)
    finally:
        device.end()


def _try_all_roles(device: Device) -> None:
    visits = {}
    for name in ("vera", "olga", "rita", "ada"):
        visits[name] = Visit(device.web.url)
        visits[name].log_in(name, PASSWORD)

    def order(name: str, verb: str, **fields: object) -> int:
        headers = {"x-fnrbc-token": visits[name].token}
        return visits[name].post(f"/api/session/{verb}", json=fields, headers=headers).status_code

    assert (device.control.state, device.sessions()) == ("idle", [])
    assert order("vera", "start") == 403
    assert visits["vera"].get("/sessions/new").status_code == 403
    assert order("olga", "start", specimen="A 17", wanted_leukocytes=20) == 200
    assert device.control.wait("running", SOON_S)
    assert order("olga", "mark", note="here") == 200
    (session,) = device.sessions()
    assert visits["rita"].give(f"/sessions/{session}/sign").status_code == 409  # it runs
    assert visits["olga"].get(f"/sessions/{session}/proof").status_code == 409
    assert order("rita", "stop") == 200
    assert device.control.wait("finished", SOON_S)
    assert visits["olga"].give(f"/sessions/{session}/sign").status_code == 403
    assert visits["rita"].post(f"/sessions/{session}/sign").status_code == 403  # without the token
    assert visits["rita"].give(f"/sessions/{session}/sign").status_code == 409  # candidates are open: why?
    assert visits["rita"].give(f"/sessions/{session}/sign", reason="seen by eye").status_code == 303
    assert visits["olga"].give(f"/sessions/{session}/withdraw", reason="no").status_code == 403
    assert visits["vera"].give(f"/sessions/{session}/describe", specimen="B").status_code == 403
    assert visits["olga"].give(f"/sessions/{session}/describe", specimen="B").status_code == 409  # it is signed off
    assert visits["vera"].get(f"/sessions/{session}/export.csv").status_code == 200
    assert visits["rita"].give(f"/sessions/{session}/export.csv").status_code == 403
    assert visits["ada"].get(f"/sessions/{session}/export.json?specimen=1").status_code == 405
    assert "A 17" not in visits["ada"].get(f"/sessions/{session}/export.json").text
    assert visits["ada"].post(f"/sessions/{session}/export.json").status_code == 403  # without the token
    assert "A 17" in visits["ada"].give(f"/sessions/{session}/export.json").text
    assert "whole" in visits["olga"].get(f"/sessions/{session}/proof").text
    for one in visits.values():
        one.close()
    with closing(sqlite3.connect(device.path)) as database:
        rows = database.execute("SELECT payload FROM outbox WHERE topic = 'log/audit' ORDER BY seq")
        orders = [(one["user"], one["verb"]) for one in (json.loads(payload) for (payload,) in rows)]
        (meta,) = database.execute("SELECT meta FROM sessions").fetchone()
    named = [one for one in orders if one[1] in ("start", "mark", "stop", "sign", "export")]
    assert named == [("olga", "start"), ("olga", "mark"), ("rita", "stop"), ("rita", "sign"), ("ada", "export")]
    assert json.loads(meta)["operator"] == "olga"
    assert prove(device.path).fault == ""
