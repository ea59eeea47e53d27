"""Random requests to the pages, well-formed and not: paths, methods, headers and bodies that nobody foresaw."""

import random
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes

METHODS = ("GET",) * 8 + ("POST",) * 6 + ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW")
ODD_PATHS = (
    "/../etc/passwd", "/static/../guard.py", "/static/%2e%2e/guard.py", "/static/..%2f..%2fetc%2fpasswd",
    "//etc/passwd", "/%00", "/static/page.css%00.js", "/.git/config", "/accounts.json", "/page.key", "/journal.sqlite",
    "*", "http://evil.example/", "/%ff%fe", "/login/", "/name?next=//evil.example", "/static/....//....//accounts.json",
)  # fmt: skip
NAMES = (
    "host", "cookie", "origin", "sec-fetch-site", "content-type", "content-length", "transfer-encoding",
    "x-fnrbc-token", "accept", "range", "if-none-match", "x-forwarded-for", "x-forwarded-host", "forwarded",
    "upgrade", "connection", "expect", "authorization", "x-original-url", "accept-encoding", "last-event-id",
)  # fmt: skip
VALUES = (
    "", "0", "-1", "99999999999999999999", "null", "chunked", "websocket", "100-continue", "text/html", "evil.example",
    "multipart/form-data", "multipart/form-data; boundary=x", "application/json", "application/x-www-form-urlencoded",
    "bytes=0-", "keep-alive", "close", "127.0.0.1", "fnrbc-session-0=x; fnrbc-browser-0=...", "\u00e9", "a" * 5000,
    "gzip", "../../etc/passwd", "' OR 1=1 --", "<script>alert(1)</script>", "{{7*7}}", "%s%n", "=?utf-8?q?x?=",
)  # fmt: skip
FIELDS = ("token", "name", "password", "next", "cell", "session", "id", "verdict", "note", "specimen", "seq")
LATER_S = 10.0
"""No answer within this time is one that never comes."""


@dataclass(slots=True)
class Answered:
    """What came back."""

    statuses: Counter[int] = field(default_factory=Counter)
    """0 for a connection that was closed without an answer."""
    leaks: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go, and with what they get past the first door."""

    port: int
    paths: tuple[str, ...]
    """Of the application, with their parameters in braces."""
    secrets: tuple[bytes, ...]
    """What no answer may hold."""
    ca: Path | None = None
    cookie: str = ""
    token: str = ""


def fuzz(target: Target, number: int, seed: int, each: Callable[[int], None] = lambda _: None) -> Answered:
    """Send random requests, each on a connection of its own, and look at every answer."""
    rng, answered = random.Random(seed), Answered()
    trust = ssl.create_default_context(cafile=str(target.ca)) if target.ca else None
    for index in range(number):
        request = random_request(rng, target)
        with _connected(target.port, trust) as connection:
            answer = _exchange(connection, request)
        status = int(answer[9:12]) if answer[9:12].isdigit() else 0
        answered.statuses[status] += 1
        answered.leaks += [f"{secret!r} after {request[:200]!r}" for secret in target.secrets if secret in answer]
        each(index)
    return answered


def random_request(rng: random.Random, target: Target) -> bytes:
    """One request: mostly of the right form, now and then bytes of no form at all."""
    if rng.random() < 0.03:
        return rng.randbytes(rng.randrange(1, 2000)) + b"\r\n\r\n"
    body = _body(rng, target) if rng.random() < 0.5 else b""
    headers = [("Host", "127.0.0.1")] if rng.random() < 0.97 else []
    if rng.random() < 0.7:
        headers += [("Cookie", target.cookie), ("X-Fnrbc-Token", target.token)]
    if rng.random() < 0.4:
        headers.append(("Accept", "text/html"))
    if body and rng.random() < 0.95:
        headers.append(("Content-Length", str(len(body))))
        headers.append(("Content-Type", rng.choice(("application/x-www-form-urlencoded", "application/json"))))
    headers += [(rng.choice(NAMES), rng.choice(VALUES)) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    lines = [f"{rng.choice(METHODS)} {_path(rng, target)} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (*headers, ("Connection", "close"))]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + body


def _path(rng: random.Random, target: Target) -> str:
    path = rng.choice(ODD_PATHS if rng.random() < 0.2 else target.paths)
    while "{" in path:
        head, _, rest = path.partition("{")
        path = head + _segment(rng) + rest.partition("}")[2]
    if rng.random() < 0.3:
        pairs = (f"{rng.choice(FIELDS)}={_segment(rng)}" for _ in range(rng.randrange(1, 4)))
        path += "?" + "&".join(pairs)
    return path


def _segment(rng: random.Random) -> str:
    segments = (
        str(rng.randrange(-5, 2**65)), quote_from_bytes(rng.randbytes(rng.randrange(1, 20))), "s-1", "1", "nan",
        "..%2f..%2fetc%2fpasswd", "%3Cscript%3E", "a" * rng.randrange(1, 3000), "1e999", "%00",
    )  # fmt: skip
    return rng.choice(segments)


def _body(rng: random.Random, target: Target) -> bytes:
    kind = rng.random()
    if kind < 0.2:
        return rng.randbytes(rng.randrange(1, 4000))
    if kind < 0.25:
        return b"x" * 70_000
    value = rng.choice((*VALUES, "1", "s-1", "fnrbc"))
    if kind < 0.6:
        fields = "&".join(f"{rng.choice(FIELDS)}={value}" for _ in range(rng.randrange(1, 5)))
        return f"token={target.token}&{fields}".encode()
    field_alone = f'{{"{rng.choice(FIELDS)}": "x"}}'.encode()
    return rng.choice((b"[]", b"null", b"{", b"[" * 3000, b'{"cell": 1e999}', field_alone))


@contextmanager
def _connected(port: int, trust: ssl.SSLContext | None) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), LATER_S) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each exchange waits 40 ms for nothing
        if trust is None:
            yield plain
            return
        with trust.wrap_socket(plain, server_hostname="127.0.0.1") as safe:
            yield safe


def _exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and read its answer; of a stream the beginning."""
    answer = b""
    try:
        connection.sendall(request)
        while piece := connection.recv(65536):
            answer += piece
            if b"text/event-stream" in answer or len(answer) > 2_000_000:
                break
    except (ConnectionError, ssl.SSLError):
        pass  # a refusal, too, if one without words
    return answer
