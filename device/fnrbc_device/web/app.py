"""All pages of the device in one application, behind one middleware."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from fnrbc_device.errors import FnrbcError
from fnrbc_device.language import N_, _
from fnrbc_device.web import calibration, exports, language, learn, quality, review, review_views, sessions
from fnrbc_device.web import session_commands as orders
from fnrbc_device.web.access import pages as access_pages
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.events import describe
from fnrbc_device.web.middleware import AccessMiddleware
from fnrbc_device.web.rendering import render
from fnrbc_device.web.snapshot import LiveView
from fnrbc_device.web.stream import Viewers

NO_PAGE: Final = N_("There is no page at this address.")

_log = logging.getLogger(__name__)

Respond = Callable[[Request], Awaitable[Response]]


def application(context: WebContext, viewers: Viewers, access: Authentication) -> ASGIApp:
    """Put the pages together.

    Parameters
    ----------
    context
        What they show.
    viewers
        Of the live stream.
    access
        Who may come in.
    """
    routes = [
        Route("/", _live_page),
        Route("/api/state", _state(context.live)),
        Route("/events", viewers, methods=["GET"]),
        *orders.routes(context),
        *sessions.routes(context),
        *exports.routes(context),
        *review.routes(context),
        *review_views.routes(context),
        *learn.routes(context),
        *calibration.routes(context),
        *quality.routes(context),
        *access_pages.routes(access),
        *language.routes(),
        Mount("/static", StaticFiles(packages=[("fnrbc_device.web", "static")])),
    ]
    pages = Starlette(routes=routes, exception_handlers={FnrbcError: _failed, HTTPException: _refused})
    return AccessMiddleware(pages, access, context.language)


async def _failed(_request: Request, error: Exception) -> Response:
    """What the device cannot do now. The sentence may name files of this machine: it goes into the log alone."""
    _log.error("a page could not be made: %s", error)
    return PlainTextResponse(_("this cannot be done now; the log of the device says why") + "\n", 503)


async def _refused(request: Request, error: Exception) -> Response:
    """Why a request was refused: a page for a person, the words alone for a program."""
    assert isinstance(error, HTTPException)
    words = _(NO_PAGE) if error.detail == HTTPStatus.NOT_FOUND.phrase else error.detail
    if "text/html" in request.headers.get("accept", ""):
        answer: Response = render(request, "refused.html", error.status_code, fault=words, back="/")
    else:
        answer = PlainTextResponse(words, error.status_code)
    answer.headers.update(error.headers or {})
    return answer


async def _live_page(request: Request) -> Response:
    return render(request, "live.html")


def _state(live: LiveView) -> Respond:
    async def respond(_request: Request) -> Response:
        shown = live.newest()
        return JSONResponse(describe(shown) if shown else {"state": "starting"})

    return respond
