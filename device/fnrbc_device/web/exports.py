"""Sessions to take along: a file of each format, with a hash in the specimen's place unless an admin asks otherwise."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, cast, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fnrbc_device.errors import UsageError
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.reporting.session_export import MEDIA_TYPES, SUFFIXES, FormatName, export, without_names
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.sessions import OpenRecord, opened


def routes(context: WebContext) -> list[Route]:
    """One download a format: GET, for viewers; POST gives the specimen's id and the note too, to admins, on record."""
    path = "/sessions/{session}/export.{form}"
    return [
        Route(path, _download(context, named=False), methods=["GET"]),
        Route(path, _download(context, named=True), methods=["POST"]),
    ]


def _download(context: WebContext, named: bool) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        user = require(request, "admin" if named else "viewer")
        if not named and "specimen" in request.query_params:
            raise HTTPException(405, "a file with the specimen's id is put on record: take it by the session's page")
        if request.path_params["form"] not in get_args(FormatName):
            raise HTTPException(404, f"there is no such format; there are {', '.join(MEDIA_TYPES)}")
        form = cast(FormatName, request.path_params["form"])
        with opened(context, request.path_params["session"]) as record:
            try:
                content = _written(form, record, named)
            except UsageError as error:
                return PlainTextResponse(f"{error}\n", 501)
            session = record.entry.session
        if named:
            _note(context, user.name, f"{form} of {session} with the specimen's id")
        return Response(content, headers=_headers(form, session))

    return respond


def _written(form: FormatName, record: OpenRecord, named: bool) -> bytes:
    entry = record.entry if named else without_names(record.entry, record.path.parent)
    return export(form, record.connection, record.path, entry)


def _headers(form: FormatName, session: str) -> dict[str, Any]:
    name = f"fnrbc-{session}{SUFFIXES[form]}"
    return {"content-type": MEDIA_TYPES[form], "content-disposition": f'attachment; filename="{name}"'}


def _note(context: WebContext, who: str, what: str) -> None:
    """Put on record who took ids off the device."""
    assert context.journal_path is not None
    with closing(CommandLog(context.journal_path, context.device, context.clock)) as command_log:
        command_log.audit(who, "export", "", what)
