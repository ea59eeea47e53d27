"""What reviewers see beside the candidates: what lies round a cell, all cells, the slide, where readers disagree."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fnrbc_device.journal.read_only import reading
from fnrbc_device.language import _
from fnrbc_device.sessions import reviews
from fnrbc_device.sessions.disagreements import disagreements
from fnrbc_device.sessions.reviews import Candidate, Review
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.record import BEYOND, journal_of, refusals


def routes(context: WebContext) -> list[Route]:
    """What the page asks for."""
    return [
        Route("/review/all", _all(context)),
        Route("/review/around/{session}/{cell:int}/{view:int}.jpg", _around(context)),
        Route("/review/differing", _differing(context)),
        Route("/review/mosaics", _mosaics(context)),
        Route("/review/mosaic/{session}/{island:int}.jpg", _mosaic(context)),
    ]


def _all(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        session = request.query_params.get("session", "")
        with refusals(404), reading(journal_of(context)) as connection:
            names = [*reviews.basis(connection, session).classes, "indeterminate"]
            found = reviews.everything(connection, session)
        return JSONResponse({"classes": names, "cells": [_short(one, names) for one in found]})

    return respond


def _around(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        cell, view = (min(request.path_params[name], BEYOND) for name in ("cell", "view"))
        with refusals(404), reading(journal_of(context)) as connection:
            jpeg = reviews.around(connection, request.path_params["session"], cell, view)
        return _picture(jpeg, _("what lies round this view was not kept"))

    return respond


def _differing(context: WebContext) -> Callable[[Request], Response]:
    """What two readers said of the same cells; a second reader, who reads blind, is told nothing."""

    def respond(request: Request) -> Response:
        require(request, "reviewer")
        if request.query_params.get("reader") == "2":
            raise HTTPException(403, _("the second reader reads blind; look at this as the first"))
        with refusals(404), reading(journal_of(context)) as connection:
            found = disagreements(connection, request.query_params.get("session", ""))
        return JSONResponse(
            {
                "cells": [
                    {"cell": one.cell, "first": _said(one.first), "second": _said(one.second),
                     "settled": _said(one.settled) if one.settled else None}
                    for one in found
                ]
            }
        )  # fmt: skip

    return respond


def _mosaics(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        with refusals(404), reading(journal_of(context)) as connection:
            found = reviews.mosaics(connection, request.query_params.get("session", ""))
        return JSONResponse({"mosaics": [asdict(one) for one in found]})

    return respond


def _mosaic(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        island = min(request.path_params["island"], BEYOND)
        with refusals(404), reading(journal_of(context)) as connection:
            jpeg = reviews.mosaic(connection, request.path_params["session"], island)
        return _picture(jpeg, _("how this island looked was not kept"))

    return respond


def _picture(jpeg: bytes | None, why_not: str) -> Response:
    if jpeg is None:
        raise HTTPException(404, why_not)
    return Response(jpeg, media_type="image/jpeg")


def _short(one: Candidate, names: list[str]) -> list[Any]:
    """[cell, class, p, island, x, y, diameter, nucleus, views, pictures, side of the surroundings]: there are many."""
    where = (one.island, round(one.x_um, 1), round(one.y_um, 1))
    measures = (round(one.diameter_um, 1), round(one.nucleus_ratio, 2))
    of_class = names.index(one.verdict.class_name)
    p = round(one.verdict.target_probability, 4)
    return [one.cell, of_class, p, *where, *measures, one.views, one.pictures, round(one.around_um, 2)]


def _said(one: Review) -> dict[str, str]:
    return {"reviewer": one.reviewer, "decision": one.decision, "class": one.class_name}
