"""Every page under axe-core, at a desk and on a telephone: no violation that is serious."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from axe import axe_source, serious_violations
from chromium import Chromium, open_chromium
from fnrbc_device.counting.cell import View
from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.health import Health
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.journal.read_only import open_to_read
from fnrbc_device.records import (
    INDETERMINATE,
    CountEvent,
    Frame,
    Interval,
    Mark,
    Pose,
    SessionMeta,
    Step,
    Tally,
    Verdict,
)
from fnrbc_device.reporting.session_export import export
from fnrbc_device.session_state import SessionControl
from fnrbc_device.sessions.archive import read
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import BrokerLine, LiveView, Snapshot
from screens import CUT
from visiting import cheaply_hashed, guarded_pages

UM = 0.125
Look = Callable[[Chromium], list[tuple[int, object]]]
SIZES = [(1280, 800), (390, 844)]
VERDICTS = (
    Verdict("fnrbc", "target", 0.9, 0.9),
    Verdict(INDETERMINATE, "ignored", 0.5, 0.5),
    Verdict("leukocyte", "denominator", 0.7, 0.3),
    Verdict("leukocyte", "denominator", 0.99, 0.01),
)


def glass() -> np.ndarray:
    return np.full((960, 1280, 3), (246, 233, 220), np.uint8)


def counted_step() -> Step:
    """Candidates, cells left open, near misses and leukocytes in turn."""
    events = [
        CountEvent("counted", cell, VERDICTS[cell % 4], 0, 80.0 * cell, 90.0 * cell, UM * 90 * cell, UM * 80 * cell,
                   10.4, 0.41, 3, 0, "evidence complete")
        for cell in range(1, 17)
    ]  # fmt: skip
    return Step(Frame(0, 0.0, glass()), Pose(0, 0.0, 0.0), None, [], events, Tally(), 0.0, 1.0, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished session, some of it reviewed, one that runs, and the report of the first."""
    folder = tmp_path_factory.mktemp("state")
    step, path = counted_step(), folder / "journal.sqlite"
    views = {one.cell: [View(1.0 - n / 9, n, glass()[:120, :120] - 40 * n) for n in range(3)] for one in step.events}
    with Journal.open(path, "bench") as journal:
        for number in (1, 2):
            begun = datetime(2026, 3, number, 12, tzinfo=timezone.utc)
            meta = SessionMeta("fnrbc 1", "b" * 64, "simulation", UM, operator="anna", specimen="S 17", note="a note")
            journal.begin(f"s{number}", begun, replace(meta, wanted_leukocytes=500))
            journal.record(step, Kept(views))
            if number == 1:
                journal.end(begun, journal.tally("s1"), complete=True)
    with Decisions(path, "bench", SystemClock()) as handler:
        for cell, decision in ((4, "confirmed"), (8, "rejected"), (5, "confirmed")):
            handler.decide("s1", cell, decision, "anna")  # type: ignore[arg-type]
    with closing(open_to_read(path)) as connection:
        entry = read(connection, "s1")
        assert entry is not None
        (folder / "report.html").write_bytes(export("html", connection, path, entry))
    with AccountFile(folder / FILE_NAME).changing() as accounts:
        accounts["ada"] = Account("ada", "admin", cheaply_hashed())
    return folder


@pytest.fixture
def live() -> LiveView:
    return LiveView(lambda: 0.0)  # no picture grows old, however slow the machine is


@pytest.fixture
def web(folder: Path, live: LiveView) -> Iterator[WebServer]:
    context = WebContext(live, SessionControl(), folder / "journal.sqlite", "lab", "bench", UM, {"40x": UM})
    server = WebServer(live, context=context)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def guarded(folder: Path) -> Iterator[WebServer]:
    """Pages that want a login."""
    with guarded_pages(folder) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    found = open_chromium(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def look() -> Look:
    """Serious violations of the page that a browser shows, at a desk and on a telephone."""
    source = axe_source()

    def look_at_both(browser: Chromium) -> list[tuple[int, object]]:
        browser.wait_for("document.readyState === 'complete'")  # with its styles: contrast is looked at
        browser.evaluate(f"{source};0")
        found: list[tuple[int, object]] = []
        for width, height in SIZES:
            browser.resize(width, height)
            found += [(width, one) for one in serious_violations(browser)]
        return found

    return look_at_both


def show(live: LiveView, state: str, health: str) -> None:
    tally = Tally(
        cells=1310, fnrbc=42, leukocytes=1003, other=258, indeterminate=7, leukocytes_to_go=1289, islands=2,
        fnrbc_per_100_leukocytes=Interval(4.187, 3.01, 5.68), frames=2000, frames_used=1900,
        frames_rejected={"blurred": 30, "too_fast": 70}, unique_area_mm2=0.4567, cells_open=5,
    )  # fmt: skip
    seen = SlideMap(UM, (960, 1280))
    seen.paint(Pose(0, 0.0, 0.0), glass())
    marks = [Mark(7, "fnrbc", "target", 480, 640, 45.0, 0.98)]
    reasons = ("pan_too_fast",) if health in ("degraded", "fault") else ()
    said = Health(health, reasons, 29.7, 40, 1, None, None)  # type: ignore[arg-type]
    step = Step(Frame(1, 0.0, glass()), Pose(0, 0.0, 0.0), None, marks, [], tally, 120.0, 0.9, {})
    live.show(Snapshot(step, "s2", state, said, UM, "b" * 64, True, seen, BrokerLine(True, 0)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "health", "mode", "key"),
    [
        ("running", "counting", "counting", ""),
        ("running", "degraded", "trouble", "b"),
        ("running", "fault", "fault", "e"),
        ("idle", "ready", "idle", ""),
        ("finished", "ready", "finished", ""),
    ],
)
def test_the_live_page_has_no_serious_violation(
    browser: Chromium, web: WebServer, live: LiveView, look: Look, state: str, health: str, mode: str, key: str
) -> None:
    show(live, state, health)
    browser.open(web.url)
    browser.wait_for(f"document.body.dataset.mode === '{mode}'")
    if key:
        browser.press(key)
        browser.wait_for("!document.getElementById('big').hidden || document.getElementById('ending').open")
    assert look(browser) == []


@pytest.mark.parametrize("query", ["?session=s1", "?session=s2&reader=2"])
def test_the_review_has_no_serious_violation(
    browser: Chromium, web: WebServer, look: Look, query: str
) -> None:
    browser.open(f"{web.url}review{query}")
    browser.wait_for("!document.getElementById('shown').hidden")
    browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    browser.wait_for("document.querySelectorAll('#of-near button').length === 4")
    assert look(browser) == []


RECORD = [f"sessions{rest}" for rest in ("", "/new", "/s1", "/compare?s=s1&s=s2", "/s1/proof", "/none")]


@pytest.mark.parametrize("page", ["sessions/compare?s=s1&s=s2", "nothing"])  # test_whole_way.py looks at the others
def test_a_page_of_the_record_has_no_serious_violation(
    browser: Chromium, web: WebServer, look: Look, page: str
) -> None:
    browser.open(web.url + page)
    browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert look(browser) == []


def test_the_login_and_the_report_have_no_serious_violation(
    browser: Chromium, guarded: WebServer, folder: Path, look: Look
) -> None:
    browser.open(f"{guarded.url}login")
    assert look(browser) == []
    browser.open((folder / "report.html").as_uri())
    assert look(browser) == []


def test_a_page_that_some_cannot_use_is_noticed(browser: Chromium, web: WebServer, look: Look) -> None:
    browser.open(f"{web.url}sessions/new")
    browser.evaluate("document.querySelectorAll('label').forEach(one => one.replaceWith(...one.childNodes))")
    assert {width for width, _ in look(browser)} == {width for width, _ in SIZES}


COMPARED = "sessions/compare?s=s1&s=s2"
PAGES = ["", COMPARED]  # counting, and two sessions; test_whole_way.py looks at the others


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_no_word_is_cut_on_a_small_screen_in_any_language(
    browser: Chromium, web: WebServer, live: LiveView, language: str
) -> None:
    show(live, "running", "degraded")
    browser.on_page("Network.setExtraHTTPHeaders", headers={"accept-language": language})
    browser.open("about:blank", 390, 844)
    browser.complaints()
    browser.noticed.clear()  # of the servers of earlier tests, which are gone
    try:
        cut: list[tuple[str, int, object]] = []
        for page in PAGES:
            browser.open(web.url + page, 390, 844)
            browser.wait_for(f"document.documentElement.lang === '{language}'")
            browser.wait_for("document.readyState === 'complete'")
            if not page:
                browser.wait_for("document.getElementById('session').textContent === 's2'")
            browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            for width, height in ((390, 844), (800, 480)):
                browser.resize(width, height)
                cut += [(page, width, one) for one in browser.evaluate(CUT)]
        assert cut == []
        assert browser.complaints() == []
    finally:
        browser.on_page("Network.setExtraHTTPHeaders", headers={})


SMALL = """[...document.querySelectorAll('a, button, summary, input, select, [tabindex="0"]')]
    .filter(one => one.checkVisibility() && one.type !== 'hidden')
    .filter(one => !(one.matches('a') && one.closest('p:not(.who), td, dd, li:not(.choose li)')))
    .map(one => [one, (one.closest('label') ?? one).getBoundingClientRect()])
    .filter(([, box]) => box.width && Math.min(box.width, box.height) < 43.5)
    .map(([one, box]) => `${one.id || one.textContent.trim().slice(0, 20)} ${box.width}x${box.height}`)"""
"""What is smaller than a finger. Links within a sentence are as high as its lines."""

BY_TOUCH = [(1024, 600), (800, 480), (390, 844)]


@pytest.mark.parametrize("page", ["", "review?session=s1", *RECORD, "learn", "quality", "name", "login"])
def test_what_is_to_be_touched_is_as_large_as_a_finger_and_nothing_is_cut(
    browser: Chromium, web: WebServer, guarded: WebServer, live: LiveView, page: str
) -> None:
    show(live, "running", "counting")
    address = guarded.url if page == "login" else web.url
    browser.on_page("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.open(address + page)
        browser.wait_for("document.readyState === 'complete'")
        for width, height in BY_TOUCH:
            browser.resize(width, height)
            assert browser.evaluate(SMALL) == [], (width, height)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, (width, height)
    finally:
        browser.on_page("Emulation.setTouchEmulationEnabled", enabled=False)
