"""Sessions to take along: a file of each format, with a hash in the specimen's place unless an admin asks otherwise."""

from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, cast, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fnrbc_device.errors import ReviewError, UsageError
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.laboratory.letters import letter_of_session, written
from fnrbc_device.laboratory.settings import LetterForm
from fnrbc_device.language import _, resay
from fnrbc_device.reporting.session_export import MEDIA_TYPES, SUFFIXES, FormatName, export, without_names
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.sessions import OpenRecord, opened

FILES: Final = {form: (kind, SUFFIXES[form]) for form, kind in MEDIA_TYPES.items()} | {
    "fhir": ("application/fhir+json", ".fhir.json"),
    "hl7": ("x-application/hl7-v2+er7; charset=utf-8", ".hl7"),
}
"""What can be taken along: its media type, and how the file's name ends."""


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
            raise HTTPException(405, _("a file with the specimen's id is put on record: take it by the session's page"))
        form = str(request.path_params["form"])
        if form not in FILES:
            raise HTTPException(404, _("there is no such format; there are %(known)s", known=", ".join(FILES)))
        with opened(context, request.path_params["session"]) as record:
            try:
                content = _written(form, record, named, context)
            except UsageError as error:
                return PlainTextResponse(f"{error}\n", 501)
            except ReviewError as error:
                raise HTTPException(409, resay(error)) from error
            session = record.entry.session
        if named:
            _note(context, user.name, f"{form} of {session} with the specimen's id")
        return Response(content, headers=_headers(form, session))

    return respond


def _written(form: str, record: OpenRecord, named: bool, context: WebContext) -> bytes:
    if form in get_args(LetterForm):
        settings = context.laboratory
        letter = letter_of_session(record.connection, record.path, record.entry.session, context.site, settings, named)
        return written(letter, cast(LetterForm, form))
    entry = record.entry if named else without_names(record.entry, record.path.parent)
    return export(cast(FormatName, form), record.connection, record.path, entry)


def _headers(form: str, session: str) -> dict[str, Any]:
    kind, ending = FILES[form]
    return {"content-type": kind, "content-disposition": f'attachment; filename="fnrbc-{session}{ending}"'}


def _note(context: WebContext, who: str, what: str) -> None:
    """Put on record who took ids off the device."""
    assert context.journal_path is not None
    with closing(CommandLog(context.journal_path, context.device, context.clock)) as command_log:
        command_log.audit(who, "export", "", what)
