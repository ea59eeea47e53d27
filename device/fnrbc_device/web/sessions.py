"""The pages of the record: the list of sessions, one session in full, and several side by side."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fnrbc_device.contract.names import is_segment
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.language import _
from fnrbc_device.records import INDETERMINATE
from fnrbc_device.reporting.recorded_cells import cell_table
from fnrbc_device.reporting.report import GalleryItem
from fnrbc_device.reporting.report_map import map_html
from fnrbc_device.reporting.report_picture import data_uri
from fnrbc_device.reporting.session_report import DRAWN, gallery, islands, provenance_words, signed_why, target, told
from fnrbc_device.sessions.archive import PAGE_SIZE, ArchivedSession, Search, find, happenings, read
from fnrbc_device.sessions.controls import session_standing
from fnrbc_device.sessions.sign_off import asked_why
from fnrbc_device.sessions.waiting import waiting
from fnrbc_device.texts import KIND_WORDS, downloads
from fnrbc_device.web.access.user import RANKS, RoleName, require, user_of
from fnrbc_device.web.comparison import comparison
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.rendering import render

MAX_WORDS: Final = 200
MAX_PAGE: Final = 100_000
MAX_COMPARED: Final = 6
"""Columns that can be read side by side at 1280 px."""

GALLERY: Final = 48
"""Candidates and near misses on the page of a session; the report has more, the review all."""

CROP_QUALITY: Final = 85

Respond = Callable[[Request], Response]


def routes(context: WebContext) -> list[Route]:
    """The pages."""
    return [
        Route("/sessions", _list(context)),
        Route("/sessions/compare", _compare(context)),
        Route("/sessions/{session}", _one(context)),
        Route("/sessions/{session}/proof", _proof(context)),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class OpenRecord:
    """The record, open to be read, and one session of it."""

    connection: sqlite3.Connection
    path: Path
    entry: ArchivedSession


@contextmanager
def opened(context: WebContext, session: str) -> Iterator[OpenRecord]:
    """Open the record to read one session.

    Raises
    ------
    HTTPException
        404: the record has none of that name.
    """
    path = context.journal_path
    if path is None or not is_segment(session) or not path.is_file():
        raise _unknown()
    with reading(path) as connection:
        entry = read(connection, session)
        if entry is None:
            raise _unknown()
        yield OpenRecord(connection, path, entry)


def _list(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        require(request, "viewer")
        search, fault = _search(request)
        page = _page_number(request)
        path = context.journal_path
        found: tuple[list[ArchivedSession], int] = ([], 0)
        if path is not None and path.is_file() and not fault:
            with reading(path) as connection:
                found = find(connection, search, page)
        entries, total = found
        return render(
            request,
            "sessions.html",
            400 if fault else 200,
            entries=[(one, waiting(one)) for one in entries],
            ranks=RANKS,
            total=total,
            page=page,
            pages=max(-(-total // PAGE_SIZE), 1),
            search=search,
            fault=fault,
            may_start=_may(request, "operator"),
            most=MAX_COMPARED,
        )

    return respond


def _compare(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        require(request, "viewer")
        names = list(dict.fromkeys(request.query_params.getlist("s")))
        if not 2 <= len(names) <= MAX_COMPARED:
            return _refused(request, f"{len(names)} sessions are chosen; tick 2 to {MAX_COMPARED} of the list.", 400)
        entries = []
        try:
            for name in names:
                with opened(context, name) as record:
                    entries.append(record.entry)
        except HTTPException as error:
            return _refused(request, error.detail, error.status_code)
        return render(request, "session_compare.html", entries=entries, rows=comparison(entries))

    return respond


def _one(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        require(request, "viewer")
        try:
            with opened(context, request.path_params["session"]) as record:
                connection, path, entry = record.connection, record.path, record.entry
                cells = cell_table(connection, entry.session)
                shown = gallery(connection, path, entry, cells, GALLERY)
                drawn = map_html(islands(connection, path, entry, cells), cells, target(entry), DRAWN)
                happenings_of = happenings(connection, entry.session)
                control = session_standing(connection, entry.session, context.controls)
        except HTTPException as error:
            return _refused(request, error.detail, error.status_code)
        asked = (target(entry), INDETERMINATE)
        for_all_that, reason = signed_why(happenings_of)
        withdrawn = [one for one in happenings_of if one.kind == "withdrawn"]
        return render(
            request,
            "session.html",
            entry=entry,
            provenance=provenance_words(entry, happenings_of),
            happened=[(one.at_utc, told(one)) for one in happenings_of],
            withdrawn=withdrawn[-1] if withdrawn and not entry.signed_utc else None,
            for_all_that=for_all_that,
            reason=reason,
            for_why=asked_why(entry.meta.kind, entry.verified, control),
            waits=waiting(entry),
            control=control,
            kinds=KIND_WORDS,
            downloads=downloads(has_result=entry.meta.kind == "sample" and bool(entry.signed_utc or withdrawn)),
            candidates=[_packed(item) for item in shown if item.class_name in asked],
            near=[_packed(item) for item in shown if item.class_name not in asked],
            drawn=drawn,
            may_sign=_may(request, "reviewer"),
            may_describe=_may(request, "operator"),
            may_name=_may(request, "admin"),
        )

    return respond


def _packed(item: GalleryItem) -> tuple[GalleryItem, list[str]]:
    return item, [data_uri(crop, CROP_QUALITY) for crop in item.crops]


def _proof(context: WebContext) -> Respond:
    busy = threading.Lock()

    def respond(request: Request) -> Response:
        require(request, "operator")
        try:
            with opened(context, request.path_params["session"]) as record:
                session, path = record.entry.session, record.path
        except HTTPException as error:
            return _refused(request, error.detail, error.status_code)
        if context.control.state in ("starting", "running", "stopping"):
            words = _(
                "A session is being counted, and the proof would slow it; ask when it has ended or is paused."
            )
            return _refused(request, words, 409, f"/sessions/{session}")
        if not busy.acquire(blocking=False):
            return _refused(request, _("Another proof runs; ask again in a minute."), 503, f"/sessions/{session}")
        try:
            proof = prove(path)
        finally:
            busy.release()
        return render(request, "session_proof.html", session=session, proof=proof)

    return respond


def _search(request: Request) -> tuple[Search, str]:
    """What is looked for, and what is wrong with it."""
    asked = request.query_params
    words, days = asked.get("q", ""), [asked.get(name, "") for name in ("from", "to")]
    if len(words) > MAX_WORDS:
        return Search(), _(
            "%(length)s characters are searched for, the limit is %(most)s; search for fewer words.",
            length=len(words),
            most=MAX_WORDS,
        )
    for day in days:
        if day and not _is_day(day):
            return Search(words), _("%(text)s is no day; write it as 2026-03-01.", text=ascii(day[:20]))
    return Search(words, *days), ""


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "1")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 and 1 <= int(text) <= MAX_PAGE else 1


def _may(request: Request, role: RoleName) -> bool:
    return RANKS[user_of(request).role] >= RANKS[role]


def _unknown() -> HTTPException:
    return HTTPException(404, _("There is no such session in the record; choose one of the list."))


def _refused(request: Request, fault: str, status: int, back: str = "/sessions") -> Response:
    return render(request, "refused.html", status, fault=fault, back=back)
