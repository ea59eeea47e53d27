"""A recorded session as a report: the same page as after ``fnrbc count``, with what people decided beside the count."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.journal.queries import JournalQueries
from fnrbc_device.records import INDETERMINATE, is_near
from fnrbc_device.reporting.counts import claim_fields, counts, interval
from fnrbc_device.reporting.lead import lead_of
from fnrbc_device.reporting.recorded_cells import cell_table
from fnrbc_device.reporting.recorded_map import frame_shape, maps
from fnrbc_device.reporting.report import GalleryItem, Report
from fnrbc_device.sessions.archive import ArchivedSession, Happening, happenings
from fnrbc_device.sessions.recorded_stain import stain_happened, stain_of
from fnrbc_device.sessions.verified_count import VerifiedTally
from fnrbc_device.texts import claim_words, provisional_words

MAX_GALLERY: Final = 400
"""Candidates and near misses in a report, those nearest to the threshold: 12 kB each."""

DRAWN: Final = (
    "Drawn from where frames and cells lay. Double ring: counted as fNRBC. Dashed ring with ?: indeterminate. "
    "Dot: a cell that was counted; pale: one that is neither fNRBC nor leukocyte. Grey: not seen."
)
"""Legend of the map."""

_WORDS: Final = {
    "begun": "begun",
    "resumed": "gone on with after a cut",
    "gap": "camera away",
    "paused": "paused by footswitch",
    "unpaused": "gone on by footswitch",
    "flagged": "field flagged",
    "unflagged": "flag taken back",
    "alarm": "alarm",
    "ended": "ended",
    "signed": "signed off",
    "withdrawn": "sign-off withdrawn",
    "described": "described anew",
}


def summary(entry: ArchivedSession) -> dict[str, Any]:
    """The machine's count under the names of ``summary.json``. What is not on record is null."""
    tally = entry.tally
    return {
        **counts(tally),
        "unique_area_mm2": tally.unique_area_mm2 if entry.area_known else None,
        "revisit_share": tally.revisit_share if entry.area_known else None,
        "cells_open": tally.cells_open,
        "complete": not entry.left_open,
        "bundle": entry.meta.bundle,
        "version": entry.meta.software,
    }


def verified_summary(verified: VerifiedTally, provisional: Sequence[str] = ()) -> dict[str, Any]:
    """The count after review, with its own interval."""
    fields = asdict(verified) | {"complete": verified.complete}
    return fields | {
        "fnrbc_per_100_leukocytes": interval(verified.fnrbc_per_100_leukocytes),
        "claim": claim_fields(verified.claim, provisional),
    }


def provenance(entry: ArchivedSession, happened: Sequence[Happening]) -> dict[str, str]:
    """What the counts rest on, by the words of a reader."""
    meta = entry.meta
    stain = stain_of([one.fields for one in happened if one.kind == "stain"])
    return {
        "Session": entry.session,
        "Kind": entry.meta.kind,
        "Specimen": meta.specimen or "none given",
        "Started": entry.started_utc,
        "Ended": entry.ended_utc or "not ended",
        "Operator": meta.operator or "started by itself",
        "Note": meta.note or "none",
        "Software": meta.software,
        "Model bundle": meta.bundle,
        "Counted as fNRBC from probability": f"{meta.threshold:g}",
        "Camera": meta.source,
        "Objective": meta.objective or "the camera's own setting",
        "Pixel size": f"{meta.pixel_size_um:g} um",
        "Stain": "not on record" if stain is None else stain.in_words(),
        "Configuration": meta.config_hash or "not on record",
    }


def report(connection: sqlite3.Connection, path: Path, entry: ArchivedSession) -> Report:
    """Put a session's report together. Reads only.

    Parameters
    ----------
    connection, path
        To the journal.
    entry
        As ``archive.read`` gave it over the same connection.
    """
    cells = cell_table(connection, entry.session)
    happened = happenings(connection, entry.session)
    return Report(
        title=f"session {entry.session}" + (f", specimen {entry.meta.specimen}" if entry.meta.specimen else ""),
        summary=summary(entry),
        cells=cells,
        mosaics=islands(connection, path, entry, cells),
        gallery=gallery(connection, path, entry, cells),
        threshold=entry.meta.threshold,
        provenance=provenance(entry, happened),
        lead=lead_of(entry, *signed_why(happened)),
        left_open=entry.left_open,
        target=target(entry),
        sections=[
            ("Verified by a person", verified_rows(entry)),
            ("What happened", [(one.at_utc, told(one)) for one in happened]),
        ],
        legend=DRAWN,
        cells_file=f"fnrbc-{entry.session}.csv",
    )


def islands(
    connection: sqlite3.Connection, path: Path, entry: ArchivedSession, cells: list[dict[str, Any]]
) -> list[Mosaic]:
    """Maps of the ground that a session saw; none where no frame was placed."""
    um = entry.meta.pixel_size_um
    shape = frame_shape(connection, entry.session, um)
    if shape is None:
        return []
    history = JournalQueries(connection, path)
    ignored = [name for name, role in entry.meta.classes.items() if role == "ignored"]
    return maps(history.frames(entry.session), history.joins(entry.session), shape, um, cells, ignored)


def gallery(
    connection: sqlite3.Connection,
    path: Path,
    entry: ArchivedSession,
    cells: list[dict[str, Any]],
    at_most: int = MAX_GALLERY,
) -> list[GalleryItem]:
    """The candidates that a picture was kept of, nearest to the threshold first, and then the near misses."""
    asked, threshold = (target(entry), INDETERMINATE), entry.meta.threshold
    nearest = [cell for cell in cells if cell["class"] in asked or is_near(cell["target_probability"], threshold)]
    nearest.sort(
        key=lambda cell: (cell["class"] not in asked, abs(cell["target_probability"] - threshold), cell["cell"])
    )
    crops = JournalQueries(connection, path).views(entry.session, (cell["cell"] for cell in nearest[:at_most]))
    shown = [cell for cell in nearest[:at_most] if cell["cell"] in crops]
    return [
        GalleryItem(
            cell=cell["cell"],
            island=cell["island"],
            class_name=cell["class"],
            probability=cell["target_probability"],
            crops=crops[cell["cell"]],
            x_um=cell["x_um"],
            y_um=cell["y_um"],
            views=cell["views"],
            diameter_um=cell["diameter_um"],
            review=_decision(cell),
        )
        for cell in shown
    ]


def target(entry: ArchivedSession) -> str:
    """Name of the class that is counted as fNRBC."""
    return next((name for name, role in entry.meta.classes.items() if role == "target"), "fnrbc")


def verified_rows(entry: ArchivedSession) -> list[tuple[str, str]]:
    """The count after review, in words."""
    verified = entry.verified
    rate = verified.fnrbc_per_100_leukocytes
    waits = "stands when all candidates are reviewed" if verified.candidates > verified.reviewed else "no leukocyte"
    signed = f"{entry.signed_utc} by {entry.signed_by}" if entry.signed_utc else "not signed off"
    ratio = f"{rate.value:.1f} (95 % interval {rate.low:.1f}\N{EN DASH}{rate.high:.1f})" if rate else waits
    return [
        ("Candidates reviewed", f"{verified.reviewed} of {verified.candidates}"),
        ("Confirmed, rejected, reclassified", f"{verified.confirmed}, {verified.rejected}, {verified.reclassified}"),
        ("fNRBC by a person", str(verified.fnrbc)),
        ("Leukocytes", f"{verified.leukocytes}, of which {verified.leukocytes_by_machine} by the machine alone"),
        ("fNRBC per 100 leukocytes", ratio),
        ("What that may claim", claim_words(verified.claim, entry.tally.provisional) or waits),
        ("Signed off", signed),
    ]


def told(one: Happening) -> str:
    """What happened, in words."""
    fields = one.fields
    if one.kind == "command":
        what = {"mark": "note"}.get(fields.get("verb", ""), fields.get("verb", "command"))
        outcome = fields.get("outcome", "no longer kept")
        return f"{what} by {fields.get('user', 'somebody')}, {outcome}{_because(fields)}"
    words = _WORDS.get(one.kind, one.kind)
    if one.kind == "gap":
        return f"{words} for {fields.get('seconds', 0):.1f} s ({fields.get('reason', '')})"
    if one.kind == "provisional":
        because = provisional_words(fields["reasons"])
        return f"count provisional: {because}" if because else "count no longer provisional"
    if one.kind == "stain":
        return stain_happened(fields)
    if one.kind == "signed":
        share = f"{fields.get('reviewed')} of {fields.get('candidates')} candidates reviewed"
        why, reason = signed_why([one])
        for_all_that = f"; {why}, reason: {reason}" if reason else ""
        return f"{words} by {fields.get('signed_by', '')}, {share}{for_all_that}"
    if one.kind == "withdrawn":
        return f"{words} by {fields.get('withdrawn_by', '')}, reason: {fields.get('reason', '')}"
    if one.kind == "described":
        return f"{' and '.join(fields.get('changed', ()))} given by {fields.get('by', '')}"
    if one.kind == "alarm":
        return f"{words} {fields.get('code', '')} {fields.get('event', '')}"
    return words if one.frame is None else f"{words}, frame {one.frame}"


def signed_why(happened: Sequence[Happening]) -> tuple[str, str]:
    """What was open at the last sign-off, and why the session was signed off for all that; empty where nothing was."""
    fields = next((one.fields for one in reversed(happened) if one.kind == "signed"), {})
    # Before there was a "why", a control that had not passed was the only one.
    return (fields.get("why") or fields.get("control_words", ""), fields.get("reason", "")) if fields else ("", "")


def _because(fields: Mapping[str, Any]) -> str:
    return f": {fields['detail']}" if fields.get("detail") else ""


def _decision(cell: Mapping[str, Any]) -> str:
    if cell["review"] == "unverified":
        return ""
    called = f" as {cell['reviewed_class']}" if cell["review"] == "reclassified" else ""
    return f"{cell['review']}{called} by {cell['reviewer']}"
