"""What a count may claim, on the live page of a real Chromium, as a technician sees it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import CONTRASTS, Chromium, open_chromium
from fnrbc_device.counting.claim import claim
from fnrbc_device.health import Health
from fnrbc_device.intervals import per_hundred
from fnrbc_device.records import ErrorCounts, Frame, ProvisionalReason, Step, Tally
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView, Snapshot

KNOWN = ErrorCounts(230, 2, 506, 4, "shipped", "pbc")
SIZES = pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 600), (390, 844)])
STRANGE: tuple[ProvisionalReason, ...] = ("stain_out_of_domain", "focus_out_of_domain")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    found = open_chromium(tmp_path / "profile")
    yield found
    found.close()


@pytest.fixture
def live() -> LiveView:
    return LiveView()


@pytest.fixture
def web(live: LiveView) -> Iterator[WebServer]:
    server = WebServer(live)
    server.start()
    yield server
    server.stop()


def show(live: LiveView, fnrbc: int, leukocytes: int, provisional: tuple[ProvisionalReason, ...] = ()) -> None:
    tally = Tally(
        cells=fnrbc + leukocytes,
        fnrbc=fnrbc,
        leukocytes=leukocytes,
        fnrbc_per_100_leukocytes=per_hundred(fnrbc, leukocytes) if leukocytes else None,
        claim=claim(fnrbc, leukocytes, [KNOWN], provisional),
        provisional=provisional,
    )
    image = np.full((960, 1280, 3), (246, 233, 220), np.uint8)
    step = Step(Frame(1, 0.0, image), None, None, [], [], tally, 0.0, 1.0, {})
    state = "degraded" if provisional else "counting"
    health = Health(state, tuple(provisional), 29.7, 40.0, 1.0, None, None)
    live.show(Snapshot(step, "slide-17", "running", health, 0.105, "c0ffee", simulated=False))


def opened(browser: Chromium, web: WebServer, width: int, height: int) -> None:
    browser.open(web.url, width, height)
    browser.wait_for("document.getElementById('fnrbc').textContent !== '0' || !document.getElementById('claim').hidden")


def fits(browser: Chromium, width: int) -> Any:
    return browser.evaluate(
        f"document.documentElement.scrollWidth <= {width} && [...document.querySelectorAll('.tally, .claim')]"
        ".every(node => node.scrollWidth <= node.clientWidth + 1)"
    )


@SIZES
def test_a_blank_slide_with_false_calls_says_that_it_cannot_be_told_from_none(
    browser: Chromium, web: WebServer, live: LiveView, width: int, height: int
) -> None:
    show(live, 8, 1000)
    opened(browser, web, width, height)

    assert browser.text("#fnrbc") == "8"  # the plain count stays where it was
    assert browser.text("#rate") == "0.8"
    assert browser.text("#claim-headline") == "Not distinguishable from none"
    assert browser.text("#claim-figures").startswith("limit of blank 22 fNRBC; at most ")
    assert fits(browser, width)


@SIZES
def test_a_session_beyond_what_was_measured_is_provisional_and_says_why(
    browser: Chromium, web: WebServer, live: LiveView, width: int, height: int
) -> None:
    show(live, 80, 1000, STRANGE)
    opened(browser, web, width, height)

    assert browser.text("#fnrbc") == "80"
    assert browser.text("#claim-headline") == "Provisional"
    assert browser.text("#claim-figures") == "stain, focus unlike what the network was measured on"
    assert "The count is provisional" in browser.text("#cue")  # with the cure, over the picture
    assert fits(browser, width)
    for ratio, name in browser.evaluate(CONTRASTS):
        assert ratio >= 4.5, name


def test_a_slide_above_blank_says_how_many_with_the_errors_taken_out(
    browser: Chromium, web: WebServer, live: LiveView
) -> None:
    show(live, 80, 1000)
    opened(browser, web, 1280, 800)
    assert browser.text("#claim-headline") == "More than a blank slide shows"
    assert "per 100 leukocytes (95 % interval " in browser.text("#claim-figures")


def test_the_big_figures_never_stand_without_the_claim(browser: Chromium, web: WebServer, live: LiveView) -> None:
    show(live, 80, 1000, STRANGE)
    opened(browser, web, 1280, 800)
    browser.evaluate("document.getElementById('open-big').click()")
    browser.wait_for("!document.getElementById('big').hidden")
    assert browser.text("#big-claim") == "Provisional"
    assert browser.evaluate("document.getElementById('big-claim').getBoundingClientRect().bottom <= innerHeight")


def test_without_a_leukocyte_nothing_is_claimed(browser: Chromium, web: WebServer, live: LiveView) -> None:
    show(live, 3, 0)
    opened(browser, web, 1280, 800)
    assert browser.evaluate("document.getElementById('claim').hidden")
