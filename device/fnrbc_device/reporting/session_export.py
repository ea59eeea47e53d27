"""A recorded session as a file to take along: CSV and Parquet of its cells, JSON of all figures, HTML to read."""

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from fnrbc_device.counting.cells_csv import CELL_COLUMNS
from fnrbc_device.errors import UsageError
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.language import ENGLISH, speaking
from fnrbc_device.reporting.recorded_cells import REVIEW_COLUMNS, cell_table
from fnrbc_device.reporting.report import report_html
from fnrbc_device.reporting.session_report import provenance, report, signed_why, summary, verified_summary
from fnrbc_device.reporting.spreadsheet import for_spreadsheet, guarded
from fnrbc_device.sessions.archive import ArchivedSession, Happening, happenings
from fnrbc_device.texts import RESEARCH_USE_ONLY

FormatName = Literal["csv", "excel", "parquet", "json", "html"]

MEDIA_TYPES: Final[dict[FormatName, str]] = {
    "csv": "text/csv; charset=utf-8",
    "excel": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}

SUFFIXES: Final[dict[FormatName, str]] = {
    "csv": ".csv", "excel": "-excel.csv", "parquet": ".parquet", "json": ".json", "html": ".html"
}  # fmt: skip

SESSION_COLUMNS: Final = ("session", "specimen", "research_use", "claim", "provisional")
"""On each row: a table of several sessions can be put together, and none is without the research-use sentence."""

COLUMNS: Final = (*CELL_COLUMNS, *REVIEW_COLUMNS, *SESSION_COLUMNS)

_WHOLE: Final = ("cell", "island", "views", "best_frame")
_WORDS: Final = ("class", "review", "reviewed_class", "reviewer", "reviewed_utc", *SESSION_COLUMNS)


def without_names(entry: ArchivedSession, folder: Path) -> ArchivedSession:
    """The session as it may leave the device: a hash in the specimen's place, and no note, where an id may stand too.

    Parameters
    ----------
    folder
        The device's state folder.

    Raises
    ------
    JournalError
        The device's key cannot be read.
    """
    note = "left out of this file" if entry.meta.note else ""
    meta = replace(entry.meta, specimen=specimen_hash(entry.meta.specimen, folder), note=note)
    return replace(entry, meta=meta)


def export(form: FormatName, connection: sqlite3.Connection, path: Path, entry: ArchivedSession) -> bytes:
    """Write a session as a file: for people in the language that is spoken, for programs in English.

    Parameters
    ----------
    form
        Of the file.
    connection, path
        To the journal; nothing is changed.
    entry
        As ``archive.read`` gave it over the same connection, or ``without_names``.

    Raises
    ------
    UsageError
        Parquet is wanted and pyarrow is not installed.
    """
    if form == "html":
        return report_html(report(connection, path, entry)).encode()
    with speaking(ENGLISH):
        if form == "json":
            return _json(connection, entry)
        rows = _rows(connection, entry)
    if form == "excel":
        return for_spreadsheet(COLUMNS, rows)
    return _csv(rows) if form == "csv" else _parquet(rows)


def _rows(connection: sqlite3.Connection, entry: ArchivedSession) -> list[dict[str, Any]]:
    about = dict(zip(SESSION_COLUMNS, _about(entry), strict=True))
    return [row | about for row in cell_table(connection, entry.session)]


def _about(entry: ArchivedSession) -> tuple[str, ...]:
    claim, reasons = entry.tally.claim, entry.tally.provisional
    return entry.session, entry.meta.specimen, RESEARCH_USE_ONLY, claim.state if claim else "", " ".join(reasons)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: guarded(value) if isinstance(value, str) else value for name, value in row.items()})
    return text.getvalue().encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "this device cannot write Parquet: the package pyarrow is not installed; take the CSV, or run "
            "pip install 'fnrbc[parquet]' there"
        ) from error
    schema = pyarrow.schema([(name, _type(name)) for name in COLUMNS], metadata={"research_use": RESEARCH_USE_ONLY})
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), content)
    return content.getvalue()


def _type(name: str) -> str:
    if name in _WHOLE:
        return "int64"
    return "string" if name in _WORDS else "float64"


def _json(connection: sqlite3.Connection, entry: ArchivedSession) -> bytes:
    meta, happened = entry.meta, happenings(connection, entry.session)
    fields = {
        "research_use": RESEARCH_USE_ONLY,
        "session": entry.session,
        "specimen": meta.specimen,
        "started": entry.started_utc,
        "ended": entry.ended_utc,
        "ending": entry.ending,
        "signed": _signed(entry, happened),
        "verified": verified_summary(entry.verified, entry.tally.provisional),
        "machine": summary(entry),
        "left_open": entry.left_open,
        "wanted": {"leukocytes": meta.wanted_leukocytes, "area_mm2": meta.wanted_area_mm2},
        "provenance": {name.lower().replace(" ", "_"): value for name, value in provenance(entry, happened).items()},
        "happenings": [
            {"at": one.at_utc, "kind": one.kind, "frame": one.frame, "fields": one.fields}
            for one in happened
        ],
        "cells": cell_table(connection, entry.session),
    }
    return json.dumps(fields, indent=1, ensure_ascii=False).encode()


def _signed(entry: ArchivedSession, happened: Sequence[Happening]) -> dict[str, Any] | None:
    if entry.signed_utc is None:
        return None
    why, reason = signed_why(happened)
    return {"utc": entry.signed_utc, "by": entry.signed_by, "although": why if reason else "", "reason": reason}
