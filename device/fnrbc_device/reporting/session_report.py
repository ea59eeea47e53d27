"""A recorded session as a report: the same page as after ``fnrbc count``, with what people decided beside the count."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fnrbc_device.counting.claim_words import claim_words, provisional_words
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.journal.queries import JournalQueries
from fnrbc_device.language import ENGLISH, N_, Said, _, as_decimal, decimal, local, number, speaking, spoken
from fnrbc_device.records import INDETERMINATE, is_near
from fnrbc_device.reporting.counts import claim_fields, counts, interval
from fnrbc_device.reporting.lead import lead_of
from fnrbc_device.reporting.recorded_cells import cell_table
from fnrbc_device.reporting.recorded_map import frame_shape, maps
from fnrbc_device.reporting.report import GalleryItem, Report
from fnrbc_device.sessions.archive import ArchivedSession, Happening, happenings
from fnrbc_device.sessions.recorded_stain import stain_happened, stain_of
from fnrbc_device.sessions.verified_count import VerifiedTally
from fnrbc_device.texts import CONTROL_STATES, KIND_WORDS, class_words, undecided

MAX_GALLERY: Final = 400
"""Candidates and near misses in a report, those nearest to the threshold: 12 kB each."""

DRAWN: Final = N_(
    "Drawn from where frames and cells lay. Double ring: counted as fNRBC. Dashed ring with ?: indeterminate. "
    "Dot: a cell that was counted; pale: one that is neither fNRBC nor leukocyte. Grey: not seen."
)
"""Legend of the map."""

_WORDS: Final[Mapping[str, str]] = Said(
    {
        "begun": N_("begun"),
        "resumed": N_("gone on with after a cut"),
        "gap": N_("camera away"),
        "paused": N_("paused by footswitch"),
        "unpaused": N_("gone on by footswitch"),
        "flagged": N_("field flagged"),
        "unflagged": N_("flag taken back"),
        "alarm": N_("alarm"),
        "ended": N_("ended"),
        "signed": N_("signed off"),
        "withdrawn": N_("sign-off withdrawn"),
        "described": N_("described anew"),
    }
)

_DETAILS: Final[Mapping[str, str]] = Said(
    {"specimen": N_("specimen id"), "operator": N_("operator's name"), "note": N_("note")}
)

_VERBS: Final[Mapping[str, str]] = Said(
    {
        "start": N_("start"),
        "pause": N_("pause"),
        "resume": N_("resume"),
        "stop": N_("stop"),
        "mark": N_("note"),
        "sign": N_("sign-off"),
        "restore": N_("restored from a backup"),
        "command": N_("command"),
    }
)

_OUTCOMES: Final[Mapping[str, str]] = Said(
    {
        "accepted": N_("accepted"),
        "refused": N_("refused"),
        "no longer kept": N_("no longer kept"),
    }
)


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
    """What the counts rest on, under names that are English; ``provenance_words`` has it for people."""
    meta = entry.meta
    stain = stain_of([one.fields for one in happened if one.kind == "stain"])
    return {
        N_("Session"): entry.session,
        N_("Kind"): entry.meta.kind,
        N_("Specimen"): meta.specimen or _("none given"),
        N_("Started"): entry.started_utc,
        N_("Ended"): entry.ended_utc or _("not ended"),
        N_("Operator"): meta.operator or _("started by itself"),
        N_("Note"): meta.note or _("none"),
        N_("Software"): meta.software,
        N_("Model bundle"): meta.bundle,
        N_("Counted as fNRBC from probability"): as_decimal(f"{meta.threshold:g}"),
        N_("Camera"): meta.source,
        N_("Objective"): meta.objective or _("the camera's own setting"),
        N_("Pixel size"): as_decimal(f"{meta.pixel_size_um:g} um"),
        N_("Stain"): _("not on record") if stain is None else stain.in_words(),
        N_("Configuration"): meta.config_hash or _("not on record"),
    }


def provenance_words(entry: ArchivedSession, happened: Sequence[Happening]) -> dict[str, str]:
    """What the counts rest on, in the words of a reader."""
    told = provenance(entry, happened)
    told |= {"Kind": KIND_WORDS[entry.meta.kind].words, "Started": local(entry.started_utc, True)}
    if entry.ended_utc:
        told["Ended"] = local(entry.ended_utc, True)
    return {_(name): value for name, value in told.items()}


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
    meta = entry.meta
    specimen = ", " + _("specimen %(specimen)s", specimen=meta.specimen) if meta.specimen else ""
    return Report(
        title=_("session %(session)s", session=entry.session) + specimen,
        summary=summary(entry),
        cells=cells,
        mosaics=islands(connection, path, entry, cells),
        gallery=gallery(connection, path, entry, cells),
        threshold=entry.meta.threshold,
        provenance=provenance_words(entry, happened),
        lead=lead_of(entry, *signed_why(happened)),
        left_open=entry.left_open,
        target=target(entry),
        sections=[
            (_("Review") if entry.leads else _("Verified by a person"), verified_rows(entry)),
            (_("What happened"), [(local(one.at_utc, True), told(one)) for one in happened]),
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
    waits = (
        _("stands when all candidates are reviewed") if verified.candidates > verified.reviewed else _("no leukocyte")
    )
    signed = _("not signed off")
    if entry.signed_utc:
        signed = _("%(at)s by %(name)s", at=local(entry.signed_utc), name=entry.signed_by)
    ratio = waits
    if rate:
        ratio = f"{decimal(rate.value)} ({_('95 %% interval')} {decimal(rate.low)}\N{EN DASH}{decimal(rate.high)})"
    return [
        (
            _("Candidates reviewed"),
            _("%(part)s of %(whole)s", part=number(verified.reviewed), whole=number(verified.candidates)),
        ),
        (_("Confirmed, rejected, reclassified"), f"{verified.confirmed}, {verified.rejected}, {verified.reclassified}"),
        (_("fNRBC by a person"), number(verified.fnrbc)),
        (
            _("Leukocytes"),
            _(
                "%(whole)s, of which %(part)s by the machine alone",
                whole=number(verified.leukocytes),
                part=number(verified.leukocytes_by_machine),
            ),
        ),
        (_("fNRBC per 100 leukocytes"), ratio),
        (_("What that may claim"), claim_words(verified.claim, entry.tally.provisional) or waits),
        (_("Signed off"), signed),
    ]


def told(one: Happening) -> str:
    """What happened, in words."""
    fields = one.fields
    if one.kind == "command":
        verb, outcome = fields.get("verb", "command"), fields.get("outcome", "no longer kept")
        who = fields.get("user", _("somebody"))
        came_to = _OUTCOMES.get(outcome, outcome)
        done = _("%(what)s by %(who)s, %(outcome)s", what=_VERBS.get(verb, verb), who=who, outcome=came_to)
        return done + _because(fields)
    words = _WORDS.get(one.kind, one.kind)
    if one.kind == "gap":
        seconds = decimal(fields.get("seconds", 0))
        return f"{words}, {seconds} s ({fields.get('reason', '')})"
    if one.kind == "provisional":
        because = provisional_words(fields["reasons"])
        return _("count provisional: %(why)s", why=because) if because else _("count no longer provisional")
    if one.kind == "stain":
        return stain_happened(fields)
    if one.kind == "signed":
        share = _(
            "%(part)s of %(whole)s candidates reviewed", part=fields.get("reviewed"), whole=fields.get("candidates")
        )
        why, reason = signed_why([one])
        for_all_that = f"; {why}, {_('reason: %(reason)s', reason=reason)}" if reason else ""
        who = fields.get("signed_by", "")
        return _("%(what)s by %(who)s, %(outcome)s", what=words, who=who, outcome=share) + for_all_that
    if one.kind == "withdrawn":
        because = _("reason: %(reason)s", reason=fields.get("reason", ""))
        return _("%(what)s by %(who)s, %(outcome)s", what=words, who=fields.get("withdrawn_by", ""), outcome=because)
    if one.kind == "described":
        changed = ", ".join(_DETAILS[name] for name in fields.get("changed", ()))
        return _("%(what)s given by %(who)s", what=changed, who=fields.get("by", ""))
    if one.kind == "alarm":
        return f"{words} {fields.get('code', '')} {fields.get('event', '')}"
    return words if one.frame is None else f"{words}, {_('frame %(frame)s', frame=one.frame)}"


def signed_why(happened: Sequence[Happening]) -> tuple[str, str]:
    """What was open at the last sign-off, and why the session was signed off for all that; empty where nothing was."""
    fields = next((one.fields for one in reversed(happened) if one.kind == "signed"), {})
    # Before there was a "why", a control that had not passed was the only one.
    why, reason = fields.get("why") or fields.get("control_words", ""), fields.get("reason", "")
    if spoken() == ENGLISH or not why:
        return why, reason
    left, candidates = fields["candidates"] - fields["reviewed"], fields["candidates"]
    with speaking(ENGLISH):
        recorded = undecided(left, candidates)
    why = why.replace(recorded, undecided(left, candidates))
    if fields.get("control_words"):  # recorded in English with all figures; in another language the state alone is told
        why = why.replace(fields["control_words"], CONTROL_STATES[fields["control"]])
    return why, reason


def _because(fields: Mapping[str, Any]) -> str:
    return f": {fields['detail']}" if fields.get("detail") else ""


def _decision(cell: Mapping[str, Any]) -> str:
    if cell["review"] == "unverified":
        return ""
    said = {"who": cell["reviewer"], "name": class_words(cell["reviewed_class"])}
    if cell["review"] == "reclassified":
        return _("reclassified as %(name)s by %(who)s", **said)
    return _("confirmed by %(who)s", **said) if cell["review"] == "confirmed" else _("rejected by %(who)s", **said)
