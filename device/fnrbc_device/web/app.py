"""All pages of the device in one application, behind one guard."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fnrbc_device.web.events import describe
from fnrbc_device.web.guard import Guard
from fnrbc_device.web.instrument import Instrument
from fnrbc_device.web.live import LiveView
from fnrbc_device.web.rendering import STATIC, render, static_file
from fnrbc_device.web.stream import Viewers

Respond = Callable[[Request], Awaitable[Response]]


def application(instrument: Instrument, viewers: Viewers) -> ASGIApp:
    """Put the pages together.

    Parameters
    ----------
    instrument
        What they show.
    viewers
        Of the live stream.
    """
    routes = [
        Route("/", _live_page),
        Route("/api/state", _state(instrument.live)),
        Route("/events", viewers, methods=["GET"]),
        *(Route(f"/static/{name}", _constant(static_file(name), kind)) for name, kind in STATIC.items()),
    ]
    return Guard(Starlette(routes=routes))


async def _live_page(request: Request) -> Response:
    return render(request, "live.html")


def _constant(content: bytes, media_type: str) -> Respond:
    async def respond(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return respond


def _state(live: LiveView) -> Respond:
    async def respond(_request: Request) -> Response:
        shown = live.newest()
        return JSONResponse(describe(shown) if shown else {"state": "starting"})

    return respond
