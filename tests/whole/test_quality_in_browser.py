"""Blanks, controls and a sign-off with its reason in a real Chromium, at a desk and on a telephone."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from axe import axe_source, serious_violations
from chromium import CONTRASTS, Chromium, open_chromium
from fnrbc_device.journal.read_only import reading
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.site_figures import SiteFigures
from fnrbc_device.quality.blanks import limit_of_blank
from fnrbc_device.quality.controls import ControlRules, Target
from fnrbc_device.reporting.validation_report import compare, validation_html
from fnrbc_device.session_state import SessionControl
from fnrbc_device.sessions import controls
from fnrbc_device.sessions.archive import happenings
from fnrbc_device.sessions.validation import validate
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from laboratory import UM, cells, write_session

SIZES = [(1280, 800), (390, 844)]
RULES = ControlRules(True, 24, {"low": Target(5.0, 1.0, "assigned"), "<b>high</b>": Target(20.0, 2.0, "assigned")})
NOW = datetime.now(timezone.utc)

SITE = SiteFigures(
    bundle="a" * 64, made=NOW, by="Dr. Ada", device="bench", sessions=("s1", "b1"), targets_right=40, targets_wrong=2,
    leukocytes_right=1990, leukocytes_wrong=9, misses_known=False, limit_of_blank=2.27, limit_method="parametric",
    on="2 sessions of this site",
)  # fmt: skip

Serve = Callable[[bool], str]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    found = open_chromium(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of two controls, six blanks and a sample; the last control fell out of its limits an hour ago."""
    path = tmp_path_factory.mktemp("state") / "journal.sqlite"
    for day, fnrbc in enumerate((5, 4, 6, 5, 7, 8, 5, 4, 5)):
        ended = NOW - timedelta(days=8 - day, hours=2)
        write_session(path, f"c{day}", cells(fnrbc, 100), kind="control", specimen="low", ended=ended)
    write_session(path, "h1", cells(4, 20), kind="control", specimen="<b>high</b>", ended=NOW - timedelta(hours=2))
    for number in range(5):
        ended = NOW - timedelta(hours=20 - number)
        write_session(path, f"b{number}", cells(number % 3, 100), kind="blank", ended=ended)
    write_session(path, "s1", cells(3, 60), ended=NOW - timedelta(minutes=30), specimen="A 17")
    return path


@pytest.fixture
def serve(record: Path, tmp_path: Path) -> Iterator[Serve]:
    """Pages over that record; the newest result of the low control in its limits, or out of them."""
    servers: list[WebServer] = []
    path = tmp_path / "journal.sqlite"

    def start(fails: bool) -> str:
        shutil.copy(record, path)
        newest = cells(9 if fails else 6, 100)
        write_session(path, "c9", newest, kind="control", specimen="low", ended=NOW - timedelta(hours=1))
        live = LiveView()
        context = WebContext(
            live, SessionControl(), path, "lab", "bench", UM, controls=RULES, site_figures=lambda _: SITE
        )
        servers.append(WebServer(live, context=context))
        servers[-1].start()
        return servers[-1].url

    yield start
    for server in servers:
        server.stop()


def looked_at(browser: Chromium, url: str, name: str, shown: str = "true") -> None:
    """Nothing sticks out, every text can be read, nobody is kept out, at both sizes."""
    for width, height in SIZES:
        browser.open(url, width, height)
        browser.wait_for(f"document.readyState === 'complete' && {shown}")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        contrasts = [one for one in browser.evaluate(CONTRASTS) if isinstance(one[1], str)]
        assert [one for one in contrasts if one[0] < 4.5] == []
        browser.evaluate(f"{axe_source()};0")
        assert serious_violations(browser) == []
        if folder := os.environ.get("FNRBC_SCREENSHOTS"):
            (Path(folder) / f"{name}-{width}.png").write_bytes(browser.screenshot(whole=True))
    assert browser.complaints() == []


def test_controls_in_their_limits_and_blanks_are_shown_with_their_figures(browser: Chromium, serve: Serve) -> None:
    url = serve(False)
    looked_at(browser, f"{url}quality", "quality-in")
    assert browser.text("#standing").startswith("Passed.")
    assert browser.evaluate("document.querySelectorAll('.levey-jennings').length") == 2
    # The sixth result of the low control, 8 per 100, warns and is left behind by those after it.
    assert browser.evaluate("document.querySelectorAll('.levey-jennings .warned').length") == 1
    assert browser.evaluate("document.querySelectorAll('.levey-jennings .rejected').length") == 0
    assert "Limit of blank " in browser.text(".blank-limit")
    assert "CLSI EP17, parametric" in browser.text("main")
    assert "9 beside 1\u202f990 leukocytes" in browser.text("main")
    looked_at(browser, f"{url}sessions/b1", "blank")
    assert browser.text("#kind").startswith("Blank. A slide without fNRBC")
    looked_at(browser, f"{url}sessions/s1", "session-in")
    assert browser.text("#control").startswith("Passed.")
    assert "control" not in browser.evaluate("document.getElementById('reason').labels[0].innerText")
    looked_at(browser, url, "live-in")
    assert browser.evaluate("document.getElementById('control').hidden")
    browser.on_page("Page.navigate", url="about:blank")  # or it misses the live page's server in the next test


def test_a_control_out_of_its_limits_is_said_and_asks_for_a_reason(
    browser: Chromium, serve: Serve, tmp_path: Path
) -> None:
    url = serve(True)
    looked_at(browser, f"{url}quality", "quality-out")
    assert browser.text("#standing").startswith("Failed. Control low failed: 9.00 per 100")
    looked_at(browser, url, "live-out", "!document.getElementById('control').hidden")
    assert "control low failed" in browser.text("#control").lower()
    looked_at(browser, f"{url}sessions", "sessions")
    looked_at(browser, f"{url}sessions/new", "start")

    page = f"{url}sessions/s1"
    looked_at(browser, page, "session-out")
    browser.evaluate("document.querySelector('details:has(#sign)').open = true")
    browser.evaluate("document.getElementById('sign').click()")
    assert browser.evaluate("document.getElementById('reason').matches(':invalid')")  # not without a reason
    browser.evaluate("document.getElementById('reason').focus()")
    browser.on_page("Input.insertText", text="scratched slide, counted again by hand")
    browser.press("Enter")
    browser.wait_for("document.querySelector('.note.signed')?.innerText.includes('scratched slide')")
    looked_at(browser, page, "signed")
    with reading(tmp_path / "journal.sqlite") as connection:
        (signed,) = [one for one in happenings(connection, "s1") if one.kind == "signed"]
    assert signed.fields["reason"] == "scratched slide, counted again by hand"


def test_the_validation_can_be_read_at_a_desk_and_on_a_telephone(
    browser: Chromium, record: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(None).id
    with reading(record) as connection:
        found = validate(connection, bundle)
        limit = limit_of_blank(list(controls.blanks(connection, bundle).values()))
    manual = [(0.5 * n, 0.5 * n + (0.3 if n % 3 else -0.4)) for n in range(12)]
    page = tmp_path / "validation.html"
    about = {"Software": "fnrbc", "Model bundle": bundle, "By": "<b>Ada</b>"}
    page.write_text(validation_html(found, limit, [compare("Counted by the machine", manual)], about))
    looked_at(browser, page.as_uri(), "validation")
    assert browser.evaluate("document.querySelectorAll('.scatter .slide').length") == 24
    assert "no fNRBC was seen" in browser.text("main")
    assert "<b>Ada</b>" in browser.text("main")
