"""The pages on the network as a stranger meets them: real sockets, TLS, and no good intentions."""

import contextlib
import logging
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fnrbc_device.commands.check import _page
from fnrbc_device.config import load_config
from fnrbc_device.daemon.status_board import About, StatusBoard
from fnrbc_device.errors import ConfigError
from fnrbc_device.health import HealthMonitor
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.systemd import Notifier
from fnrbc_device.mqtt.silent import SilentPublisher
from fnrbc_device.web import bodies, stream
from fnrbc_device.web import connections as connections
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.settings import AccessSettings
from fnrbc_device.web.app import application
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from fnrbc_device.web.stream import Viewers
from fuzzing import Answered, Target, fuzz
from visiting import PASSWORD, Visit, cheaply_hashed

MAKE_CERTIFICATES = Path(__file__).parents[2] / "deploy" / "mqtt" / "make-certificates"
KEPT = cheaply_hashed()
STRANGER = "zebra-keeper"
"""An account that no answer may name."""


def certificates(*words: object, days: int = 397) -> None:
    command = [str(MAKE_CERTIFICATES), *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, env={"DAYS": str(days), "PATH": "/usr/bin:/bin"})


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    certificates("authority", folder)
    certificates("page", folder, "scope-1.lab", "127.0.0.1", "localhost", own_address())
    return folder


def own_address() -> str:
    """An address of this machine that others could have reached; loopback where it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def settings(state: Path, pki: Path, **more: object) -> AccessSettings:
    fields = {"cert_file": pki / "page-scope-1.lab.crt", "key_file": pki / "page-scope-1.lab.key", **more}
    return AccessSettings(state, **fields)  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    with AccountFile(folder / FILE_NAME).changing() as accounts:
        accounts[STRANGER] = Account(STRANGER, "admin", KEPT)
        accounts["rita"] = Account("rita", "reviewer", KEPT)
    return folder


def served(state: Path, pki: Path, host: str = "0.0.0.0") -> WebServer:
    live, journal = LiveView(), state / "journal.sqlite"
    return WebServer(
        live, host, 0, WebContext(live, journal_path=journal), Authentication(settings(state, pki), journal)
    )


@pytest.fixture
def web(state: Path, pki: Path) -> Iterator[WebServer]:
    """A page that the network reaches."""
    server = served(state, pki)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def url(web: WebServer) -> str:
    return f"https://{own_address()}:{web.port}"


@pytest.fixture
def ca(pki: Path) -> Path:
    return pki / "ca.crt"


def paths_of(web: WebServer) -> tuple[str, ...]:
    live = LiveView()
    pages = application(WebContext(live), Viewers(live), Authentication())
    return tuple(sorted({route.path for route in pages._app.routes}))  # type: ignore[attr-defined]


@pytest.fixture
def plain() -> Iterator[WebServer]:
    """A page on loopback as it comes."""
    server = WebServer(LiveView())
    server.start()
    yield server
    server.stop()


def test_no_page_is_shown_without_a_login(web: WebServer, url: str, ca: Path) -> None:
    with Visit(url, ca) as visit:
        for path in (*paths_of(web), "/nothing-here", "/api/anything"):
            path = re.sub(r"{[^}]*}", "1", path)
            for method in ("GET", "HEAD", "POST", "BREW"):
                answer = visit.request(method, path)
                if path in ("/login", "/static/login.css", "/language"):
                    continue
                assert answer.status_code == 401, (method, path)
                assert answer.text in ("log in first\n", "")
        page = visit.get("/review", headers={"accept": "text/html"})
        assert page.status_code == 401
        assert 'action="/login"' in page.text
        assert 'value="/review"' in page.text  # and where to go on to


def test_with_a_login_the_same_pages_are_shown(url: str, ca: Path) -> None:
    with Visit(url, ca) as visit:
        assert visit.log_in("rita", PASSWORD).headers["location"] == "/"
        assert visit.read("/").status_code == 200
        assert visit.get("/nothing-here").status_code == 404


def test_cookies_stay_with_us_and_out_of_scripts(url: str, ca: Path) -> None:
    with Visit(url, ca) as visit:
        first = visit.get("/", headers={"accept": "text/html"}).headers["set-cookie"]
        later = visit.log_in("rita", PASSWORD).headers["set-cookie"]
    for cookie, name in ((first, "__Host-fnrbc-browser"), (later, "__Host-fnrbc-session")):
        assert cookie.startswith(name)
        assert {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"} <= set(cookie.split("; "))
        assert "Domain" not in cookie


def test_a_login_makes_a_new_session_whatever_cookie_came(url: str, ca: Path) -> None:
    with Visit(url, ca) as visit:
        name = f"__Host-fnrbc-session-{httpx.URL(url).port}"
        visit.cookies.set(name, "chosen-by-somebody-else")
        assert visit.get("/api/state").status_code == 401
        assert "chosen" not in visit.log_in("rita", PASSWORD).headers["set-cookie"]


def test_every_answer_over_tls_tells_the_browser_to_stay_with_it(url: str, ca: Path) -> None:
    with Visit(url, ca) as visit:
        for path in ("/", "/login", "/static/login.css", "/nothing"):
            headers = visit.get(path).headers
            assert headers["strict-transport-security"].startswith("max-age=")
            assert "default-src 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "8.8.8.8"])
def test_another_name_is_refused_on_the_network_too(url: str, ca: Path, host: str) -> None:
    with Visit(url, ca) as visit:
        assert visit.get("/login", headers={"host": host}).status_code == 421


def test_a_name_of_the_configuration_is_ours(state: Path, pki: Path, ca: Path) -> None:
    live = LiveView()
    access = Authentication(settings(state, pki, names=("scope-1.lab",)))
    server = WebServer(live, "0.0.0.0", access=access)
    server.start()
    assert server.url == f"https://scope-1.lab:{server.port}/"
    with Visit(f"https://127.0.0.1:{server.port}", ca) as visit:
        assert visit.get("/login", headers={"host": f"Scope-1.lab:{server.port}"}).status_code == 200
        assert visit.get("/login", headers={"host": "scope-2.lab"}).status_code == 421
    server.stop()


def test_old_tls_and_plain_text_are_refused(web: WebServer, ca: Path) -> None:
    old = ssl.create_default_context(cafile=str(ca))
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", web.port), 10) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        old.wrap_socket(connection, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in connection.recv(1000)


def test_the_network_gets_no_page_without_tls_or_accounts(state: Path, pki: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cert_file"):
        WebServer(LiveView(), "0.0.0.0", access=Authentication(AccessSettings(state)))
    with pytest.raises(ConfigError, match="fnrbc user add"):
        WebServer(LiveView(), "0.0.0.0", access=Authentication(settings(tmp_path, pki)))
    with pytest.raises(ConfigError, match="without a password"):
        WebServer(LiveView(), "0.0.0.0", access=Authentication(settings(state, pki, key_file=pki / "ca.crt")))


UPLOAD_MB = 100


def test_a_large_upload_is_refused_before_it_came(plain: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", plain.port), 10) as connection:
        head = f"POST /name HTTP/1.1\r\nHost: localhost\r\nContent-Length: {UPLOAD_MB << 20}\r\n\r\n"
        connection.sendall(head.encode() + bytes(1000))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_large_upload_of_no_stated_size_is_refused_and_not_kept(plain: WebServer) -> None:
    before, sent = resident_mb(), 0
    with socket.create_connection(("127.0.0.1", plain.port), 10) as connection:
        connection.sendall(b"POST /name HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(UPLOAD_MB):
                connection.sendall(piece)
                sent += 1
    assert sent < UPLOAD_MB / 2
    assert resident_mb() - before < 30


def test_an_order_that_was_broken_off_is_not_followed(plain: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    with Visit(plain.url) as visit, caplog.at_level(logging.INFO):
        visit.read("/name")
        cookie = "; ".join(f"{name}={value}" for name, value in visit.cookies.items())
        head = f"POST /name HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nX-Fnrbc-Token: {visit.token}\r\n"
        for length, followed in ((1000, False), (9, True)):
            with socket.create_connection(("127.0.0.1", plain.port), 10) as connection:
                connection.sendall(f"{head}Content-Length: {length}\r\n\r\nname=anna".encode())
                if followed:
                    assert connection.recv(1000).startswith(b"HTTP/1.1 303")
            time.sleep(0.2)
            assert ("anna" in caplog.text) is followed


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def is_shown(port: int) -> bool:
    """Whether a real viewer gets page and picture, soon."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        assert client.get("/").status_code == 200
        with client.stream("GET", "/events") as answer:
            return answer.status_code == 200 and next(answer.iter_lines()).startswith("event")


@contextlib.contextmanager
def many(port: int, number: int, request: bytes) -> Iterator[list[socket.socket]]:
    """Connections that each send the beginning of something, and then sit there."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(number):
            connection = socket.socket()
            stack.callback(connection.close)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            with contextlib.suppress(ConnectionError):
                connection.sendall(request)
            found.append(connection)
        yield found


SLOW_HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
SLOW_BODY = b"POST /name HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nname="
SLOW_READER = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("request_", [b"", SLOW_HEAD, SLOW_BODY], ids=["silent", "slow head", "slow body"])
def test_slow_clients_do_not_keep_a_viewer_out(
    plain: WebServer, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(connections, "SLOW_S", 0.3)
    with many(plain.port, 2 * connections.MAX_CONNECTIONS, request_):
        time.sleep(0.5)
        assert is_shown(plain.port)


def test_who_sends_a_head_or_a_body_slowly_is_cut_off(plain: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    monkeypatch.setattr(bodies, "BODY_S", 0.5)
    monkeypatch.setattr(bodies, "LINGER_S", 0.1)
    with many(plain.port, 1, SLOW_HEAD) as (head,), many(plain.port, 1, SLOW_BODY) as (body,):
        cut_s = {"head": trickled_s(head), "body": trickled_s(body)}
    assert max(cut_s.values()) < 3, cut_s


def trickled_s(connection: socket.socket) -> float:
    """How long one may send a letter now and then."""
    start = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < start + 5:
            connection.sendall(b"a")
            time.sleep(0.05)
    return time.monotonic() - start


def test_viewers_who_do_not_read_make_room_for_one_who_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_VIEWERS", 4)
    monkeypatch.setattr(connections, "SLOW_S", 0.3)
    server = WebServer(LiveView())
    server.start()
    with many(server.port, 4, SLOW_READER):
        deadline = time.monotonic() + 30
        while server.viewers < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        ended = threading.Event()
        posting = threading.Thread(target=post_much, args=(server, ended))
        posting.start()
        try:
            time.sleep(1.0)
            assert is_shown(server.port)
        finally:
            ended.set()
            posting.join()
    server.stop()


def post_much(server: WebServer, ended: threading.Event) -> None:
    """Pictures larger than what the system takes in for a reader."""
    while not ended.wait(0.05):
        server._server.post("frame", b"event: frame\ndata: " + b"x" * 1_000_000 + b"\n\n")


def test_who_stops_reading_a_long_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALLED_S", 0.5)
    server = WebServer(LiveView())
    server.start()
    with many(server.port, 1, SLOW_READER):
        ended = threading.Event()
        posting = threading.Thread(target=post_much, args=(server, ended))
        posting.start()
        deadline = time.monotonic() + 30
        while server.viewers == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        while server.viewers and time.monotonic() < deadline:
            time.sleep(0.01)
        left = server.viewers
        ended.set()
        posting.join()
    server.stop()
    assert left == 0


def test_one_place_on_the_network_cannot_take_all_connections(
    web: WebServer, url: str, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handshakes that are never finished count, too."""
    if own_address() == "127.0.0.1":
        pytest.skip("this machine has no address on a network")
    monkeypatch.setattr(connections, "MAX_OF_PLACE", 8)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection((own_address(), web.port), 5))
        time.sleep(0.3)
        assert len(web._server._connections._guests) <= 8
        with Visit(url, ca) as visit:
            assert visit.get("/login").status_code == 200


def test_a_handshake_that_is_never_finished_ends(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_S", 0.3)
    with socket.create_connection(("127.0.0.1", web.port), 5) as connection:
        connection.sendall(b"\x16\x03\x01")
        assert connection.recv(10) == b""


FUZZED = 1000


def test_random_requests_find_no_crash_no_leak_and_no_growth(
    state: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.3)  # what is never sent need not be waited for
    monkeypatch.setattr(bodies, "LINGER_S", 0.1)
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    secrets = (STRANGER.encode(), str(state).encode(), b"Traceback", b'File "', b"scrypt", b"sqlite3")
    live, journal = LiveView(), state / "journal.sqlite"
    access = Authentication(AccessSettings(state, "always"), journal)
    web = WebServer(live, context=WebContext(live, journal_path=journal), access=access)
    web.start()
    with Visit(web.url) as visit, caplog.at_level(logging.INFO):
        visit.log_in("rita", PASSWORD)
        cookie = "; ".join(f"{name}={value}" for name, value in visit.cookies.items())
        paths = tuple(path for path in paths_of(web) if path != "/logout")
        target = Target(web.port, paths, secrets, None, cookie, visit.token)
        fuzz(target, FUZZED // 4, seed=1)
        before = resident_mb()
        answered: Answered = fuzz(target, FUZZED * 3 // 4, seed=2)
        assert resident_mb() - before < 20
        assert visit.read("/").status_code == 200
    web.stop()
    assert answered.leaks == []
    assert not {status for status in answered.statuses if status >= 500}, answered.statuses
    assert len([status for status in answered.statuses if status >= 200]) >= 5  # it did get somewhere
    assert "Traceback" not in caplog.text
    assert PASSWORD not in caplog.text


def test_a_certificate_that_has_ended_is_told_of(pki: Path, state: Path, tmp_path: Path) -> None:
    certificates("authority", tmp_path / "pki")
    certificates("page", tmp_path / "pki", "old.lab", days=-1)
    cert, key = tmp_path / "pki" / "page-old.lab.crt", tmp_path / "pki" / "page-old.lab.key"
    config = tmp_path / "fnrbc.toml"
    config.write_text(
        f'state_dir = "{state}"\n[mqtt]\nenabled = false\n'
        f'[web]\nhost = "0.0.0.0"\ncert_file = "{cert}"\nkey_file = "{key}"\n'
    )
    finding = _page(load_config(config))
    assert finding.state == "warning"
    assert "has ended" in finding.words
    key.chmod(0o644)
    finding = _page(load_config(config))
    assert (finding.state, "chmod 600" in finding.words) == ("fault", True)
    about, live = About("b", False, 0.1, cert), LiveView()
    status_board = StatusBoard(about, live, SilentPublisher(), Notifier(), HealthMonitor(), SystemClock())
    assert "page_certificate_ended" in status_board.show(None, "idle", "ready").reasons
