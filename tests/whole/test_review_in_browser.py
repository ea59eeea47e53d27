"""Candidates reviewed in a real Chromium: page, record and lab agree, two people at once, and nothing gets lost."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from chromium import CONTRASTS, Chromium, open_chromium
from fnrbc_device.counting.cell import View
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.queries import Kept
from fnrbc_device.journal.read_only import reading
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import INDETERMINATE, CountEvent, Frame, Pose, SessionMeta, Step, Tally, Verdict
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.reviews import reviews
from fnrbc_device.sessions.verified_count import VerifiedTally, verified_tally
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView

CANDIDATES = 24
THRESHOLD = 0.32
UM = 0.1


def painted(cell: int) -> np.ndarray:
    image = np.full((120, 120, 3), (240, 235, 228), np.uint8)
    cv2.circle(image, (60, 60), 20 + cell % 12, (90, 40, 150), -1)
    return image


def views(cell: int) -> list[View]:
    """One, two or three of them, each a little smaller than the one before."""
    return [View(1.0 - n / 9, n, painted(cell)[4 * n :, 4 * n :].repeat(1, 0)) for n in range(1 + cell % 3)]


def step(cells: range) -> Step:
    """Every fourth an fNRBC left open, every other of the rest counted, and leukocytes between."""
    events = []
    for cell in cells:
        p = min(THRESHOLD + 0.6 * cell / (4 * CANDIDATES), 0.99) if cell % 2 else 0.01
        name = INDETERMINATE if cell % 8 == 1 else "fnrbc" if cell % 2 else "leukocyte"
        role = "target" if name == "fnrbc" else "denominator" if name == "leukocyte" else "ignored"
        where = (0, 80.0 * (cell // 8), 90.0 * (cell % 8), UM * 90 * (cell % 8), UM * 80 * (cell // 8))
        verdict = Verdict(name, role, p, p)  # type: ignore[arg-type]
        events.append(CountEvent("counted", cell, verdict, *where, 10.4, 0.41, 3, 0, "evidence complete"))
    frame = Frame(cells.start, 0.0, np.zeros((4, 4, 3), np.uint8))
    return Step(frame, Pose(0, 0.0, 0.0), None, [], events, Tally(), 0.0, 1.0, {})


def count(journal: Journal, cells: range) -> None:
    journal.record(step(cells), Kept({cell: views(cell) for cell in cells if cell % 2}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A session that runs, with half as many candidates as cells."""
    with Journal.open(path, "bench") as journal:
        meta = SessionMeta("0.1.0", "b", "simulation", UM, threshold=THRESHOLD)
        journal.begin("s1", datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc), meta)
        count(journal, range(1, 2 * CANDIDATES + 1))
        yield journal


@pytest.fixture
def serve(path: Path, journal: Journal) -> Iterator[Callable[..., WebServer]]:
    with ExitStack() as stack:

        def start(port: int = 0) -> WebServer:
            live = LiveView()
            server = WebServer(live, port=port, context=WebContext(live, journal_path=path, device="bench"))
            server.start()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Chromium]]:
    """Two browsers, each with a profile of its own."""
    with ExitStack() as stack:
        found = [open_chromium(tmp_path_factory.mktemp("profile")) for _ in range(2)]
        for one in found:
            stack.callback(one.close)
        yield found


@pytest.fixture
def browse(people: list[Chromium]) -> Iterator[Callable[[], Chromium]]:
    handed_out = iter(people)
    for one in people:
        one.noticed.clear()
    yield lambda: next(handed_out)
    for one in people:
        one.open("about:blank")


def review(browser: Chromium, web: WebServer, query: str = "", width: int = 1280, height: int = 800) -> Chromium:
    browser.open(f"{web.url}review{query}", width, height)
    browser.wait_for("!document.getElementById('shown').hidden && document.images[0].complete")
    return browser


def verified(path: Path) -> VerifiedTally:
    with reading(path) as connection:
        return verified_tally(connection, "s1")


def shown(browser: Chromium) -> int:
    return int(browser.text("#name").removeprefix("Cell "))


def test_twenty_candidates_by_keyboard_and_page_record_and_lab_agree(
    serve: Any, browse: Any, path: Path, journal: Journal, mosquitto: Any, listen: Any
) -> None:
    heard = listen(mosquitto.port, "fnrbc/v1/lab/bench/log/cell")
    publisher = Publisher(path, MqttSettings(port=mosquitto.port, site="lab", device="bench"))
    publisher.start()
    machine = journal.tally("s1")
    browser = review(browse(), serve())
    keys = ["f", "Enter", "r", "1", "2"] * 4
    called = {"f": 1, "Enter": 1}
    fnrbc, seen = 0, []
    for key in keys:
        seen.append(shown(browser))
        browser.press(key)
        fnrbc += called.get(key, 0)
        browser.wait_for(f"document.getElementById('verified').textContent === '{fnrbc}'")
        browser.wait_for(f"document.getElementById('done').textContent === '{len(seen)}'")
    browser.press("u")
    counts = "8 confirmed, 4 rejected, 7 of another class"
    browser.wait_for(f"document.getElementById('split').textContent === '{counts}'")
    browser.wait_for("document.getElementById('done').textContent === '19'")
    assert shown(browser) == seen[-1]

    assert len(set(seen)) == 20
    heard.wait_for(lambda all_heard: len(all_heard) == 2 * CANDIDATES + 21)
    publisher.stop(10)
    newest = {one.fields["cell_id"]: one.fields for one in heard.heard if one.fields["reader"] == 1}
    stands = [one["class"] for one in newest.values() if one["review"] in ("confirmed", "reclassified")]
    found = verified(path)
    assert (found.reviewed, found.fnrbc, found.rejected, found.reclassified) == (19, 8, 4, 7)
    assert (stands.count("fnrbc"), stands.count("leukocyte"), stands.count("other")) == (8, 4, 3)
    assert int(browser.text("#machine")) == machine.fnrbc == journal.tally("s1").fnrbc
    assert prove(path).fault == ""
    assert browser.complaints() == []


def test_candidates_come_nearest_to_the_threshold_first_and_the_indeterminate_apart(
    serve: Any, browse: Any, journal: Journal
) -> None:
    browser = review(browse(), serve())
    listed = browser.evaluate("""['indeterminate', 'target'].map(of =>
        [...document.querySelectorAll(`#of-${of} button`)].map(node => Number(node.ariaLabel.match(/\\d+/)[0])))""")
    odd = range(1, 2 * CANDIDATES, 2)  # the probability grows with the number, from the threshold on
    assert listed == [[cell for cell in odd if cell % 8 == 1], [cell for cell in odd if cell % 8 != 1]]


def test_near_misses_wait_behind_a_closed_group_and_nobody_must_decide_on_them(
    serve: Any, browse: Any, path: Path, journal: Journal
) -> None:
    nearly = step(range(2002, 2007, 2))
    verdict = Verdict("leukocyte", "denominator", 0.8, 0.2)
    events = [replace(event, verdict=verdict) for event in nearly.events]
    journal.record(replace(nearly, events=events), Kept({event.cell: views(event.cell) for event in events}))
    browser = review(browse(), serve())
    near = "[...document.querySelectorAll('#of-near button')]"
    assert browser.evaluate(f"{near}.length") == 3
    assert not browser.evaluate(f"{near}.some(node => node.checkVisibility())")
    for _ in range(CANDIDATES):
        browser.press("f")
    browser.wait_for(f"document.getElementById('verified').textContent === '{CANDIDATES}'")
    assert "all of them" in browser.text("#complete")
    assert shown(browser) < 2000

    browser.evaluate("document.querySelector('#near summary').focus()")
    browser.press(" ")
    browser.wait_for(f"{near}.every(node => node.checkVisibility())")
    browser.press("n")
    assert shown(browser) == 2002
    assert "leukocyte, but only just" in browser.text("#asked")
    browser.press("f")
    browser.wait_for(f"document.getElementById('verified').textContent === '{CANDIDATES + 1}'")
    assert shown(browser) == 2004
    assert browser.text("#all") == str(CANDIDATES)
    assert (verified(path).complete, verified(path).fnrbc) == (True, CANDIDATES + 1)
    assert int(browser.text("#machine")) == journal.tally("s1").fnrbc


def test_the_best_view_is_large_and_the_others_stand_beside_it(serve: Any, browse: Any, journal: Journal) -> None:
    browser = review(browse(), serve())
    for _ in range(3):
        cell = shown(browser)
        views_said = [f"View {n} of {1 + cell % 3}" for n in range(2, 2 + cell % 3)]
        beside = "[...document.querySelectorAll('#others img')]"
        browser.wait_for(f"{beside}.every(one => one.complete && one.naturalWidth)")
        assert browser.evaluate(f"{beside}.map(one => one.closest('button').ariaLabel)") == views_said
        browser.press("ArrowRight")
    assert browser.complaints() == []


def test_two_people_see_each_others_decisions_and_the_earlier_hears_of_the_later(
    serve: Any, browse: Any, path: Path, journal: Journal
) -> None:
    web = serve()
    anna, ben = review(browse(), web), review(browse(), web)
    cell = shown(anna)
    assert shown(ben) == cell
    anna.press("f")
    ben.wait_for(f"document.querySelector('[aria-label^=\"Cell {cell},\"]').dataset.decision === 'confirmed'")
    ben.press("ArrowLeft")
    ben.press("r")
    anna.wait_for("document.querySelector('#notices .notice') !== null")

    assert f"Cell {cell}: microscope decided" in anna.text("#notices")
    with reading(path) as connection:
        assert [one.decision for one in reviews(connection, "s1") if one.cell == cell] == ["confirmed", "rejected"]
    assert verified(path).rejected == 1
    assert ben.text("#notices") == ""


def test_what_is_decided_while_the_appliance_is_away_is_taken_down_when_it_is_back(
    serve: Any, browse: Any, path: Path, journal: Journal
) -> None:
    first = serve()
    browser = review(browse(), first)
    browser.press("f")
    browser.wait_for("document.getElementById('verified').textContent === '1'")
    first.stop()
    for key in ("f", "r", "u", "f"):
        browser.press(key)
    browser.wait_for("!document.getElementById('unsent').hidden")
    assert "not taken down yet" in browser.text("#unsent")
    serve(first.port)
    browser.wait_for("document.getElementById('unsent').hidden")
    browser.wait_for("document.getElementById('verified').textContent === '3'")

    found = verified(path)
    assert (found.confirmed, found.rejected) == (3, 0)
    with reading(path) as connection:
        assert [one.decision for one in reviews(connection, "s1")] == [
            "confirmed", "confirmed", "rejected", "undone", "confirmed",
        ]  # fmt: skip


def test_a_page_that_is_closed_with_a_decision_unsent_sends_it_when_it_is_opened_again(
    serve: Any, browse: Any, path: Path, journal: Journal
) -> None:
    first = serve()
    browser = review(browse(), first)
    first.stop()
    browser.press("f")
    browser.open("about:blank")
    review(browser, serve(first.port))
    browser.wait_for("document.getElementById('verified').textContent === '1'")
    assert verified(path).confirmed == 1


def test_a_second_reader_sees_nothing_of_the_first_and_both_see_how_far_they_agree(
    serve: Any, browse: Any, path: Path, journal: Journal
) -> None:
    web = serve()
    with Decisions(path, "bench", SystemClock()) as handler:
        for cell in range(1, 2 * CANDIDATES, 2):
            handler.decide("s1", cell, "rejected" if cell % 8 == 1 else "confirmed", "anna")
        browser = review(browse(), web, "?session=s1&reader=2")
        assert browser.text("#done") == browser.text("#verified") == "0"
        asked = json.loads(browser.evaluate("fetch('/review/cells?session=s1&reader=2').then(a => a.text())"))
        assert (asked["decisions"], asked["tally"]["reviewed"], asked["agreement"]) == ([], 0, None)
        browser.press("f")
        browser.wait_for("document.getElementById('done').textContent === '1'")
        for cell in range(3, 2 * CANDIDATES, 2):
            handler.decide("s1", cell, "rejected" if cell % 8 == 1 else "confirmed", "microscope", reader=2)
    browser.wait_for("!document.getElementById('kappa').hidden")

    # 24 cells: 18 called fNRBC by both, 5 no cell by both, and the first one only by the second reader.
    by_chance = (18 * 19 + 6 * 5) / 24**2
    kappa = (23 / 24 - by_chance) / (1 - by_chance)
    assert browser.text("#kappa") == f"Two readers agree on 23 of 24: kappa {kappa:.2f}"
    assert verified(path).rejected == 6


def test_candidates_of_a_running_session_come_by_themselves_and_those_taken_back_go(
    serve: Any, browse: Any, journal: Journal
) -> None:
    browser = review(browse(), serve())
    before = int(browser.text("#all"))
    count(journal, range(1001, 1005))
    browser.wait_for(f"document.getElementById('all').textContent === '{before + 2}'")
    gone = replace(step(range(1001, 1002)).events[0], event="retracted")
    frame = Frame(2000, 0.0, np.zeros((4, 4, 3), np.uint8))
    journal.record(Step(frame, Pose(0, 0.0, 0.0), None, [], [gone], Tally(), 0.0, 1.0, {}))
    browser.wait_for(f"document.getElementById('all').textContent === '{before + 1}'")


def test_a_session_that_is_signed_off_takes_no_decision(serve: Any, browse: Any, path: Path, journal: Journal) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE sessions SET signed_utc = '2026-03-01T13:00:00.000Z', signed_by = 'carla'")
    browser = review(browse(), serve())
    browser.press("f")
    assert "signed off" in browser.text("#unsent")
    assert browser.evaluate("[...document.querySelectorAll('#actions button')].every(node => node.disabled)")
    assert verified(path).reviewed == 0


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 600), (390, 844)])
def test_all_is_in_reach_and_stands_out_from_its_ground(
    serve: Any, browse: Any, journal: Journal, width: int, height: int
) -> None:
    browser = review(browse(), serve(), width=width, height=height)
    for key in ("f", "r", "1", "ArrowLeft"):
        browser.press(key)
    browser.wait_for("document.getElementById('done').textContent === '3'")
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    if width > 760:
        assert browser.evaluate("document.documentElement.scrollHeight") == height
    cut_off = """[...document.querySelectorAll('#actions button, #crop, footer strong')].filter(node => {
        const box = node.getBoundingClientRect();
        return box.left < 0 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1
            || node.scrollWidth > node.clientWidth + 1;
    }).map(node => node.textContent)"""
    assert browser.evaluate(cut_off) == []
    small = [one for one in browser.evaluate(CONTRASTS) if one[0] < 4.5]
    assert small == []  # WCAG 2, level AA
    nameless = """[...document.querySelectorAll('button, a, canvas, progress, img')].filter(node =>
        !(node.ariaLabel || node.textContent.trim() || node.alt !== undefined)).map(node => node.outerHTML)"""
    assert browser.evaluate(nameless) == []
    assert browser.complaints() == []


def test_a_key_too_many_at_the_end_changes_nothing(serve: Any, browse: Any, path: Path, journal: Journal) -> None:
    browser = review(browse(), serve())
    for _ in range(CANDIDATES):
        browser.press("f")
    browser.press("r")
    browser.wait_for(f"document.getElementById('verified').textContent === '{CANDIDATES}'")
    assert "All are decided on" in browser.text("#notices")
    browser.press("ArrowLeft")
    browser.press("r")
    browser.wait_for(f"document.getElementById('verified').textContent === '{CANDIDATES - 1}'")
    assert verified(path).rejected == 1
    assert "per 100 leukocytes" in browser.text("#ratio-verified")


def test_the_gallery_is_gone_through_by_keyboard_alone(serve: Any, browse: Any, journal: Journal) -> None:
    browser = review(browse(), serve())
    first = shown(browser)
    browser.press("ArrowRight")
    second = shown(browser)
    browser.press("ArrowDown")
    assert len({first, second, shown(browser)}) == 3
    browser.press("ArrowUp")
    browser.press("ArrowLeft")
    assert shown(browser) == first
    browser.evaluate("document.querySelector('#gallery [aria-current=true]').focus()")
    browser.press("ArrowRight")
    assert browser.evaluate("document.activeElement.ariaLabel").startswith(f"Cell {second},")
    browser.press("Enter")
    browser.wait_for("document.getElementById('verified').textContent === '1'")
