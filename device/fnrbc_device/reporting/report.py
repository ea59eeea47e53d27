"""The report of a count: one self-contained HTML page that a person can read, print and keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.host.console import ESCAPE
from fnrbc_device.language import N_, _, as_decimal, decimal, number
from fnrbc_device.records import INDETERMINATE, Image
from fnrbc_device.reporting.lead import Lead
from fnrbc_device.reporting.rendering import render
from fnrbc_device.reporting.report_map import LEGEND, map_html
from fnrbc_device.texts import RESEARCH_USE_ONLY, UNVERIFIED, left_open, rejection, to_go

CHANGED: Final = N_("What changed since the earlier count")
"""Heading of what two counts of the same frames make of them."""

_CLAIM_KINDS: Final = {"above_blank": "above", "not_distinguishable": "none"}
"""How a claim is drawn, by its state; others as a note."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class GalleryItem:
    """One candidate, as the gallery shows it."""

    cell: int
    island: int
    class_name: str
    """A class of the bundle, or ``indeterminate``."""
    probability: float
    """That it is of the target class. 0..1."""
    crops: Sequence[Image]
    """(120, 120, 3) RGB: up to three views, best first."""
    x_um: float
    y_um: float
    views: int
    diameter_um: float
    review: str = ""
    """What a person decided and who; empty where nobody did."""
    before: str = ""
    """Its class in an earlier count; empty where that is not what is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What a report is made from. Nothing in it is computed again."""

    title: str
    """What was counted: a folder, a file, a session."""
    summary: Row
    """The content of ``summary.json``."""
    cells: Sequence[Row]
    """The rows of ``cells.csv`` by column name."""
    mosaics: Sequence[Mosaic]
    gallery: Sequence[GalleryItem]
    threshold: float
    """Probability of the target class from which on a cell is counted. 0..1."""
    provenance: Row
    """Software, bundle, source, pixel size, ...: shown in this order."""
    lead: Lead | None = None
    """The count after review, which then stands first; None where there is none."""
    left_open: Sequence[str] = ()
    """What keeps the count from being complete, in words; empty for what the summary says by itself."""
    target: str = "fnrbc"
    """The bundle's name for the target class."""
    sections: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    """Further tables, each under its heading: the count after review, what happened, what changed."""
    changed: Sequence[GalleryItem] = ()
    """Cells that an earlier count of the same frames has otherwise."""
    legend: str = LEGEND
    """Of the map."""
    cells_file: str = "cells.csv"
    """Where a reader finds all cells."""


@dataclass(frozen=True, slots=True, eq=False)
class _GalleryPart:
    """Candidates that were decided alike, nearest to the threshold first."""

    heading: str
    kind: str
    cells: Sequence[GalleryItem]
    shown: str
    """How many are shown, of how many."""


def write_report(path: Path, report: Report) -> None:
    """Write a report, replacing an earlier one only when it is whole.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    part.write_text(report_html(report), encoding="utf-8", errors=ESCAPE)
    part.replace(path)


def report_html(report: Report) -> str:
    """Build the page. Every text that comes from outside is escaped."""
    claim = report.summary.get("claim")
    return render(
        "report.html",
        report=report,
        style=Markup((files("fnrbc_device.reporting") / "report.css").read_text("utf-8")),
        research=_(RESEARCH_USE_ONLY),
        unverified=_(UNVERIFIED),
        boxes=_boxes(report.summary),
        claim=claim,
        kinds=_CLAIM_KINDS,
        causes=_causes(report),
        changed=report.changed,
        basis=_basis(report.summary),
        map=map_html(report.mosaics, report.cells, report.target, report.legend),
        parts=_parts(report),
    )


def _boxes(summary: Row) -> list[tuple[str, str, str]]:
    """Kind, value and name of each box at the top."""
    return [
        ("main", _count(summary, "fnrbc"), "fNRBC"),
        ("", _count(summary, "leukocytes"), _("leukocytes")),
        ("", *_rate(summary)),
        ("", _count(summary, "indeterminate"), _("indeterminate")),
        ("", _count(summary, "other"), _("other")),
        ("", _count(summary, "cells"), _("cells in all")),
    ]


def _rate(summary: Row) -> tuple[str, str]:
    rate = summary.get("fnrbc_per_100_leukocytes") or {}
    if rate.get("value") is None:
        return "\N{EN DASH}", _("fNRBC per 100 leukocytes: no leukocyte was counted")
    interval = f"{decimal(rate['low'])}\N{EN DASH}{decimal(rate['high'])}"
    return decimal(rate["value"]), _("fNRBC per 100 leukocytes (95 %% interval %(ends)s)", ends=interval)


def _count(summary: Row, name: str) -> str:
    return number(int(summary[name]))


def _causes(report: Report) -> str:
    """What keeps the count from being complete; empty for nothing."""
    summary = report.summary
    if summary["complete"]:
        return ""
    own = left_open(summary["frames_used"], summary["islands"], summary["cells_open"])
    causes = "; ".join(report.left_open or own)
    return causes[:1].upper() + causes[1:]


def _basis(summary: Row) -> dict[str, str]:
    frames, seen = int(summary["frames"]), summary["revisit_share"]
    percent = None if seen is None else 100 * seen
    rejected = sorted(summary["frames_rejected"].items(), key=lambda item: -item[1])
    reasons = "; ".join(f"{number(n)} {rejection(reason).words}" for reason, n in rejected if n)
    return {
        _("Frames used"): _("%(part)s of %(whole)s", part=_count(summary, "frames_used"), whole=number(frames)),
        _("Frames not used"): reasons or _("none"),
        _("Area seen, each place once"): _or_unknown(summary["unique_area_mm2"], "{:.3f} mm\N{SUPERSCRIPT TWO}"),
        _("Of what came into view, seen before"): _or_unknown(percent, "{:.0f} %"),
        _("To plan with"): to_go(summary["leukocytes_to_go"]["value"]),
        _("Islands"): str(summary["islands"]),
    }


def _or_unknown(value: float | None, form: str) -> str:
    return _("not on record") if value is None else as_decimal(form.format(value))


def _parts(report: Report) -> list[_GalleryPart]:
    """The candidates by how they were decided; parts without any are left out."""
    counted = [item for item in report.gallery if item.class_name == report.target]
    unsettled = [item for item in report.gallery if item.class_name == INDETERMINATE]
    close = [item for item in report.gallery if item.class_name not in (report.target, INDETERMINATE)]
    parts = [
        _part(_("Indeterminate: a person decides"), unsettled, "indeterminate", report),
        _part(_("Counted as fNRBC"), counted, "target", report),
        _part(_("Just below the threshold, counted as something else"), close, "close", report),
    ]
    return [part for part in parts if part.cells]


def _part(heading: str, items: Iterable[GalleryItem], kind: str, report: Report) -> _GalleryPart:
    nearest = sorted(items, key=lambda item: (abs(item.probability - report.threshold), item.cell))
    counted = nearest[:1] if kind != "close" else []
    whole = sum(1 for row in report.cells if row["class"] == counted[0].class_name) if counted else 0
    shown = _("%(part)s of %(whole)s", part=len(nearest), whole=whole) if whole > len(nearest) else str(len(nearest))
    return _GalleryPart(heading, kind, nearest, shown)
