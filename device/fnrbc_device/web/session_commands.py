"""What people order from the pages: to start, hold, mark, end and sign off a session. It is on record first."""

import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from fnrbc_device.errors import CommandError, ReviewError
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.specimen import MAX_NOTE, MAX_OPERATOR, MAX_SPECIMEN, written
from fnrbc_device.language import ENGLISH, _, english, resay, speaking
from fnrbc_device.session_state import SessionPlan
from fnrbc_device.sessions.details import Describing
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_device.texts import KIND_WORDS
from fnrbc_device.web.access.user import RoleName, require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.plan import FIELDS, Typed, read_plan
from fnrbc_device.web.rendering import render

VERBS: Final = ("start", "pause", "resume", "stop", "mark")

MAX_MARK: Final = 200
"""Characters of a mark's note: as of the command over MQTT, since it goes to the lab's log like that."""

MAX_BODY: Final = 32 * 1024
"""Bytes of what is posted: all fields of the form at their limits, percent-encoded, have some 7,000."""

DETAILS: Final = {
    "specimen": (english("specimen id"), MAX_SPECIMEN),
    "operator": (english("operator's name"), MAX_OPERATOR),
    "note": (english("note"), MAX_NOTE),
}
"""What may be said of a session until its sign-off: by its name in words, and its most characters."""

START_TIMEOUT_S: Final = 5.0
"""What a person waits to hear that a session has started; a slower start is told as such, and goes on."""

STATUS_BY_CODE: Final = {"malformed": 400, "wrong_state": 409}

Work = Callable[[Request, bytes], Response]


def routes(context: WebContext) -> list[Route]:
    """The form that starts a session, and what may be posted."""
    return [
        Route("/sessions/new", _form(context)),
        Route("/sessions/new", _posted(_start_by_form(context)), methods=["POST"]),
        Route("/sessions/{session}/sign", _posted(_sign(context)), methods=["POST"]),
        Route("/sessions/{session}/withdraw", _posted(_withdraw(context)), methods=["POST"]),
        Route("/sessions/{session}/describe", _posted(_describe(context)), methods=["POST"]),
        Route("/api/session/{verb}", _posted(_command(context)), methods=["POST"]),
    ]


def _posted(work: Work) -> Callable[[Request], Awaitable[Response]]:
    """Read the body, and do the work in a thread of the pool: it waits for the disk."""

    async def respond(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY:
                raise HTTPException(413, _("what was posted is longer than %(most)s bytes; shorten it", most=MAX_BODY))
        return await run_in_threadpool(work, request, body)

    return respond


def _form(context: WebContext) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        require(request, "operator")
        return _show_form(request, context, Typed({}))

    return respond


def _show_form(
    request: Request, context: WebContext, typed: Typed, fault: str = "", status: int = 200
) -> Response:
    return render(
        request,
        "session_new.html",
        status,
        typed=typed,
        fault=fault,
        state=context.control.state,
        kinds=KIND_WORDS,
        kind=typed["kind"] or context.kind,
        objectives=context.objectives,
        pixel_size_um=context.pixel_size_um,
    )


def _start_by_form(context: WebContext) -> Work:
    def work(request: Request, body: bytes) -> Response:
        operator = require(request, "operator").name
        typed = Typed({})
        try:
            typed = Typed(_form_fields(body))
            plan = read_plan(typed, operator, context.objectives)
            _start(context, operator, plan)
        except CommandError as error:
            return _show_form(request, context, typed, _sentence(error), STATUS_BY_CODE[error.code])
        return RedirectResponse("/", 303)

    return work


def _command(context: WebContext) -> Work:
    def work(request: Request, body: bytes) -> Response:
        operator = require(request, "operator").name
        verb = str(request.path_params["verb"])
        if verb not in VERBS:
            raise HTTPException(404, _("there is no order of that name; there are %(known)s", known=", ".join(VERBS)))
        try:
            fields = _json_fields(body)
            if verb == "start":
                plan = read_plan(Typed(fields), operator, context.objectives)
                _start(context, operator, plan)
            else:
                note = written(english("note"), fields.get("note", ""), MAX_MARK) if verb == "mark" else ""
                _ask(context, operator, verb, detail=note)
        except CommandError as error:
            return JSONResponse({"error": _sentence(error)}, STATUS_BY_CODE[error.code])
        return JSONResponse({"state": context.control.state})

    return work


def _sign(context: WebContext) -> Work:
    def order(session: str, signer: str, fields: dict[str, str]) -> None:
        reason = written(english("reason"), fields.get("reason", ""), MAX_NOTE)
        with closing(SignOff(_journal(context), context.device, context.clock)) as signing:
            signing.sign(session, signer, context.controls, reason)

    return _on_record("reviewer", order)


def _withdraw(context: WebContext) -> Work:
    def order(session: str, who: str, fields: dict[str, str]) -> None:
        reason = written(english("reason"), fields.get("reason", ""), MAX_NOTE)
        with closing(SignOff(_journal(context), context.device, context.clock)) as signing:
            signing.withdraw(session, who, reason)

    return _on_record("reviewer", order)


def _describe(context: WebContext) -> Work:
    def order(session: str, who: str, fields: dict[str, str]) -> None:
        told = {name: written(words, fields[name], most) for name, (words, most) in DETAILS.items() if name in fields}
        with closing(Describing(_journal(context), context.device, context.clock)) as describing:
            describing.describe(session, who, **told)

    return _on_record("operator", order)


def _on_record(role: RoleName, order: Callable[[str, str, dict[str, str]], None]) -> Work:
    """Follow an order about one session on record, and show the session, or why it was refused."""

    def work(request: Request, body: bytes) -> Response:
        who, session = require(request, role).name, str(request.path_params["session"])
        try:
            with speaking(ENGLISH):  # the record, and the messages to the laboratory, have one language
                order(session, who, _form_fields(body))
        except (CommandError, ReviewError) as error:
            return render(request, "refused.html", 409, fault=_sentence(error), back=f"/sessions/{session}")
        return RedirectResponse(f"/sessions/{session}", 303)

    return work


def _journal(context: WebContext) -> Path:
    if context.journal_path is None or not context.journal_path.is_file():
        raise HTTPException(404, _("this device has no record"))
    return context.journal_path


def _ask(
    context: WebContext, who: str, verb: str, plan: SessionPlan | None = None, detail: str = ""
) -> None:
    """Follow an order if the state allows it, once it is on record."""
    if context.journal_path is None:
        raise HTTPException(503, _("this page shows a count that nobody records; nothing can be ordered here"))
    with closing(CommandLog(context.journal_path, context.device, context.clock)) as command_log:
        context.control.ask(verb, lambda: _record(command_log, who, verb, detail), plan)


def _start(context: WebContext, who: str, plan: SessionPlan) -> None:
    """Start a session, and know that it started before anybody is told so."""
    _ask(context, who, "start", plan)
    why = context.control.outcome_of_start(START_TIMEOUT_S)
    if why:
        raise CommandError("wrong_state", why)


def _record(command_log: CommandLog, who: str, verb: str, detail: str) -> None:
    command_log.audit(who, verb, "", detail)


def _form_fields(body: bytes) -> dict[str, str]:
    """Fields of a form, but the token, which the middleware has read."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError as error:  # of it is a character that is none
        raise CommandError("malformed", english("the form came damaged; fill it in again")) from error
    return {name: value for name, value in pairs if name != "token"}


def _json_fields(body: bytes) -> dict[str, str]:
    """Fields of an order: an object of texts and numbers, or nothing at all."""
    try:
        found: Any = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise CommandError("malformed", english("the order is no JSON; send one object")) from error
    if not isinstance(found, dict) or not all(_is_field(one) for one in found.values()):
        known = ", ".join(FIELDS)
        words = english("the order is no object of texts and numbers; there are %(known)s", known=known)
        raise CommandError("malformed", words)
    return {str(name): "" if value is None else str(value) for name, value in found.items()}


def _is_field(value: object) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def _sentence(error: Exception) -> str:
    words = resay(error).removesuffix(".")
    return f"{words[:1].upper()}{words[1:]}."
