"""The button that tunes the network to a laboratory, in a real Chromium and with a real process behind it.

That it makes a bundle stands in ``tests/device/test_calibration.py``, beside the cells that it takes.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import Chromium, open_chromium
from fnrbc_device.inference.bundle_store import BundleStore
from fnrbc_device.learning.calibrating import Calibrating
from fnrbc_device.learning.calibration import ReviewedCells
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from laboratory import UM
from site_cells import write_reviewed

ENDED_S = 120.0
"""For a process that reads the cells and refuses them, which takes 1 s on a quiet machine."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    found = open_chromium(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


class Laboratory:
    """A device with a record of reviewed cells, and its pages."""

    def __init__(self, state: Path) -> None:
        self.journal = state / "journal.sqlite"
        crops = load_bundle(None).golden_crops[:10]
        write_reviewed(self.journal, ReviewedCells(crops, ["target"] * len(crops)))
        self.store = BundleStore(state / "bundles")
        self.control = SessionControl()
        self.context = WebContext(
            LiveView(), self.control, self.journal, "Here", "bench", UM,
            calibrating=Calibrating(self.journal, "Here", self.store.active, self.store),
        )  # fmt: skip
        self.server = WebServer(self.context.live, context=self.context)
        self.server.start()

    def close(self) -> None:
        self.context.close()
        self.server.stop()


@pytest.fixture
def laboratory(tmp_path: Path) -> Iterator[Laboratory]:
    found = Laboratory(tmp_path)
    yield found
    found.close()


def tune(browser: Chromium, url: str) -> None:
    """Press the button, and wait for how it ended."""
    browser.open(f"{url}learn", 1280, 800)
    browser.wait_for("document.readyState === 'complete'")
    browser.evaluate("document.querySelector('#calibration form button').click()")
    browser.wait_for("Boolean(document.querySelector('#calibration .signed, #calibration .fault'))", ENDED_S)
    browser.wait_for("document.readyState === 'complete'")


def test_one_kind_of_cell_alone_is_refused_in_one_sentence(browser: Chromium, laboratory: Laboratory) -> None:
    tune(browser, laboratory.server.url)
    assert "No site bundle was made: 10 fNRBC and 0 other cells were reviewed" in browser.text("#calibration .fault")
    assert laboratory.store.installed() == []
    assert browser.complaints() == []


def test_nothing_is_tuned_while_a_session_counts(browser: Chromium, laboratory: Laboratory) -> None:
    laboratory.control.enter("running")
    browser.open(f"{laboratory.server.url}learn", 390, 844)
    browser.wait_for("document.readyState === 'complete'")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    browser.evaluate("document.querySelector('#calibration form button').click()")
    browser.wait_for("document.body.textContent.includes('A session is counting; end it first.')")
    assert laboratory.context.calibrating is not None
    assert laboratory.context.calibrating.standing.state == "none"
    browser.on_page("Page.navigate", url="about:blank")
    browser.complaints()
