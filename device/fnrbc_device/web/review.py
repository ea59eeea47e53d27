"""The review page: a gallery of candidates, and what people decide on them."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fnrbc_device.contract.log_records import Judgement
from fnrbc_device.counting.claim_words import claim_words
from fnrbc_device.counting.recount import column
from fnrbc_device.errors import ReviewError
from fnrbc_device.journal.read_only import reading
from fnrbc_device.language import _, resay
from fnrbc_device.records import INDETERMINATE
from fnrbc_device.sessions import reviews
from fnrbc_device.sessions.decisions import Decisions, require_blind
from fnrbc_device.sessions.lookup import newest
from fnrbc_device.sessions.reviews import Candidate, Group, Reader, Review
from fnrbc_device.sessions.verified_count import agreement, tally_of
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.long_poll import LongPoll
from fnrbc_device.web.record import BEYOND, journal_of, refusals
from fnrbc_device.web.rendering import render

MAX_BODY: Final = 4096
"""Bytes of a decision; with the longest note allowed it has some 1,500."""

SESSIONS_LISTED: Final = 20
"""Of the newest, to choose from; the page of sessions lists all."""


class Asked(BaseModel):
    """What a browser asks for: a decision on a cell, or that one is taken back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    session: Annotated[str, Field(max_length=64)]
    cell: Annotated[int, Field(ge=1, lt=BEYOND)]
    decision: Literal[Judgement, "undone"]
    class_name: Annotated[str, Field(max_length=256)] = ""
    undoes: Annotated[int, Field(ge=0, lt=BEYOND)] = 0
    """``seq`` of the decision that is taken back."""
    reader: Reader = 1
    note: Annotated[str, Field(max_length=256)] = ""
    request: Annotated[str, Field(max_length=64)] = ""
    """The browser's own name for it: sent again, it is not done again."""


def routes(context: WebContext) -> list[Route]:
    """The page and what it asks for."""
    return [
        Route("/review", _page(context)),
        Route("/review/cells", _cells(context)),
        Route("/review/places", _places(context)),
        Route("/review/crop/{session}/{cell:int}/{view:int}.png", _crop(context)),
        Route("/review/told", _told(context.told)),
        Route("/review/decisions", _decide(context), methods=["POST"]),
    ]


def _page(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        user, reader = require(request, "reviewer"), _reader(request)
        listed = _sessions(context)
        session = request.query_params.get("session") or (listed[0]["session"] if listed else "")
        if not session:
            return render(request, "review_empty.html")
        with refusals(404), reading(journal_of(context)) as connection:
            basis = reviews.basis(connection, session)
            barred = _barred(connection, session, user.name, reader)
        return render(
            request,
            "review.html",
            session=session,
            reader=reader,
            barred=barred,
            classes=list(basis.classes),
            target=basis.target,
            threshold=basis.threshold,
            listed=listed,
        )

    return respond


def _barred(connection: sqlite3.Connection, session: str, name: str, reader: Reader) -> str:
    """Why this person's decisions as this reader would be refused; empty where they would not."""
    try:
        require_blind(connection, session, name, reader)
    except ReviewError as error:
        return resay(error)
    return ""


def _cells(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        session, reader = request.query_params.get("session", ""), _reader(request)
        since = _number(request.query_params.get("since", "0"))
        with refusals(404), reading(journal_of(context)) as connection:
            newest = reviews.last_seq(connection)
            if since == newest:
                return JSONResponse({"seq": newest})
            found = reviews.shown(connection, session, since)
            told = reviews.reviews(connection, session, reader, since)
            stand = reviews.groups(connection, session, reader)
            judged_by = reviews.basis(connection, session)
            tally = tally_of(stand, judged_by)
            agreed = agreement(connection, session) if tally.complete else None
            signed = reviews.signed(connection, session)
        return JSONResponse(
            {
                "seq": newest,
                "cells": [_cell(one) for one in found],
                "decisions": [_decision(one) for one in told],
                "tally": {**asdict(tally), "claim": claim_words(tally.claim, judged_by.provisional)},
                "machine": _machine(stand),
                "agreement": asdict(agreed) if agreed else None,
                "signed": signed,
            }
        )

    return respond


def _places(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        with refusals(404), reading(journal_of(context)) as connection:
            found = reviews.places(connection, request.query_params.get("session", ""))
        return JSONResponse({"places": [[island, round(x), round(y)] for island, x, y in found]})

    return respond


def _crop(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        with refusals(404), reading(journal_of(context)) as connection:
            cell, view = (min(request.path_params[name], BEYOND) for name in ("cell", "view"))
            png = reviews.crop(connection, request.path_params["session"], cell, view)
        if png is None:
            raise HTTPException(404, _("no such picture of this cell was kept"))
        return Response(png, media_type="image/png")

    return respond


def _told(told: LongPoll) -> Callable[[Request], Awaitable[Response]]:
    """Answers as soon as somebody has decided on a cell, of whatever session; what, the cells say."""

    async def respond(request: Request) -> Response:
        require(request, "reviewer")
        return JSONResponse({"number": await told.other_than(_number(request.query_params.get("known", "")))})

    return respond


def _decide(context: WebContext) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        reviewer = require(request, "reviewer").name
        asked = await _asked(request)
        with refusals(409):
            seq = await run_in_threadpool(_take_down, context, asked, reviewer)
        context.told.tell()
        return JSONResponse({"seq": seq, "reviewer": reviewer})

    return respond


def _take_down(context: WebContext, asked: Asked, reviewer: str) -> int:
    with Decisions(journal_of(context), context.device, context.clock) as handler:
        if asked.decision == "undone":
            return handler.undo(asked.session, asked.undoes, reviewer, reader=asked.reader, request=asked.request)
        return handler.decide(
            asked.session,
            asked.cell,
            asked.decision,
            reviewer,
            class_name=asked.class_name,
            reader=asked.reader,
            note=asked.note,
            request=asked.request,
        )


async def _asked(request: Request) -> Asked:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise HTTPException(413, _("a decision has at most %(most)s bytes; send one at a time", most=MAX_BODY))
    try:
        return Asked.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the message"
        raise HTTPException(422, f"{where}: {first['msg']}; send what the page sends") from error


def _sessions(context: WebContext) -> list[dict[str, str]]:
    """The newest sessions, the newest first; none where nothing was counted yet."""
    if context.journal_path is None or not context.journal_path.is_file():
        return []
    with refusals(404), reading(context.journal_path) as connection:
        rows = newest(connection, SESSIONS_LISTED)
    return [{"session": session, "started": started[:16].replace("T", " ")} for session, started in rows]


def _reader(request: Request) -> Reader:
    return 2 if request.query_params.get("reader") == "2" else 1


def _number(words: str) -> int:
    return int(words) if words.isdecimal() and len(words) < 16 else 0


def _machine(stand: list[Group]) -> dict[str, int]:
    """The machine's own count, whatever people decided."""
    counts = dict.fromkeys(("fnrbc", "leukocytes", "other", "indeterminate"), 0)
    for group in stand:
        counts[column(group.verdict)] += group.cells
    return counts


def _cell(one: Candidate) -> dict[str, Any]:
    return {
        "cell": one.cell,
        "counted": one.counted,
        "candidate": one.verdict.is_candidate,
        "indeterminate": one.verdict.class_name == INDETERMINATE,
        "class": one.verdict.class_name,
        "p": round(one.verdict.target_probability, 4),
        "island": one.island,
        "x_um": round(one.x_um, 1),
        "y_um": round(one.y_um, 1),
        "diameter_um": round(one.diameter_um, 1),
        "nucleus_ratio": round(one.nucleus_ratio, 2),
        "views": one.views,
        "pictures": one.pictures,
        "around_um": round(one.around_um, 2),
    }


def _decision(one: Review) -> dict[str, Any]:
    return {
        "seq": one.seq,
        "cell": one.cell,
        "reviewer": one.reviewer,
        "decision": one.decision,
        "class": one.class_name,
        "undoes": one.undoes,
        "at": one.at_utc,
        "request": one.request,
    }
