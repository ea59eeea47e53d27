"""The live page and the report in a real Chromium, as a person sees them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from chromium import CONTRASTS, Chromium, open_chromium
from fnrbc_device.counting.claim import claim
from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.health import Health
from fnrbc_device.records import ErrorCounts, Frame, Interval, Mark, Pose, SessionMeta, Step, Tally
from fnrbc_device.reporting.report import GalleryItem, Report, write_report
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import BrokerLine, LiveView, Snapshot


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    found = open_chromium(tmp_path / "profile")
    yield found
    found.close()


class Hands:
    """A clock that a test moves: a picture grows old when the test says so, however slow the machine is."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def live(hands: Hands) -> LiveView:
    return LiveView(hands)


@pytest.fixture
def web(live: LiveView) -> Iterator[WebServer]:
    server = WebServer(live)
    server.start()
    yield server
    server.stop()


PIXEL_UM = 0.125
CELL_RC = (480, 640)


def health(state: str = "counting", reasons: tuple[str, ...] = ()) -> Health:
    return Health(
        state,  # type: ignore[arg-type]
        reasons,
        fps=29.7,
        pan_um_s=40,
        sharpness=1,
        latency_ms_p50=None,
        latency_ms_p95=None,
    )


def smear(cell_rc: tuple[int, int] = CELL_RC) -> np.ndarray:
    """Cream glass with one dark nucleus."""
    image = np.full((960, 1280, 3), (246, 233, 220), np.uint8)
    cv2.circle(image, cell_rc[::-1], 30, (70, 40, 120), -1)
    return image


def snapshot(seen: SlideMap, marks: list[Mark], **changes: Any) -> Snapshot:
    tally = Tally(
        cells=1310,
        fnrbc=42,
        leukocytes=1003,
        other=258,
        indeterminate=7,
        fnrbc_per_100_leukocytes=Interval(4.187, 3.01, 5.68),
        frames=2000,
        frames_used=1900,
        frames_rejected={"blurred": 30, "too_fast": 70},
        frames_dropped=1000,
        islands=1,
        leukocytes_to_go=1289,
        claim=claim(42, 1003, [ErrorCounts(230, 2, 5900, 12, "shipped", "pbc")]),
        unique_area_mm2=0.4567,
        cells_open=5,
    )
    step = Step(Frame(1, 0.0, smear()), Pose(0, 0.0, 0.0), None, marks, [], tally, 120.0, 0.9, {})
    fields: dict[str, Any] = {
        "step": step,
        "session_id": "slide-17",
        "state": "running",
        "health": health(),
        "pixel_size_um": PIXEL_UM,
        "bundle": "c0ffee" * 10,
        "simulated": True,
        "slide_map": seen,
        "broker": BrokerLine(True, 0),
    }
    return Snapshot(**{**fields, **changes})


@pytest.fixture
def show(live: LiveView) -> Callable[..., None]:
    seen = SlideMap(PIXEL_UM, (960, 1280))
    for col in range(0, 2000, 200):
        seen.paint(Pose(0, 0.0, float(col)), smear())
    mark = Mark(7, "fnrbc", "target", *CELL_RC, 45.0, 0.98)

    def show_one(marks: list[Mark] | None = None, **changes: Any) -> None:
        live.show(snapshot(seen, [mark] if marks is None else marks, **changes))

    return show_one


def opened(browser: Chromium, web: WebServer, width: int = 1280, height: int = 800) -> None:
    browser.open(web.url, width, height)
    browser.wait_for("document.getElementById('waiting').hidden")
    browser.wait_for("document.body.dataset.link === 'live'")


def test_the_page_tells_the_count_its_interval_and_what_it_rests_on(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web)
    assert browser.text("#fnrbc") == "42"
    assert browser.text("#rate") == "4.2"
    assert browser.text("#interval") == "3.0\u20135.7 (95 % interval)"
    assert browser.text("#claim-headline") == "More than a blank slide shows"
    assert re.fullmatch(
        r"4\.0 per 100 leukocytes \(95 % interval \d\.\d to \d\.\d\), the network's errors taken out",
        browser.text("#claim-figures"),
    )
    assert browser.text("#leukocytes") == "1\u202f003"
    assert browser.text("#indeterminate") == "7"
    assert browser.text("#area") == "0.457"
    assert browser.text("#used") == "1\u202f900"
    assert browser.text("#frames") == "3\u202f000"
    assert browser.text("#rejected") == (
        "not used: 70 too fast, 30 blurred, 1\u202f000 left out to keep up with the camera"
    )
    assert browser.text("#health") == "Counting"
    assert browser.text("#session") == "slide-17"
    assert "unverified" in browser.text("main")
    assert "For research use only. Not for use in diagnostic procedures." in browser.text("footer")
    assert browser.text("#simulated") == "Simulated microscope"


def test_the_page_loads_from_this_machine_alone_and_complains_of_nothing(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web)
    browser.wait_for("document.getElementById('map').width > 0")
    assert all(url.startswith((web.url, "about:")) for url in browser.requested())
    assert browser.complaints() == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 600), (800, 480)])
def test_all_is_seen_at_once_without_scrolling(
    browser: Chromium, web: WebServer, show: Callable[..., None], width: int, height: int
) -> None:
    show(health=health("degraded", ("pan_too_fast", "broker_away")), broker=BrokerLine(False, 128))
    opened(browser, web, width, height)
    size = browser.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [width, height]
    overflowing = """[...document.querySelectorAll('main *, header *, footer *')].filter(node => {
        const box = node.getBoundingClientRect();
        return box.width && node.checkVisibility({contentVisibilityAuto: true})
            && (box.right > innerWidth + 1 || box.bottom > innerHeight + 1);
    }).map(node => node.id || node.className)"""
    assert browser.evaluate(overflowing) == []


def test_on_a_telephone_the_counts_come_first(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web, 390, 844)
    top, bottom = (
        browser.evaluate(f"document.querySelector('{one}').getBoundingClientRect().top") for one in (".tally", ".stage")
    )
    assert top < bottom
    assert browser.evaluate("document.getElementById('fnrbc').getBoundingClientRect().bottom") < 400


def test_a_telephone_scrolls_down_only_and_keeps_the_research_sentence_in_view(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web, 390, 844)
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    box = browser.evaluate("document.querySelector('footer strong').getBoundingClientRect().toJSON()")
    assert box["bottom"] <= 844


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 600), (390, 844)])
def test_large_figures_fit_into_their_place(
    browser: Chromium, web: WebServer, show: Callable[..., None], width: int, height: int
) -> None:
    tally = Tally(fnrbc=12345, leukocytes=9876, fnrbc_per_100_leukocytes=Interval(125.0, 122.6, 127.4))
    show(step=Step(Frame(1, 0.0, smear()), None, None, [], [], tally, 0, 1, {}))
    opened(browser, web, width, height)
    fits = """[...document.querySelectorAll('.tally, .tally .headline > div')].every(
        node => node.scrollWidth <= node.clientWidth)"""
    assert browser.text("#fnrbc") == "12\u202f345"
    assert browser.evaluate(fits)


@pytest.mark.parametrize("state", ["counting", "degraded", "fault", "paused", "idle", "finished"])
def test_every_text_stands_out_from_its_ground(
    browser: Chromium, web: WebServer, show: Callable[..., None], state: str
) -> None:
    does = state if state in ("paused", "idle", "finished") else "running"
    shown = "ready" if state in ("idle", "finished") else state
    show(state=does, health=health(shown, ("pan_too_fast",)))
    opened(browser, web)
    contrasts = browser.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    assert [one for one in contrasts if one[0] < 4.5] == []  # WCAG 2, level AA


def test_the_outline_lies_round_its_cell(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show([Mark(7, "", "denominator", *CELL_RC, 45.0, 0.98)])
    opened(browser, web)
    drawn = browser.evaluate("""(() => {
        const canvas = document.getElementById('marks');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        let [n, x, y] = [0, 0, 0];
        for (let i = 3; i < pixels.length; i += 4) if (pixels[i]) {
            n += 1; x += ((i - 3) / 4) % canvas.width; y += Math.floor((i - 3) / 4 / canvas.width);
        }
        const scale = Math.min(canvas.width / 1280, canvas.height / 960);
        return {n, x: x / n - canvas.width / 2, y: y / n - canvas.height / 2, scale};
    })()""")
    # The cell is in the middle of the frame, hence in the middle of the canvas, whatever its shape.
    assert drawn["n"] > 100
    assert abs(drawn["x"]) < 1.5
    assert abs(drawn["y"]) < 1.5


def test_the_kinds_of_cell_are_told_by_shape_without_colour(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web)
    glyphs = browser.evaluate("""[...document.querySelectorAll('canvas.glyph')].map(canvas => {
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return Array.from({length: canvas.width * canvas.height}, (_, i) => pixels[4 * i + 3]);
    })""")
    shapes = [np.array(glyph, float) / 255 for glyph in glyphs]
    assert len(shapes) == 5
    for index, one in enumerate(shapes):
        for other in shapes[:index]:
            assert np.abs(one - other).sum() > 0.25 * min(one.sum(), other.sum())


def test_the_gravest_trouble_alone_is_told_over_the_picture_and_the_others_wait_in_a_list(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show(health=health("degraded", ("broker_away", "focus_lost", "tracking_lost")))
    opened(browser, web)
    assert browser.text("#health") == "Not counting: out of focus"
    assert "fine focus" in browser.text("#cue")
    assert browser.evaluate("document.querySelectorAll('.notices > :not([hidden])').length") == 1
    browser.evaluate("document.getElementById('more').open = true")
    told = browser.text("#more-list")
    assert told.index("Lost the place") < told.index("The broker cannot be reached")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (800, 480)])
@pytest.mark.parametrize("how", ["b", "touch"])
def test_the_big_figures_open_and_close_by_one_key_and_by_touch(
    browser: Chromium, web: WebServer, show: Callable[..., None], width: int, height: int, how: str
) -> None:
    show(health=health("degraded", ("pan_too_fast",)))
    opened(browser, web, width, height)
    for hidden in (False, True):
        if how == "b":
            press(browser, "b")
        else:
            touch(browser, "#open-big" if not hidden else "#big-fnrbc")
        browser.wait_for(f"document.getElementById('big').hidden === {str(hidden).lower()}")
        if not hidden:
            assert browser.text("#big-cue") == "too fast"
            cut = """[...document.querySelectorAll('#big *')].filter(one => one.checkVisibility()).filter(one => {
                const box = one.getBoundingClientRect();
                return box.right > innerWidth || box.bottom > innerHeight; }).length"""
            assert browser.evaluate(cut) == 0


def touch(browser: Chromium, selector: str) -> None:
    browser.evaluate(f"document.querySelector('{selector}').scrollIntoView({{block: 'center'}})")
    box = browser.evaluate(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()")
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    browser.on_page("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
    browser.on_page("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def test_a_name_with_markup_in_it_stays_text(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    evil = "<img src=x onerror=alert(1)>"
    show(session_id=evil, bundle=evil)
    opened(browser, web)
    assert browser.text("#session") == evil
    assert browser.evaluate("document.querySelectorAll('img').length") == 0


def test_a_finished_session_is_called_finished_and_not_stale(
    browser: Chromium, web: WebServer, show: Callable[..., None], hands: Hands
) -> None:
    show(state="finished")
    opened(browser, web)
    browser.evaluate(HEARS_BEATS)
    hands.now_s = 9.0
    browser.wait_for("window.heardAge === 9")
    assert browser.evaluate("document.body.dataset.link") == "live"
    assert "finished" in browser.text(".band[data-states=finished]")


HEARS_BEATS = """void new EventSource('/events').addEventListener('beat', (message) => {
    window.heardAge = JSON.parse(message.data).age_s; })"""


def test_a_picture_that_stands_still_is_called_old(
    browser: Chromium, web: WebServer, show: Callable[..., None], hands: Hands
) -> None:
    show()
    opened(browser, web)
    hands.now_s = 9.0
    browser.wait_for("document.body.dataset.link === 'stale'")
    assert "No new picture" in browser.text("#link")
    assert "s old" in browser.text("#age")


SHOWN = """[...document.querySelectorAll('.controls :is(button, a)')].filter(one => one.checkVisibility())
    .map(one => one.innerText.trim())"""
ALWAYS = ["Big figures", "Keys"]


@pytest.mark.parametrize(
    ("state", "commands"),
    [
        ("idle", ["Start counting", "New session\u2026"]),
        ("running", ["Pause", "Mark this place", "End\u2026"]),
        ("paused", ["Go on", "Mark this place", "End\u2026"]),
        ("finished", ["Start counting", "New session\u2026"]),
        ("starting", []),
        ("stopping", []),
    ],
)
def test_only_what_fits_the_state_is_offered(
    browser: Chromium, web: WebServer, show: Callable[..., None], state: str, commands: list[str]
) -> None:
    show(state=state)
    opened(browser, web)
    shown = [re.sub(r"\s+.$", "", words) for words in browser.evaluate(SHOWN)]
    assert shown == commands + ALWAYS


@pytest.mark.parametrize(
    ("state", "words"), [("idle", "No session"), ("paused", "Paused"), ("finished", "Session finished")]
)
def test_a_picture_that_is_not_counted_never_looks_as_if_it_were(
    browser: Chromium, web: WebServer, show: Callable[..., None], state: str, words: str
) -> None:
    show()
    opened(browser, web)
    frame_when_counting = browser.evaluate(FRAME)
    show(marks=[], state=state, health=health("ready"), tally=Tally())
    browser.wait_for(f"document.body.dataset.mode === '{state}'")
    assert words in browser.text(f".band[data-states={state}]")
    assert not browser.evaluate("document.getElementById('speed').checkVisibility()")
    assert browser.evaluate(FRAME) != frame_when_counting  # by its stroke, whatever its colour
    assert "Counting" not in browser.text("#health")
    drawn = """(() => { const canvas = document.getElementById('marks');
        return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean); })()"""
    assert not browser.evaluate(drawn)
    if state == "idle":
        assert browser.text("#fnrbc") == "\u2013"


FRAME = "getComputedStyle(document.body, '::before').borderTopStyle"

LISTENS = """(() => { window.asked = []; window.fetch = (url, with_) => { window.asked.push([url, with_.method,
    with_.headers['x-fnrbc-token'], JSON.parse(with_.body)]);
    return Promise.resolve(new Response(window.refusal ?? '{}', {status: window.refusal ? 409 : 200})); }; })()"""


def press(browser: Chromium, key: str) -> None:
    text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
    code = {"Enter": 13, "Tab": 9, "Escape": 27}.get(key, 0)
    browser.on_page("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
    browser.on_page("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def test_every_command_is_one_key_and_ending_asks_first(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web)
    browser.evaluate(LISTENS)
    press(browser, "m")
    browser.wait_for("window.asked.length === 1")
    press(browser, "e")
    browser.wait_for("document.getElementById('ending').open")
    press(browser, "p")  # while the question stands no other key commands
    press(browser, "Enter")
    browser.wait_for("!document.getElementById('ending').open")
    token = browser.evaluate("document.querySelector('meta[name=token]').content")
    assert browser.evaluate("window.asked") == [["/api/session/mark", "POST", token, {"note": ""}]]
    press(browser, "e")
    browser.wait_for("document.getElementById('ending').open")
    press(browser, "Tab")
    press(browser, "Enter")
    browser.wait_for("window.asked.length === 2")
    assert browser.evaluate("window.asked[1][0]") == "/api/session/stop"


def test_a_refusal_is_told_in_its_own_words(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web)
    browser.evaluate(LISTENS)
    browser.evaluate("window.refusal = JSON.stringify({error: 'pause is for a session that is running; wait <b>'})")
    press(browser, "p")
    browser.wait_for("document.getElementById('answer').textContent !== ''")
    assert browser.text("#answer") == "pause is for a session that is running; wait <b>"


def test_single_keys_can_be_switched_off_and_stay_off(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    show()
    opened(browser, web)
    browser.evaluate("document.getElementById('keys-off').click()")
    opened(browser, web)
    browser.evaluate(LISTENS)
    press(browser, "p")
    press(browser, "b")
    assert browser.evaluate("[window.asked.length, document.getElementById('big').hidden]") == [0, True]


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 600), (390, 844)])
def test_the_big_figures_are_a_sixth_of_the_screen_high_and_fit(
    browser: Chromium, web: WebServer, show: Callable[..., None], width: int, height: int
) -> None:
    leukocytes = 1003 if width > height else 97
    tally = Tally(fnrbc=42, leukocytes=leukocytes, fnrbc_per_100_leukocytes=Interval(4.2, 3.0, 5.7))
    show(step=Step(Frame(1, 0.0, smear()), None, None, [], [], tally, 0, 1, {}))
    opened(browser, web, width, height)
    press(browser, "b")
    browser.wait_for("!document.getElementById('big').hidden")
    digits = browser.evaluate("""[...document.querySelectorAll('.big b')].map(node => {
        const pen = document.createElement('canvas').getContext('2d');
        const {fontWeight, fontSize, fontFamily} = getComputedStyle(node);
        pen.font = `${fontWeight} ${fontSize} ${fontFamily}`;
        const text = document.createRange();
        text.selectNodeContents(node);
        const box = text.getBoundingClientRect();
        return [pen.measureText('0').actualBoundingBoxAscent / innerHeight, box.left, box.right, node.textContent];
    })""")
    assert [one[3] for one in digits] == ["42", "4.2", f"{leukocytes:,}".replace(",", "\u202f")]
    assert all(share >= 1 / 6 and left >= 0 and right <= width for share, left, right, _ in digits)
    press(browser, "Escape")
    assert browser.evaluate("document.getElementById('big').hidden")


def test_gaps_and_islands_are_shown_apart_and_said_in_words(
    browser: Chromium, web: WebServer, live: LiveView
) -> None:
    seen = SlideMap(PIXEL_UM, (960, 1280))
    for row, col in [(0, 0), (0, 1280), (0, 2560), (960, 0), (960, 2560), (1920, 0), (1920, 1280), (1920, 2560)]:
        seen.paint(Pose(0, row, col), smear())
    seen.paint(Pose(3, 0, 0), smear())
    live.show(snapshot(seen, []))
    opened(browser, web)
    browser.wait_for("document.querySelectorAll('#others figure').length === 1")
    assert browser.text("#gaps") == "1 gap inside, 0.019 mm\u00b2 not seen"
    assert browser.text("#others") == "Island 4"
    assert browser.evaluate("getComputedStyle(document.querySelector('#others figure')).borderTopStyle") == "dashed"


def test_a_session_tells_how_far_it_is_from_what_was_asked_of_it(
    browser: Chromium, web: WebServer, show: Callable[..., None]
) -> None:
    meta = SessionMeta("fnrbc", "b", "simulated", PIXEL_UM, specimen="<i>K-7</i>", wanted_leukocytes=2000)
    show(meta=meta)
    opened(browser, web)
    assert browser.text("#goal-leukocytes-words") == "1\u202f003 of 2\u202f000 leukocytes"
    assert browser.evaluate("document.getElementById('goal-leukocytes-bar').position") == pytest.approx(1003 / 2000)
    assert browser.evaluate("document.getElementById('goal-area').hidden")
    assert browser.text("#specimen") == "Specimen <i>K-7</i>"


def test_a_lost_connection_is_said_and_comes_back_by_itself(
    browser: Chromium, live: LiveView, show: Callable[..., None]
) -> None:
    first = WebServer(live)
    first.start()
    show()
    opened(browser, first)
    first.stop()
    browser.wait_for("document.body.dataset.link === 'lost'")
    assert browser.text("#health") == "Not connected"
    assert "Connection lost" in browser.text("#link")
    again = WebServer(live, port=first.port)
    again.start()
    show()
    browser.wait_for("document.body.dataset.link !== 'lost'")
    again.stop()


def test_the_report_opens_without_a_network_and_complains_of_nothing(
    browser: Chromium, tmp_path: Path
) -> None:
    seen = SlideMap(PIXEL_UM, (960, 1280))
    seen.paint(Pose(0, 0.0, 0.0), smear())
    mosaic = seen.mosaic(0)
    assert mosaic is not None
    summary = {
        "frames": 1, "frames_used": 1, "frames_rejected": {}, "islands": 1, "cells": 1, "fnrbc": 1,
        "leukocytes": 0, "other": 0, "indeterminate": 0, "fnrbc_per_100_leukocytes": {"value": None},
        "leukocytes_to_go": {"value": None, "within_percent": 20}, "revisit_share": 0.0, "cells_open": 0,
        "unique_area_mm2": 0.0192, "complete": True, "seconds": 1.0, "fps": 1.0,
    }  # fmt: skip
    row = {"cell": 1, "island": 0, "x_um": 80.0, "y_um": 60.0, "class": "fnrbc", "probability": 0.98}
    item = GalleryItem(1, 0, "fnrbc", 0.98, [smear()[420:540, 580:700]], 80.0, 60.0, 3, 10.0)
    path = tmp_path / "report.html"
    write_report(path, Report("a slide", summary, [row], [mosaic], [item], 0.5, {"Software": "fnrbc"}))
    browser.open(path.as_uri())
    browser.wait_for("document.readyState === 'complete'")
    assert browser.evaluate("[...document.images].every(image => image.naturalWidth === 120)")
    mark = browser.evaluate("document.querySelector('figure use').getBoundingClientRect().toJSON()")
    picture = browser.evaluate("document.querySelector('figure image').getBoundingClientRect().toJSON()")
    for low, size in (("x", "width"), ("y", "height")):
        assert mark[low] + mark[size] / 2 == pytest.approx(picture[low] + picture[size] / 2, abs=20)
    assert browser.complaints() == []
    assert all(url.startswith(("file:", "data:", "about:")) for url in browser.requested())
