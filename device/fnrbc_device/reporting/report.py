"""The report of a count: one self-contained HTML page that a person can read, print and keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.host.console import ESCAPE
from fnrbc_device.records import INDETERMINATE, Image
from fnrbc_device.reporting.report_map import LEGEND, map_html
from fnrbc_device.reporting.report_picture import data_uri
from fnrbc_device.texts import RESEARCH_USE_ONLY, UNVERIFIED, left_open, number, rejection, to_go

CROP_QUALITY: Final = 90
"""A 120x120 crop takes 3-5 kB, and a person sees the chromatin as in the crop itself."""

CHANGED: Final = "What changed since the earlier count"
"""Heading of what two counts of the same frames make of them."""

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
    style = (files("fnrbc_device.reporting") / "report.css").read_text("utf-8")
    research = f'<p class="research">{escape(RESEARCH_USE_ONLY)}</p>'
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing in the page may run or load, whatever a name in it tries.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>fnrbc report: {escape(report.title)}</title><style>{style}</style></head><body>",
        f"<header>{research}<h1>Count of fetal nucleated red blood cells</h1>",
        f'<p class="soft">{escape(report.title)}</p></header>',
        f"<main>{_counts(report.summary)}{_claim(report.summary)}{_open(report)}",
        "".join(f"<h2>{escape(heading)}</h2>{_table(rows)}" for heading, rows in report.sections),
        _changed(report.changed),
        _basis(report.summary),
        map_html(report.mosaics, report.cells, report.target, report.legend),
        _gallery(report),
        f"{_provenance(report.provenance)}</main><footer>{research}</footer></body></html>",
    ]
    return "\n".join(parts)


def _counts(summary: Row) -> str:
    boxes = [
        ("main", _count(summary, "fnrbc"), "fNRBC"),
        ("", _count(summary, "leukocytes"), "leukocytes"),
        ("", *_rate(summary)),
        ("", _count(summary, "indeterminate"), "indeterminate"),
        ("", _count(summary, "other"), "other"),
        ("", _count(summary, "cells"), "cells in all"),
    ]
    cards = (f'<div class="{kind}"><strong>{value}</strong><span>{name}</span></div>' for kind, value, name in boxes)
    return f'<p class="note">{escape(UNVERIFIED)}</p><section class="counts">{"".join(cards)}</section>'


def _claim(summary: Row) -> str:
    """Say what the count may claim, beside the plain figures."""
    claim = summary.get("claim")
    if not claim:
        return ""
    kind = {"above_blank": "above", "not_distinguishable": "none"}.get(claim["state"], "note")
    return f'<p class="claim {kind}"><b>What the count may claim.</b> {escape(claim["words"])}</p>'


def _rate(summary: Row) -> tuple[str, str]:
    rate = summary.get("fnrbc_per_100_leukocytes") or {}
    if rate.get("value") is None:
        return "\N{EN DASH}", "fNRBC per 100 leukocytes: no leukocyte was counted"
    interval = f"{rate['low']:.1f}\N{EN DASH}{rate['high']:.1f}"
    return f"{rate['value']:.1f}", f"fNRBC per 100 leukocytes (95 % interval {interval})"


def _count(summary: Row, name: str) -> str:
    return number(int(summary[name]))


def _open(report: Report) -> str:
    """Say what keeps the count from being complete."""
    summary = report.summary
    if summary["complete"]:
        return "<p>Complete: nothing is left open.</p>"
    own = left_open(summary["frames_used"], summary["islands"], summary["cells_open"])
    causes = "; ".join(report.left_open or own)
    return f'<p class="note"><b>Not complete.</b> {escape(causes[:1].upper() + causes[1:])}.</p>'


def _basis(summary: Row) -> str:
    frames = int(summary["frames"])
    rejected = sorted(summary["frames_rejected"].items(), key=lambda item: -item[1])
    reasons = "; ".join(f"{number(n)} {rejection(reason).words}" for reason, n in rejected if n)
    rows = {
        "Frames used": f"{_count(summary, 'frames_used')} of {number(frames)}",
        "Frames not used": reasons or "none",
        "Area seen, each place once": _or_unknown(summary["unique_area_mm2"], "{:.3f} mm\N{SUPERSCRIPT TWO}"),
        "Of what came into view, seen before": _or_unknown(summary["revisit_share"], "{:.0%}"),
        "To plan with": to_go(summary["leukocytes_to_go"]["value"]),
        "Islands": str(summary["islands"]),
    }
    return f"<h2>What the count rests on</h2>{_table(rows.items())}"


def _or_unknown(value: float | None, form: str) -> str:
    return "not on record" if value is None else form.format(value)


def _provenance(provenance: Row) -> str:
    return f"<h2>Provenance</h2>{_table(provenance.items())}"


def _table(rows: Iterable[tuple[str, object]]) -> str:
    lines = (
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(_written(value))}</td></tr>' for name, value in rows
    )
    return f"<table>{''.join(lines)}</table>"


def _written(value: object) -> str:
    """Write a value; of a number, what a person can compare."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _gallery(report: Report) -> str:
    counted = [item for item in report.gallery if item.class_name == report.target]
    unsettled = [item for item in report.gallery if item.class_name == INDETERMINATE]
    close = [item for item in report.gallery if item.class_name not in (report.target, INDETERMINATE)]
    parts = [
        _part("Indeterminate: a person decides", unsettled, "indeterminate", report),
        _part("Counted as fNRBC", counted, "target", report),
        _part("Just below the threshold, counted as something else", close, "close", report),
    ]
    body = "".join(parts) or "<p>No cell came near the threshold.</p>"
    return (
        f"<h2>Candidates</h2><p>Nearest to the threshold of {report.threshold:.2f} first; "
        f"<i>p</i> is the calibrated probability of an fNRBC. All cells are in {escape(report.cells_file)}.</p>{body}"
    )


def _changed(items: Sequence[GalleryItem]) -> str:
    cards = "".join(_card(item, "") for item in items)
    return f'<ul class="gallery">{cards}</ul>' if items else ""


def _part(heading: str, items: Iterable[GalleryItem], kind: str, report: Report) -> str:
    nearest = sorted(items, key=lambda item: (abs(item.probability - report.threshold), item.cell))
    if not nearest:
        return ""
    whole = sum(1 for row in report.cells if row["class"] == nearest[0].class_name) if kind != "close" else 0
    shown = f"{len(nearest)} of {whole}" if whole > len(nearest) else str(len(nearest))
    cards = "".join(_card(item, kind) for item in nearest)
    return f'<h3>{escape(heading)} ({shown})</h3><ul class="gallery">{cards}</ul>'


def _card(item: GalleryItem, kind: str) -> str:
    name = f"cell {item.cell}, {item.class_name}"
    views = "1 view" if item.views == 1 else f"{item.views} views"
    best, *others = (data_uri(crop, CROP_QUALITY) for crop in item.crops)
    beside = "".join(
        f'<img src="{other}" width="58" height="58" alt="{escape(name)}, another view">' for other in others
    )
    return (
        f'<li class="{kind}"><img src="{best}" width="120" height="120" alt="{escape(name)}">'
        f'<span class="beside">{beside}</span><b>{item.cell}</b> {_earlier(item)}{escape(item.class_name)}'
        f"<br>p {item.probability:.3f}, {views}<br>"
        f"{item.diameter_um:.1f} \N{MICRO SIGN}m, at ({item.x_um:.0f}, {item.y_um:.0f}){_decided(item)}</li>"
    )


def _earlier(item: GalleryItem) -> str:
    return f"{escape(item.before)} \N{RIGHTWARDS ARROW} " if item.before else ""


def _decided(item: GalleryItem) -> str:
    return f"<br><b>{escape(item.review)}</b>" if item.review else ""
