"""The whole way by touch on a telephone: count, lose and find, review, settle, describe, sign, take along.

Then each page of that session on four screens in three languages.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance import Device, SteadyHand, handed_over, of_fhir, of_hl7, taken
from axe import axe_source, serious_violations
from chromium import Chromium, open_chromium
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.sessions.verified_count import VerifiedTally, verified_tally
from fnrbc_device.texts import RESEARCH_USE_ONLY
from screens import CUT, TEXTS, left_in_english

PHONE = (390, 844)
SCREENS = [(1280, 800), (1024, 600), (800, 480), PHONE]
UNDER_AXE = [SCREENS[0], PHONE]  # it takes a third of a second each; colours and names are those of the others
LANGUAGES = ["en", "de", "zh"]
START = (90.0, 1230.0)
CORNER = (90.0, 1690.0)
END = (420.0, 1690.0)
ELSEWHERE = (1200.0, 60.0)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    found = open_chromium(tmp_path / "profile")
    found.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "taken"))
    found.by_touch()
    yield found
    found.close()


@pytest.fixture
def device(tmp_path: Path, embedded_broker: Any) -> Iterator[Device]:
    (tmp_path / "lis").mkdir()
    mqtt = MqttSettings(port=embedded_broker.port, site="lab", device="bench")
    found = Device(tmp_path, mqtt, laboratory=tmp_path / "lis", source=SteadyHand(*START))
    yield found
    found.end()


@pytest.mark.timeout(600)  # 40 s alone, but it waits for a daemon that counts, and for 36 pages
def test_the_whole_way_by_touch_and_its_pages_on_every_screen_in_every_language(
    browser: Chromium, device: Device, tmp_path: Path, listen: Callable[..., Any], embedded_broker: Any
) -> None:
    lab = listen(embedded_broker.port, "fnrbc/v1/lab/bench/result")
    browser.open(device.web.url, *PHONE)
    become(browser, "Änne")
    session = count_lose_and_find(browser, device)
    settled = review_and_settle(browser, device, session)
    look_at_all_and_around(browser)
    describe_and_sign(browser, session)
    verified = verified_of(device, session)
    assert verified.reviewed == verified.candidates - 1
    require_same_figures(browser, device, lab, tmp_path, session, verified)
    assert reviewed_in_excel(tmp_path, session)[settled] == ("reclassified", "other")
    assert prove(device.path).fault == ""
    assert browser.complaints() == []
    browser.by_touch(False)
    assert list(faults_of_pages(browser, device, session, tmp_path)) == []


def arrive(browser: Chromium, path: str) -> None:
    here = f"location.pathname + location.search === {json.dumps(path)}"
    browser.wait_for(f"{here} && document.readyState === 'complete'")


def type_into(browser: Chromium, selector: str, text: str) -> None:
    browser.tap(selector)
    browser.wait_for(f"document.activeElement === document.querySelector({json.dumps(selector)})")
    browser.on_page("Input.insertText", text=text)


def become(browser: Chromium, name: str) -> None:
    browser.tap("a[href='/name']")
    arrive(browser, "/name")
    browser.wait_for("document.activeElement.id === 'name'")
    browser.evaluate("document.activeElement.select()")
    browser.on_page("Input.insertText", text=name)
    browser.tap("form.card button")
    arrive(browser, "/")


def count_lose_and_find(browser: Chromium, device: Device) -> str:
    """Start without a specimen, pan, push the slide away and bring it back, end."""
    hand = device.microscope
    assert isinstance(hand, SteadyHand)
    browser.wait_for("document.querySelector('a[data-key=n]').checkVisibility()")
    browser.tap("a[data-key=n]")
    arrive(browser, "/sessions/new")
    type_into(browser, "[name=wanted_leukocytes]", "50")
    browser.tap("#start")
    arrive(browser, "/")
    browser.wait_for("document.querySelector('[data-verb=pause]').checkVisibility()")
    hand.pan_to(*CORNER)
    browser.wait_for("Number(document.getElementById('fnrbc').textContent) >= 2", 60)
    hand.push_to(*ELSEWHERE)
    browser.wait_for("document.getElementById('cue').dataset.code === 'tracking_lost'")
    assert browser.evaluate("document.getElementById('cue').checkVisibility()")
    hand.push_to(*CORNER)
    browser.wait_for("document.getElementById('cue').hidden")
    hand.pan_to(*END)
    browser.wait_for("Number(document.getElementById('fnrbc').textContent) >= 5", 60)
    browser.tap("[data-opens=ending]")
    browser.tap("#ending [data-verb=stop]")
    browser.wait_for("document.getElementById('review').checkVisibility()")
    (session,) = device.sessions()
    assert device.tally(session).islands <= 2  # where the slide lay when it was found again was known already
    assert device.tally(session).cells <= (hand.times_seen(hand.read_so_far, 0.0) > 0).sum()  # nothing is counted twice
    return session


def review_and_settle(browser: Chromium, device: Device, session: str) -> int:
    """Both readers by touch. They differ on one cell, which is settled and given back; one candidate stays open."""
    browser.tap("#review")
    arrive(browser, f"/review?session={session}")
    browser.wait_for("!document.getElementById('shown').hidden")
    candidates = int(browser.text("#all"))
    doubted = int(browser.text("#name").removeprefix("Cell "))
    for number in range(1, candidates + 1):
        browser.tap("[data-do=confirm]")
        browser.wait_for(f"document.getElementById('done').textContent === '{number}'")
    browser.wait_for(f"document.getElementById('verified').textContent === '{candidates}'")
    become(browser, "Ben")
    browser.tap("nav a[href='/review']")
    arrive(browser, "/review")
    browser.tap(".choose summary")
    browser.tap(".choose li:last-child a")
    arrive(browser, f"/review?session={session}&reader=2")
    browser.wait_for("!document.getElementById('shown').hidden")
    assert (browser.text("#name"), browser.text("#done")) == (f"Cell {doubted}", "0")
    browser.tap("[data-do=reject]")
    for number in range(2, candidates + 1):
        browser.wait_for(f"document.getElementById('done').textContent === '{number - 1}'")
        browser.tap("[data-do=confirm]")
    browser.wait_for("!document.getElementById('kappa').hidden")
    assert browser.text("#kappa").startswith(f"Two readers agree on {candidates - 1} of {candidates}: kappa ")
    become(browser, "Änne")
    browser.tap("nav a[href='/review']")
    arrive(browser, "/review")
    browser.wait_for("document.getElementById('n-differing').textContent === '(1)'")
    browser.tap("[data-tab=differing]")
    browser.wait_for("document.querySelectorAll('#differing button').length === 1")
    line = browser.text("#differing button")
    assert line == f"Cell {doubted}: Änne says fNRBC, Ben says no cell (open)"
    browser.tap("#differing button")
    browser.tap("[data-do=class][data-class=other]")
    browser.wait_for("document.getElementById('n-differing').textContent === '(0)'")
    assert browser.text("#differing button").endswith("(settled: other)")
    assert verified_of(device, session).reclassified == 1
    browser.tap("[data-tab=candidates]")
    browser.tap("#of-target li:last-child button")
    browser.tap("[data-do=undo]")
    browser.wait_for(f"document.getElementById('done').textContent === '{candidates - 1}'")
    return doubted


def look_at_all_and_around(browser: Chromium) -> None:
    """All cells by class, one of them large, with what lies round it larger and brighter."""
    browser.tap("[data-tab=all]")
    browser.wait_for("document.querySelectorAll('#all-cells .tile').length > 0")
    assert f"leukocyte ({browser.text('#machine-split').split()[2]})" in browser.text("#all-class")
    choice = "document.getElementById('all-class')"  # the list of a select is the browser's own, and out of reach here
    browser.evaluate(f"{choice}.value = 'leukocyte'; {choice}.dispatchEvent(new Event('change'))")
    browser.tap("#all-cells .tile:nth-child(2) button")
    browser.wait_for("document.querySelector('#all-cells .tile:nth-child(2) button').ariaCurrent === 'true'")
    assert browser.text("#asked") == "The machine counts it as leukocyte. Is that right?"
    browser.wait_for("document.getElementById('around-picture').naturalWidth > 0")
    before = browser.evaluate("document.getElementById('bar-line').getBoundingClientRect().width")
    browser.tap("#larger")
    browser.tap("#larger")
    assert browser.evaluate("document.getElementById('around-picture').style.transform") == "scale(2)"
    now = browser.evaluate("document.getElementById('bar-line').getBoundingClientRect().width")
    assert now == pytest.approx(2 * before, rel=0.01)
    browser.tap("#brightness", across=0.75)
    browser.wait_for("document.getElementById('around-picture').style.filter !== ''")
    assert 140 <= int(browser.evaluate("document.getElementById('brightness').value")) <= 160
    browser.tap("#alone")
    browser.wait_for("document.getElementById('around').hidden && document.getElementById('crop').checkVisibility()")


def describe_and_sign(browser: Chromium, session: str) -> None:
    """Give the specimen that nobody gave before, and sign with one candidate open, saying why."""
    browser.tap("nav a[href='/sessions']")
    arrive(browser, "/sessions")
    browser.tap("tbody th a")
    arrive(browser, f"/sessions/{session}")
    type_into(browser, "[name=specimen]", "S 17")
    browser.tap("#describe")
    browser.wait_for("document.querySelector('main')?.innerText.includes('Specimen S 17')")
    browser.tap("#signing")
    browser.tap("#reason")
    type_into(browser, "#reason", "Sichtfeld verklebt")
    browser.tap("#sign")
    browser.wait_for("document.querySelector('.note.signed')?.innerText.includes('Signed off by Änne')")


def verified_of(device: Device, session: str) -> VerifiedTally:
    with reading(device.path) as connection:
        return verified_tally(connection, session)


def require_same_figures(
    browser: Chromium, device: Device, lab: Any, folder: Path, session: str, verified: VerifiedTally
) -> None:
    """Page, report, message, tables, FHIR, HL7 and record say the same; so does the laboratory's folder."""
    counted = device.tally(session)
    pair = (verified.fnrbc, verified.leukocytes)
    assert (int(browser.text("#verified-fnrbc")), int(browser.text("#verified-leukocytes"))) == pair
    assert (int(browser.text("#machine-fnrbc")), int(browser.text("#machine-leukocytes"))) == (
        counted.fnrbc, counted.leukocytes,
    )  # fmt: skip
    lab.wait_for(lambda heard: len(heard) > 0)
    result = lab.heard[-1].fields
    assert (result["verified"], result["fnrbc"], result["leukocytes"]) == (True, *pair)
    assert (result["reason"], result["complete"]) == ("Sichtfeld verklebt", False)
    content = {}
    for form in ("html", "excel", "json", "fhir", "hl7"):
        browser.tap(f"a[href$='export.{form}']")
        name = {"excel": "-excel.csv", "fhir": ".fhir.json"}.get(form, f".{form}")
        content[form] = taken(folder / "taken", f"fnrbc-{session}{name}").decode("utf-8-sig")
        assert RESEARCH_USE_ONLY in content[form]
    for form, of in (("fhir", of_fhir), ("hl7", of_hl7)):
        found = of(content[form])
        assert (found["fnrbc"], found["leukocytes"]) == pair
        assert content[form] == handed_over(folder / "lis", {"fhir": ".fhir.json"}.get(form, ".hl7"))
    figures = json.loads(content["json"])
    assert (figures["verified"]["fnrbc"], figures["machine"]["fnrbc"]) == (verified.fnrbc, counted.fnrbc)


def reviewed_in_excel(folder: Path, session: str) -> dict[int, tuple[str, str]]:
    """What the Excel table says that people made of each cell."""
    text = (folder / "taken" / f"fnrbc-{session}-excel.csv").read_text(encoding="utf-8-sig")
    rows = csv.DictReader(io.StringIO(text))
    return {int(row["cell"]): (row["review"], row["reviewed_class"]) for row in rows}


def pages_of(session: str) -> list[str]:
    """Where the walk led, and what lies beside it."""
    of_session = [f"review?session={session}", f"review?session={session}&reader=2", f"sessions/{session}"]
    proof = [f"sessions/{session}/proof", f"learn?session={session}", "quality"]
    return ["", "sessions", "sessions?q=none-of-these", "sessions/new", "name", "sessions/none", *of_session, *proof]


def faults_of_pages(browser: Chromium, device: Device, session: str, folder: Path) -> Iterator[object]:
    """What is cut, is too wide, is in another language, complains or keeps somebody out."""
    source = axe_source()
    names = (session, "Änne", "Ben", "Sichtfeld verklebt")
    browser.noticed.clear()
    for language in LANGUAGES:
        browser.on_page("Network.setExtraHTTPHeaders", headers={"accept-language": language})
        for page in pages_of(session):
            browser.open(device.web.url + page, *SCREENS[0])
            browser.wait_for("document.readyState === 'complete'")
            if page.startswith("review"):
                browser.wait_for("!document.getElementById('shown').hidden")
            if not page:
                browser.wait_for(f"document.getElementById('session').textContent === '{session}'")
            browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            yield from ((language, page, *fault) for fault in faults(browser, source, language, names))
        report = folder / f"{language}.html"
        report.write_text(browser.evaluate(f"fetch('/sessions/{session}/export.html').then(one => one.text())"))
        browser.open(report.as_uri(), *SCREENS[0])
        yield from ((language, "report", *fault) for fault in faults(browser, source, language, names))
    for one in browser.complaints():
        if "404" not in one:  # of the session that is none
            yield one


def faults(browser: Chromium, source: str, language: str, names: tuple[str, ...]) -> Iterator[tuple[object, ...]]:
    if browser.evaluate("document.documentElement.lang") != language:
        yield ("language", browser.evaluate("document.documentElement.lang"))
    if language != "en":
        yield from (("english", one) for one in left_in_english(browser.evaluate(TEXTS), language, names))
    browser.evaluate(f"{source};0")
    for width, height in SCREENS:
        browser.resize(width, height)
        yield from ((width, "cut", one) for one in browser.evaluate(CUT))
        if browser.evaluate("document.documentElement.scrollWidth") > width:
            yield (width, "wider than the screen")
        if (width, height) in UNDER_AXE:
            yield from ((width, one) for one in serious_violations(browser))
