"""What the review page's addresses answer, and to whom."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette

from fnrbc_device.counting.cell import View
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.records import SessionMeta
from fnrbc_device.sessions import decisions as reviewing
from fnrbc_device.web import long_poll
from fnrbc_device.web.access.user import AT_THE_MICROSCOPE, User
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.review import routes
from fnrbc_device.web.snapshot import LiveView

CONFIRM = {"session": "s1", "cell": 4, "decision": "confirmed", "request": "r1"}


@dataclass
class As:
    """Stands in for the guard: says who asks."""

    app: Any
    user: User

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["fnrbc.user"] = self.user
        await self.app(scope, receive, send)


class Visit:
    """Asks the pages without a network."""

    def __init__(self, path: Path, user: User = AT_THE_MICROSCOPE) -> None:
        context = WebContext(LiveView(), journal_path=path, device="bench")
        self._app = As(Starlette(routes=routes(context)), user)

    def get(self, address: str) -> httpx.Response:
        return self._ask("GET", address)

    def post(self, address: str, **body: Any) -> httpx.Response:
        return self._ask("POST", address, **body)

    def _ask(self, method: str, address: str, **body: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, address, **body)

        return asyncio.run(ask())


@pytest.fixture
def counted(path: Path, make_step: Any) -> Path:
    with Journal.open(path) as journal:
        meta = SessionMeta("0.1.0", "b", "simulation", 0.125)
        journal.begin("s1", datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc), meta)
        views = [View(1.0 - n / 9, n, np.full((120, 120, 3), 7 + n, np.uint8)) for n in range(2)]
        journal.record(make_step(0, [3, 4, 5]), Kept({4: views}))
    return path


@pytest.fixture
def page(counted: Path) -> Visit:
    return Visit(counted)


def test_the_newest_session_is_shown_where_none_is_named(page: Visit) -> None:
    assert 'data-session="s1"' in page.get("/review").text
    assert 'data-reader="2"' in page.get("/review?session=s1&reader=2").text


def test_where_nothing_was_counted_the_page_says_so_and_makes_no_record(tmp_path: Path) -> None:
    page = Visit(tmp_path / "none.sqlite")
    assert "Nothing was counted here yet" in page.get("/review").text
    assert page.post("/review/decisions", json=CONFIRM).status_code == 404
    assert list(tmp_path.iterdir()) == []


def test_a_decision_is_answered_with_its_number_and_asked_again_with_the_same(page: Visit) -> None:
    first = page.post("/review/decisions", json=CONFIRM)
    assert first.json() == {"seq": 5, "reviewer": "microscope"}
    assert page.post("/review/decisions", json=CONFIRM).json() == first.json()
    told = page.get("/review/cells?session=s1").json()
    assert [(one["seq"], one["decision"], one["class"]) for one in told["decisions"]] == [(5, "confirmed", "fnrbc")]
    assert told["tally"]["reviewed"] == 1
    assert page.get("/review/cells?session=s1&since=5").json() == {"seq": 5}


def test_who_waits_is_told_of_a_decision_at_once_and_else_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "HOLD_S", 0.2)

    async def wait_for(decisions: int) -> list[int]:
        board = long_poll.LongPoll()
        waiting = [asyncio.ensure_future(board.other_than(0)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for _ in range(decisions):
            board.tell()
        return [*await asyncio.gather(*waiting), await board.other_than(17)]

    assert asyncio.run(wait_for(0)) == [0, 0, 0, 0]
    assert asyncio.run(wait_for(2)) == [2, 2, 2, 2]


def test_nobody_waits_for_a_decision_once_the_pages_are_closed() -> None:
    async def close_while_waiting() -> tuple[int, int]:
        board = long_poll.LongPoll()
        waiting = asyncio.ensure_future(board.other_than(0))
        await asyncio.sleep(0.01)
        board.close()
        return await asyncio.wait_for(waiting, 1), await asyncio.wait_for(board.other_than(0), 1)

    assert asyncio.run(close_while_waiting()) == (0, 0)


def test_pictures_and_places_are_answered(page: Visit) -> None:
    picture = page.get("/review/crop/s1/4/0.png")
    assert (picture.headers["content-type"], picture.content[1:4]) == ("image/png", b"PNG")
    assert page.get("/review/crop/s1/4/1.png").content not in (b"", picture.content)
    assert page.get("/review/crop/s1/4/2.png").status_code == 404
    assert page.get("/review/crop/s1/5/0.png").status_code == 404
    assert {one["cell"]: one["pictures"] for one in page.get("/review/cells?session=s1").json()["cells"]}[4] == 2
    assert len(page.get("/review/places?session=s1").json()["places"]) == 3


@pytest.mark.parametrize(
    "address", ["/review?session=s9", "/review/cells?session=s9", "/review/places?session=../etc/passwd"]
)
def test_an_unknown_session_is_one_sentence(page: Visit, address: str) -> None:
    answer = page.get(address)
    assert (answer.status_code, answer.text.count("\n")) == (404, 0)
    assert "is not in the record" in answer.text


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"cell": 99}, 409, "cell 99 is not in the count"),
        ({"cell": "4"}, 422, "cell"),
        ({"cell": 10**30}, 422, "cell"),
        ({"decision": "burnt"}, 422, "decision"),
        ({"decision": "undone", "undoes": 77}, 409, "decision 77 of session s1 does not stand"),
        ({"decision": "reclassified", "class_name": "x"}, 409, "class 'x'"),
        ({"session": "s9"}, 409, "s9 is not in the record"),
        ({"surprise": 1}, 422, "surprise"),
        ({"reader": 3}, 422, "reader"),
        ({"note": "n" * 257}, 422, "note"),
        ({"note": "n" * 5000}, 413, "at most"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_the_reason(
    page: Visit, change: dict[str, Any], status: int, words: str
) -> None:
    answer = page.post("/review/decisions", json=CONFIRM | change)
    assert answer.status_code == status
    assert words in answer.text
    assert page.get("/review/cells?session=s1").json()["decisions"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_what_is_no_message_is_refused(page: Visit, body: bytes) -> None:
    assert page.post("/review/decisions", content=body).status_code == 422


def test_only_reviewers_see_and_decide_and_the_record_says_who(counted: Path) -> None:
    page = Visit(counted, User("olga", "operator"))
    for address in ("/review", "/review/cells?session=s1", "/review/places?session=s1", "/review/crop/s1/4/0.png"):
        assert page.get(address).status_code == 403
    assert page.post("/review/decisions", json=CONFIRM).status_code == 403
    answer = Visit(counted, User("rita", "reviewer")).post("/review/decisions", json=CONFIRM)
    assert answer.json()["reviewer"] == "rita"


def test_the_name_at_the_microscope_is_nobodys_in_particular() -> None:
    assert AT_THE_MICROSCOPE.name == reviewing.SHARED_NAME


def test_who_has_read_already_is_told_so_before_deciding_as_the_other_reader(counted: Path) -> None:
    rita, ben = Visit(counted, User("rita", "reviewer")), Visit(counted, User("ben", "reviewer"))
    assert rita.post("/review/decisions", json=CONFIRM).status_code == 200

    words = "rita is the first reader of session s1; the second must be somebody else."
    assert words in rita.get("/review?session=s1&reader=2").text
    for page in (rita.get("/review?session=s1"), ben.get("/review?session=s1&reader=2")):
        assert "must be somebody else" not in page.text
