"""The page's server: newest events to every viewer, nothing to anyone else, and a quick end."""

import base64
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, get_args

import cv2
import httpx
import numpy as np
import pytest

from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.errors import ConfigError
from fnrbc_device.health import REASONS, Health
from fnrbc_device.records import (
    BadFrame,
    Frame,
    HealthState,
    Interval,
    Mark,
    Pose,
    Rejection,
    SessionState,
    Step,
    Tally,
)
from fnrbc_device.texts import HEALTH_STATES, REJECTIONS, RESEARCH_USE_ONLY, SESSION_STATES, UNVERIFIED, health_reason
from fnrbc_device.web import events, stream
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import BrokerLine, LiveView, Snapshot

COUNTING = Health(
    state="counting",
    reasons=(),
    fps=29.6,
    pan_um_s=0.0,
    sharpness=1.0,
    latency_ms_p50=None,
    latency_ms_p95=None,
)


def snapshot(index: int = 1, image: Any = None, marks: list[Mark] | None = None, **changes: Any) -> Snapshot:
    image = np.full((480, 640, 3), 200, np.uint8) if image is None else image
    tally = Tally(
        cells=index, fnrbc=3, leukocytes=60, fnrbc_per_100_leukocytes=Interval(5.0, 1.04, 14.6), frames=index
    )
    frame = Frame(index, index / 30, image)
    step = Step(frame, Pose(0, 0.0, 0.0), None, marks or [], [], tally, 40.0, 0.9, {})
    fields: dict[str, Any] = {
        "step": step,
        "session_id": "s-1",
        "state": "running",
        "health": COUNTING,
        "pixel_size_um": 0.125,
        "bundle": "b" * 64,
        "simulated": False,
    }
    return Snapshot(**{**fields, **changes})


@pytest.fixture
def live() -> LiveView:
    return LiveView()


@pytest.fixture
def web(live: LiveView) -> Iterator[WebServer]:
    server = WebServer(live)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(web: WebServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web.url, timeout=10) as found:
        yield found


class Viewer:
    """Reads the stream, event by event."""

    def __init__(self, client: httpx.Client) -> None:
        self._stream = client.stream("GET", "/events")
        self.response = self._stream.__enter__()
        self.lines = self.response.iter_lines()

    def next(self, name: str = "") -> tuple[str, dict[str, Any]]:
        """The next event, or the next of that name."""
        found = ""
        for line in self.lines:
            if line.startswith("event: "):
                found = line.removeprefix("event: ")
            elif line.startswith("data: ") and name in ("", found):
                return found, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


@pytest.fixture
def viewer(client: httpx.Client) -> Iterator[Viewer]:
    found = Viewer(client)
    yield found
    found.close()


def wait_until(what: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def picture_of(fields: dict[str, Any]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(fields["picture"]["jpeg"]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def test_the_newest_snapshot_replaces_the_last(live: LiveView) -> None:
    for index in range(5):
        live.show(snapshot(index))
    shown = live.wait_newer(0, timeout_s=0)
    assert shown.snapshot.step.frame.index == 4
    assert shown.seq == 5
    assert live.wait_newer(shown.seq, timeout_s=0.01) is None


def test_a_waiting_reader_wakes_when_something_is_shown(live: LiveView) -> None:
    later = threading.Timer(0.05, live.show, [snapshot(7)])
    later.start()
    assert live.wait_newer(0, timeout_s=5).snapshot.step.frame.index == 7
    later.join()


def test_showing_costs_the_counting_thread_next_to_nothing(
    live: LiveView, web: WebServer, viewer: Viewer
) -> None:
    image, taken_s = np.zeros((960, 1280, 3), np.uint8), []
    for index in range(100):
        start = time.perf_counter()
        live.show(snapshot(index, image))
        taken_s.append(time.perf_counter() - start)
        time.sleep(0.005)
    assert np.median(taken_s) < 1e-3


def test_picture_marks_and_tally_travel_in_one_event(live: LiveView, viewer: Viewer) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[:, 320:] = (250, 10, 10)
    live.show(snapshot(4, image, [Mark(9, "fnrbc", "target", 100.06, 200.0, 20.0, 0.98)]))
    _, fields = viewer.next("frame")
    assert fields["frame"]["index"] == 4
    assert fields["marks"] == [[9, "target", "fnrbc", 100.1, 200.0, 20.0, 0.98]]
    assert (fields["picture"]["width"], fields["picture"]["height"]) == (640, 480)
    assert fields["tally"]["fnrbc_per_100_leukocytes"] == {"value": 5.0, "low": 1.04, "high": 14.6}
    seen = picture_of(fields)
    assert seen[240, 100].max() < 30
    assert abs(seen[240, 500].astype(int) - (250, 10, 10)).max() < 12  # red stays red: RGB, not BGR


def test_a_large_frame_is_sent_smaller_with_marks_in_frame_pixels(live: LiveView, viewer: Viewer) -> None:
    live.show(snapshot(1, np.zeros((3000, 4000, 3), np.uint8), [Mark(1, "", "open", 2999, 3999, 9, 0)]))
    _, fields = viewer.next("frame")
    assert picture_of(fields).shape == (720, 960, 3)
    assert fields["picture"]["width"] == 4000
    assert fields["marks"][0][3:5] == [2999, 3999]


def test_with_too_many_marks_the_candidates_are_kept(live: LiveView, viewer: Viewer) -> None:
    marks = [Mark(n, "other", "ignored", 1, 1, 1, 1) for n in range(events.MAX_MARKS)]
    marks.append(Mark(0, "fnrbc", "target", 1, 1, 1, 1))
    live.show(snapshot(1, marks=marks))
    _, fields = viewer.next("frame")
    assert fields["marks"][0][1] == "target"
    assert len(fields["marks"]) == events.MAX_MARKS
    assert fields["marks_left_out"] == 1


def test_a_frame_that_was_not_used_says_why_and_what_to_do(live: LiveView, viewer: Viewer) -> None:
    bad = BadFrame(3, 0.1, "unreadable", "000003.png is not a picture")
    step = Step(bad, None, "unreadable", [], [], Tally(frames=3, frames_rejected={"unreadable": 2}), 0, 1, {})
    live.show(snapshot(step=step))
    _, fields = viewer.next("frame")
    assert fields["picture"] is None
    assert not fields["frame"]["used"]
    assert fields["frame"]["reason"]["words"] == "unreadable"
    assert fields["frame"]["reason"]["cure"]
    assert fields["frame"]["detail"] == "000003.png is not a picture"
    assert fields["tally"]["frames_rejected"] == [{"code": "unreadable", "words": "unreadable", "frames": 2}]


def test_every_state_and_reason_of_the_closed_lists_has_words() -> None:
    assert set(REJECTIONS) == set(get_args(Rejection))
    assert set(HEALTH_STATES) == set(get_args(HealthState))
    assert set(SESSION_STATES) == set(get_args(SessionState))
    assert all(health_reason(code) == reason.cure for code, reason in REASONS.items())
    assert health_reason("something_new") == "Something new: the log says more."


def test_the_map_shows_where_the_field_is(live: LiveView, viewer: Viewer) -> None:
    seen = SlideMap(0.125, (480, 640))
    for col in (0.0, 300.0, 600.0):
        seen.paint(Pose(0, 0.0, col), np.full((480, 640, 3), 90, np.uint8))
    live.show(snapshot(1, slide_map=seen))
    _, frame = viewer.next("frame")
    _, fields = viewer.next("map")
    assert frame["frame"]["place"] == {"island": 0, "corner_rc_um": [0, 0], "size_rc_um": [60.0, 80.0]}
    png = cv2.imdecode(np.frombuffer(base64.b64decode(fields["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert png.shape == (30, 78, 4)  # 1,240 x 480 px of 0.125 um at 2 um a map pixel
    assert (png[15, :, 3] > 0).all()
    assert fields["path_rc_um"] == [[30, 40], [30, 78], [30, 115]]


def test_a_viewer_who_comes_late_sees_how_things_stand(live: LiveView, client: httpx.Client) -> None:
    live.show(snapshot(8, state="finished"))
    time.sleep(0.3)
    late = Viewer(client)
    _, fields = late.next("frame")
    assert fields["state"] == "finished"
    assert late.next("beat")[1]["age_s"] >= 0.3
    late.close()


def test_a_quiet_appliance_still_beats(viewer: Viewer) -> None:
    assert viewer.next()[0] == "beat"
    assert viewer.next()[0] == "beat"


def test_pictures_come_twelve_times_a_second_at_most_and_newest_wins(live: LiveView, viewer: Viewer) -> None:
    shown = []
    start = time.monotonic()
    feeding = threading.Thread(
        target=lambda: [(live.show(snapshot(n)), time.sleep(0.01)) for n in range(150)]
    )
    feeding.start()
    while not shown or shown[-1] < 149:  # the last one is never passed over
        shown.append(viewer.next("frame")[1]["frame"]["index"])
    seconds = time.monotonic() - start
    feeding.join()
    assert shown == sorted(set(shown))
    assert 3 < len(shown) <= stream.LIVE_HZ * seconds + 2
    assert max(np.diff(shown)) > 1  # frames were passed over, none queued


def test_a_viewer_who_does_not_read_gets_newer_events_and_no_queue(live: LiveView, web: WebServer) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (720, 960, 3), np.uint8)  # some 600 kB as JPEG
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        lazy.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        wait_until(lambda: web.viewers == 1)
        for index in range(40):
            live.show(snapshot(index, noise))
            time.sleep(0.1)
        taken = b""
        while b'"index":39' not in taken:
            taken += lazy.recv(1 << 20)
        indexes = [int(found) for found in re.findall(rb'"index":(\d+)', taken)]
    assert indexes[-1] == 39
    assert len(indexes) < 20  # of the 40, what lay in the system's own buffers, and the newest


def test_one_viewer_more_than_the_limit_is_refused_and_others_stay(
    monkeypatch: pytest.MonkeyPatch, web: WebServer, client: httpx.Client
) -> None:
    monkeypatch.setattr(stream, "MAX_VIEWERS", 2)
    first, second = Viewer(client), Viewer(client)
    wait_until(lambda: web.viewers == 2)
    third = client.get("/events")
    assert third.status_code == 503
    assert "2 viewers" in third.text
    assert first.next("beat")
    first.close()
    wait_until(lambda: web.viewers == 1)
    second.close()


def test_a_viewer_who_leaves_is_noticed(web: WebServer, client: httpx.Client) -> None:
    leaving = Viewer(client)
    wait_until(lambda: web.viewers == 1)
    leaving.close()
    wait_until(lambda: web.viewers == 0)


def test_the_state_can_be_asked_for_before_the_first_frame_and_after(
    live: LiveView, client: httpx.Client
) -> None:
    assert client.get("/api/state").json() == {"state": "starting"}
    live.show(snapshot(5, broker=BrokerLine(False, 12)))
    state = client.get("/api/state").json()
    assert state["tally"]["leukocytes"] == 60
    assert state["broker"] == {"connected": False, "backlog": 12, "last_error": ""}
    assert state["verified"] is False
    assert "picture" not in state


def test_the_page_says_what_it_must_always_say(client: httpx.Client) -> None:
    page = client.get("/").text
    assert RESEARCH_USE_ONLY in page
    assert UNVERIFIED in page


def test_the_page_asks_for_nothing_from_elsewhere_and_runs_nothing_inline(client: httpx.Client) -> None:
    page = client.get("/").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    for link in links:
        assert re.match(r"/(?!/)", link)
        assert not link.startswith("/static/") or client.get(link).status_code == 200
    assert not re.search(r"<script(?![^>]*src=)(?! type=.application/json.)|\son\w+=|style=", page)


@pytest.mark.parametrize(
    ("state", "reasons", "said"),
    [
        ("counting", ("clock_unsynced",), []),
        ("degraded", ("clock_unsynced", "focus_lost"), ["focus_lost"]),
        ("ready", ("clock_unsynced",), ["clock_unsynced"]),
    ],
)
def test_a_reason_that_says_nothing_against_the_count_is_not_laid_over_its_picture(live, client, state, reasons, said):
    live.show(snapshot(health=replace(COUNTING, state=state, reasons=reasons)))

    assert [one["code"] for one in client.get("/api/state").json()["health"]["reasons"]] == said


@pytest.mark.parametrize("path", ["/", "/api/state", "/static/page.js", "/static/page.css", "/nothing-here"])
def test_every_answer_carries_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "//etc/passwd", "/docs"],
)
def test_no_path_leads_out_of_the_page(web: WebServer, path: str) -> None:
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert raw.recv(65536).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_page_takes_no_orders(client: httpx.Client, method: str) -> None:
    token = re.findall(r'name="token" content="([^"]+)"', client.get("/name").text)[0]
    for path in ("/", "/api/state", "/events"):
        assert client.request(method, path, headers={"x-fnrbc-token": token}).status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:80", ""])
def test_another_name_for_this_machine_is_refused(client: httpx.Client, host: str) -> None:
    assert client.get("/api/state", headers={"host": host}).status_code in (400, 421)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_a_host_that_others_could_reach_is_refused_with_the_cure(live: LiveView, host: str) -> None:
    with pytest.raises(ConfigError, match=r"ssh -L"):
        WebServer(live, host)


def test_a_port_in_use_is_refused_with_the_cure(live: LiveView, web: WebServer) -> None:
    with pytest.raises(ConfigError, match=f"port {web.port} .*0 for any free one"):
        WebServer(live, port=web.port)
    with pytest.raises(ConfigError, match="70000"):
        WebServer(live, port=70000)


def test_it_stops_at_once_with_viewers_of_every_kind(live: LiveView) -> None:
    server = WebServer(live)
    server.start()
    noise = np.random.default_rng(0).integers(0, 255, (720, 960, 3), np.uint8)
    with (
        socket.create_connection(("127.0.0.1", server.port)) as lazy,
        httpx.Client(base_url=server.url) as client,
    ):
        lazy.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        good = Viewer(client)
        for index in range(15):
            live.show(snapshot(index, noise))
            time.sleep(0.1)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 2.5
        with contextlib.suppress(httpx.RemoteProtocolError):  # an end, if not always a polite one
            for _ in good.lines:
                pass
        good.close()
    server.stop()


def test_a_server_that_was_never_started_closes_its_socket(live: LiveView) -> None:
    server = WebServer(live)
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
