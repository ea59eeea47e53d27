"""Writes what a count came to: summary, tables, outlines and the report; and says it to a person."""

import json
import os
from pathlib import Path

import fnrbc_device
from fnrbc_device.commands.counted import Counted
from fnrbc_device.commands.left_out import sections_of, still_open
from fnrbc_device.counting.cells_csv import CELL_COLUMNS
from fnrbc_device.errors import UsageError
from fnrbc_device.host.console import ESCAPE
from fnrbc_device.language import ENGLISH, _, as_decimal, decimal, speaking
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import SessionKind
from fnrbc_device.reporting.counts import COUNT_COLUMNS, count_row, retold
from fnrbc_device.reporting.difference import DIFFERENCE_COLUMNS
from fnrbc_device.reporting.gallery import change_table
from fnrbc_device.reporting.geojson import GEOJSON_NAME, write_geojson
from fnrbc_device.reporting.poses_csv import POSE_COLUMNS, write_table
from fnrbc_device.reporting.report import CHANGED, Report, write_report
from fnrbc_device.texts import KIND_WORDS, RESEARCH_USE_ONLY, to_go
from fnrbc_device.vision.pixelsize import PixelSizeEstimate


def write(counted: Counted, out: Path, source_name: str, bundle: Bundle, language: str = ENGLISH) -> None:
    """Write the files of a count into a folder, replacing what an earlier count left there.

    Parameters
    ----------
    counted, source_name, bundle
        What was counted, its name, and by what.
    out
        The folder.
    language
        Of the report. What programs read is in English.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("summary.json", "report.html"):  # of an earlier count, they would stand for the cells of this one
            (out / name).unlink(missing_ok=True)
        write_table(out / "cells.csv", CELL_COLUMNS, (row.values() for row in counted.rows))
        write_table(out / "poses.csv", POSE_COLUMNS, counted.steps)
        write_table(out / "counts.csv", COUNT_COLUMNS, [count_row(counted.summary)])
        (out / "difference.csv").unlink(missing_ok=True)
        (out / GEOJSON_NAME).unlink(missing_ok=True)
        if counted.outline is not None:
            write_geojson(out / GEOJSON_NAME, counted.rows, counted.outline, bundle.classes)
        if counted.difference is not None:
            write_table(out / "difference.csv", DIFFERENCE_COLUMNS, counted.difference.rows())
        _replace(out / "summary.json", json.dumps(counted.summary, indent=2) + "\n")
        with speaking(language):
            write_report(out / "report.html", _report(counted, source_name, bundle))
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); choose a folder that can") from error


def require_writable(out: Path) -> None:
    """Refuse a target that cannot become a folder, before hours of counting rather than after."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        raise UsageError(f"--out {out} cannot be written: {nearest} is read-only; choose another folder")


def require_apart(out: Path, compare: Path) -> None:
    """Refuse to write a count over the one that it is to be compared with."""
    if out.resolve() == compare.resolve():
        raise UsageError(f"--out and --compare are both {out}; give --out another folder, or the earlier count is lost")


def in_words(counted: Counted, out: Path) -> str:
    """The summary for a person, in a few lines."""
    summary = counted.summary
    rate = summary["fnrbc_per_100_leukocytes"]
    share = "no leukocyte was counted"
    if rate["value"] is not None:
        share = f"{rate['value']:.1f} per 100 leukocytes (95 % interval {rate['low']:.1f} to {rate['high']:.1f})"
    rejected = ", ".join(f"{n} {reason}" for reason, n in summary["frames_rejected"].items()) or "none"
    return "\n".join(
        [
            *([_kind(summary["kind"])] if summary["kind"] != "sample" else []),
            f"{summary['fnrbc']} fNRBC, {summary['leukocytes']} leukocytes: {share}",
            *([summary["claim"]["words"]] if summary["claim"] else []),
            to_go(summary["leukocytes_to_go"]["value"]),
            f"{summary['indeterminate']} indeterminate, {summary['other']} other, {summary['cells']} cells in all; "
            "unverified until a person has reviewed the candidates",
            f"{summary['frames_used']} of {summary['frames']} frames used (rejected: {rejected}), "
            f"{summary['unique_area_mm2']:.3f} mm2, {summary['revisit_share']:.0%} of what came into view seen before, "
            + ("complete" if summary["complete"] else f"not complete: {'; '.join(still_open(summary))}"),
            *([f"{counted.difference.in_words()} -> {out / 'difference.csv'}"] if counted.difference else []),
            f"{summary['seconds']:.1f} s, {summary['fps']:.1f} frames/s -> {out / 'report.html'}",
            RESEARCH_USE_ONLY,
        ]
    )


def _kind(kind: SessionKind) -> str:
    return f"{KIND_WORDS[kind].words}. {KIND_WORDS[kind].cure}"


def _report(counted: Counted, source_name: str, bundle: Bundle) -> Report:
    analyser, manifest, difference = counted.analyser, bundle.manifest, counted.difference
    slide_map = analyser.slide_map
    changed = [(_(CHANGED), change_table(difference, counted.bundle_before))] if difference else []
    mosaics = [slide_map.mosaic(island) for island in slide_map.islands] if slide_map else []
    return Report(
        title=source_name,
        summary=retold(counted.summary),
        cells=counted.rows,
        mosaics=[mosaic for mosaic in mosaics if mosaic is not None],
        gallery=counted.gallery.items(counted.cells, analyser.pixel_size_um),
        changed=counted.gallery.changed(counted.cells, difference, analyser.pixel_size_um) if difference else (),
        sections=[*changed, *sections_of(counted.summary)],
        left_open=still_open(counted.summary),
        threshold=manifest.threshold,
        provenance={
            _("Kind"): _kind(counted.summary["kind"]),
            _("Software"): f"fnrbc {fnrbc_device.__version__}",
            _("Model bundle"): bundle.id,
            _("Network"): manifest.network,
            _("Preprocessing"): manifest.preprocessing_id,
            _("Source"): source_name,
            _("Pixel size"): f"{as_decimal(str(analyser.pixel_size_um))} um",
            _("Pixel size by the red cells"): _by_the_red_cells(counted.scale.estimate),
            _("Cells found by"): analyser.seeing.method,
            _("Stain"): analyser.stain.in_words(),
            _("Counted as fNRBC from probability"): manifest.threshold,
            _("Indeterminate from, up to"): "; ".join(as_decimal(f"{bound:.4g}") for bound in manifest.indeterminate),
        },
        target=manifest.classes[manifest.target].name,
    )


def _by_the_red_cells(estimate: PixelSizeEstimate | None) -> str:
    if estimate is None:
        return _("unknown: too few that lie alone")
    return _(
        "%(value)s um (%(low)s to %(high)s, from %(cells)s cells)",
        value=decimal(estimate.value_um, 3),
        low=decimal(estimate.low_um, 3),
        high=decimal(estimate.high_um, 3),
        cells=estimate.cells,
    )


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors=ESCAPE)
    part.replace(path)
