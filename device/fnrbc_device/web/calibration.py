"""The button on *Learn* that tunes the network to this laboratory, and how far that is."""

from collections.abc import Callable
from contextlib import closing

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.language import _
from fnrbc_device.learning.calibrating import Calibrating
from fnrbc_device.model.weighing import Weighed
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext

Respond = Callable[[Request], Response]


def routes(context: WebContext) -> list[Route]:
    """The order, and how far it is."""
    return [
        Route("/learn/calibration", _told(context)),
        Route("/learn/calibration", _ordered(context), methods=["POST"]),
    ]


def _told(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        require(request, "reviewer")
        standing = _here(context).standing
        return JSONResponse({"state": standing.state, "done": standing.done, "of": standing.of})

    return respond


def _ordered(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        who = require(request, "admin").name
        calibrating = _here(context)
        if calibrating.barred:
            raise HTTPException(409, _(calibrating.barred))
        if context.control.state in ("starting", "running", "stopping"):
            raise HTTPException(409, _("A session is counting; end it first."))
        if not calibrating.start(lambda weighed: _record(context, who, weighed)):
            raise HTTPException(409, _("A calibration is under way; wait for its end."))
        return RedirectResponse("/learn#calibration", 303)

    return respond


def _here(context: WebContext) -> Calibrating:
    if context.calibrating is None:
        raise HTTPException(404, _("Nothing can be calibrated here."))
    return context.calibrating


def _record(context: WebContext, who: str, weighed: Weighed) -> None:
    assert context.journal_path is not None
    with closing(CommandLog(context.journal_path, context.device, context.clock)) as command_log:
        detail = f"{weighed.now.bundle_id[:16]}, tuned here of {weighed.before.bundle_id[:16]}"
        command_log.audit(who, "bundle-install", "", detail)
