"""What the live page tells of a daemon that counts, in a real Chromium: one cue, the true one, gone with its cause."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chromium import Chromium, open_chromium
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView

SHAPE = (480, 640)
FPS = 12
"""Of a recording that comes to its end by itself. The other microscope waits for the daemon, however busy the machine
is: a computer that cannot keep up is a cue of its own."""

HEARS = """(() => { window.told = []; const cue = document.getElementById('cue');
    new MutationObserver(() => window.told.push(cue.hidden ? '' : cue.dataset.code))
        .observe(cue, {attributes: true, attributeFilter: ['hidden', 'data-code']}); })()"""


class Page:
    """A daemon in a thread over a microscope whose frames are read one by one, and its page in a browser."""

    def __init__(self, folder: Path, microscope: SimulatedMicroscope, browser: Chromium) -> None:
        self.stop, live, control, ready = threading.Event(), LiveView(), SessionControl(), threading.Event()
        path = folder / "journal.sqlite"
        control.enter("starting")
        self.web = WebServer(live, context=WebContext(live, control, path))
        self.web.start()
        setup = Setup(
            source=microscope,
            bundle=load_bundle(None),
            pixel_size_um=0.125,
            journal_path=path,
            mqtt=MqttSettings(enabled=False),
            live=live,
            start="by_hand",
            control=control,
        )
        self._thread = threading.Thread(target=lambda: Daemon(setup).run(self.stop, ready.set))
        self._thread.start()
        assert ready.wait(30)
        browser.open(self.web.url)
        browser.wait_for("document.body.dataset.link === 'live'")

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        self.web.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    found = open_chromium(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def microscope(request: pytest.FixtureRequest) -> SimulatedMicroscope:
    """A calm hand, so many frames long."""
    frames = int(request.param)
    path = np.column_stack([np.full(frames, 300.0), 600.0 + 300.0 * np.sin(np.arange(frames) / 100)])
    optics = Optics(dust=0, focus_drift_px=0.0, light_drift=0.0)
    slide = SimulatedSlide.make(8, "giemsa", 60)
    fps = None if frames > 1 else FPS
    return SimulatedMicroscope(slide, path, seed=4, frame_shape=SHAPE, fps=fps, optics=optics)


@pytest.fixture
def page(tmp_path: Path, microscope: SimulatedMicroscope, browser: Chromium) -> Iterator[Page]:
    made = Page(tmp_path, microscope, browser)
    yield made
    made.close()


@pytest.mark.parametrize("microscope", [50000], indirect=True)
def test_a_focus_that_is_lost_and_found_is_told_alone_in_the_figures_too_and_is_gone(
    page: Page, microscope: SimulatedMicroscope, browser: Chromium
) -> None:
    browser.evaluate(HEARS)
    browser.wait_for("!document.querySelector('[data-verb=start]').hidden")
    browser.press("s")
    browser.wait_for("Number(document.getElementById('used').textContent) > 5")
    microscope._focus[:] = 8.0
    browser.wait_for("document.getElementById('cue').dataset.code === 'focus_lost'", 40)
    browser.wait_for("document.getElementById('health-words').textContent === 'Not counting: out of focus'")
    assert browser.text("#speed-name") == "Sharpness"
    browser.press("b")
    browser.wait_for("!document.getElementById('big').hidden")
    assert browser.text("#big-cue") == "out of focus"
    browser.press("b")
    browser.wait_for("document.getElementById('big').hidden")
    microscope._focus[:] = 0.0
    browser.wait_for("document.getElementById('cue').hidden && !document.querySelector('[data-verb=pause]').hidden")
    assert set(browser.evaluate("window.told")) <= {"", "focus_lost", "clock_unsynced"}


@pytest.mark.parametrize("microscope", [1], indirect=True)
def test_a_start_that_cannot_be_is_refused_in_red_with_its_reason_and_the_pill_says_it_before(
    page: Page, browser: Chromium
) -> None:
    browser.wait_for("document.getElementById('health-words').textContent === 'Not counting: end of the recording'")
    browser.press("s")
    browser.wait_for("document.getElementById('answer').textContent !== ''")
    assert browser.text("#answer") == "The recording is at its end: nothing more can be counted from it."
    assert browser.evaluate("document.getElementById('answer').className") == "answer bad"
    assert browser.evaluate("document.body.dataset.mode") == "fault"
