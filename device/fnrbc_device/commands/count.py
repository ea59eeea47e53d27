"""``fnrbc count``: recorded frames in; summary, cells, poses and a report out."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

import fnrbc_device
from fnrbc_device.camera.colours import ColourWatch
from fnrbc_device.camera.left_out import Account
from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.commands.left_out import Accounted, account_fields, sections_of, still_open
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.cells_csv import CELL_COLUMNS, cell_row
from fnrbc_device.counting.claim import claim
from fnrbc_device.counting.ledger import Cell
from fnrbc_device.counting.measured_range import Border
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.errors import UsageError
from fnrbc_device.host.console import ESCAPE
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.language import ENGLISH, _, as_decimal, decimal, speaking
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.model.error_counts import shipped_errors
from fnrbc_device.records import USUAL_SEEING, ErrorCounts, Pose, SeeingMethod, SessionKind, Step, Tally
from fnrbc_device.reporting.counts import COUNT_COLUMNS, count_row, counts, retold
from fnrbc_device.reporting.difference import DIFFERENCE_COLUMNS, Difference, Earlier, differ, require_same_frames
from fnrbc_device.reporting.gallery import Gallery, change_table
from fnrbc_device.reporting.geojson import GEOJSON_NAME, write_geojson
from fnrbc_device.reporting.poses_csv import POSE_COLUMNS, Poses, write_table
from fnrbc_device.reporting.report import CHANGED, Report, write_report
from fnrbc_device.texts import KIND_WORDS, RESEARCH_USE_ONLY, to_go
from fnrbc_device.vision.pixelsize import PixelSizeEstimate
from fnrbc_device.vision.session_stain import SessionStain

Progress = Callable[[int], None]


class Finder(Protocol):
    """What found the cells."""

    @property
    def method(self) -> SeeingMethod:
        """Its name."""


class Drawn(Protocol):
    """The map of what was seen."""

    @property
    def islands(self) -> tuple[int, ...]:
        """Their numbers."""

    def mosaic(self, island: int) -> Mosaic | None:
        """The picture of one."""


class CountedBy(Protocol):
    """What has counted: an analyser of frames, or what puts a slide's tiles together."""

    pixel_size_um: float
    stain: SessionStain
    border: Border

    @property
    def seeing(self) -> Finder:
        """What found the cells."""

    @property
    def slide_map(self) -> Drawn | None:
        """What was seen; None where nothing was."""

    def tally(self) -> Tally:
        """State the counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What a source came to."""

    summary: dict[str, Any]
    """The content of ``summary.json``."""
    cells: list[Cell]
    steps: list[tuple[Any, ...]]
    """Rows of ``poses.csv``."""
    analyser: CountedBy
    scale: ScaleWatch
    """What the red cells say of the pixel size."""
    gallery: Gallery
    account: Accounted
    """What was given and is not in the count."""
    difference: Difference | None = None
    """To an earlier count of the same frames, where that was asked for."""
    bundle_before: str = ""
    """That the earlier count was made with."""
    outline: Callable[[int], NDArray[np.int32]] | None = None
    """Of a slide's cell, by its number: (N, 2) px of the slide, (x, y)."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of ``cells.csv`` by column name."""
        um = self.analyser.pixel_size_um
        return [
            cell_row(cell.settled, Pose(cell.island, cell.row_px, cell.col_px), cell.views, um)
            for cell in self.cells
            if cell.settled
        ]


def count(
    source: FrameSource,
    bundle: Bundle,
    pixel_size_um: float,
    *,
    still: bool,
    progress: Progress,
    errors: Sequence[ErrorCounts] = (),
    kind: SessionKind = "sample",
    allow_left_out: float = 0.0,
    warn: Callable[[str], None] = lambda words: None,
    method: SeeingMethod = USUAL_SEEING,
    everything: bool = False,
) -> Counted:
    """Count all frames of a source.

    Parameters
    ----------
    source
        Read to its end, then closed.
    bundle
        The model; it must reproduce its golden crops first.
    pixel_size_um
        Size of a pixel on the slide, um.
    still
        The source is one picture.
    progress
        Called with the number of frames done, after each.
    errors
        What the network is known by here; empty for what the bundle ships.
    kind
        What is on the slide.
    allow_left_out
        Share of the pictures given that may be missing from a complete count, 0..1.
    warn
        Called with a sentence as soon as frames show what makes the count doubtful.
    method
        What finds the cells.
    everything
        Whether each frame is looked at, not only those that show something new.

    Raises
    ------
    ParityError
        The network does not reproduce its checkpoint's probabilities on this machine.
    SourceError
        The source has no good frame.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)  # its pool takes a fifth more of the processor's time, and a frame takes as long as before
    with (
        closing(source),
        closing(OnnxClassifier(bundle)) as classifier,
        closing(open_centres(bundle, method)) as centres,
    ):
        prove(classifier, bundle)
        analyser = Analyser(
            pixel_size_um,
            classifier,
            bundle.manifest,
            usual_looks=bundle.appearance,
            still=still,
            centres=centres.model,
            everything=everything,
        )
        scale, poses, gallery = ScaleWatch(), Poses(), Gallery(bundle.manifest.threshold)
        account, colours = Account(source), ColourWatch("--exchange-red-blue", warn)
        for step in _steps(source, analyser, scale, progress):
            account.see(step)
            colours.see(step.frame, step.reason)
            poses.add(step)
            gallery.see(step.events, analyser.counter.pictures)
        gallery.see(analyser.finish(), analyser.counter.pictures)
        colours.finish()
        scale.finish()
    seconds = time.perf_counter() - start
    analyser.border.note("pixel_size_out_of_domain", holds=bool(scale.doubt(pixel_size_um, "the pixel size")))
    analyser.border.note("colours_impossible", holds=colours.fault is not None)
    known = errors or shipped_errors(bundle.manifest)
    summary = summary_of(analyser, known, scale, account, bundle, seconds, kind, allow_left_out)
    summary["notes"] += [colours.doubt] if colours.fault else []
    return Counted(summary, list(analyser.cells()), poses.rows(), analyser, scale, gallery, account)


def compared(counted: Counted, earlier: Earlier) -> Counted:
    """Lay a count beside an earlier one of the same frames, made with another model or release.

    Raises
    ------
    UsageError
        The earlier count is one of other frames.
    """
    require_same_frames(earlier, counted.summary["frames"])
    difference = differ(earlier, counted.rows, counted.analyser.pixel_size_um)
    summary = {**counted.summary, "difference": difference.summary(earlier.bundle)}
    return replace(counted, summary=summary, difference=difference, bundle_before=earlier.bundle)


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


def _steps(source: FrameSource, analyser: Analyser, scale: ScaleWatch, progress: Progress) -> Iterator[Step]:
    done = 0
    while (frame := source.read()) is not None:
        step = analyser.analyse(frame)
        scale.see(frame, step.reason)
        yield step
        done += 1
        progress(done)


def summary_of(
    counting: CountedBy,
    errors: Sequence[ErrorCounts],
    scale: ScaleWatch,
    account: Accounted,
    bundle: Bundle,
    seconds: float,
    kind: SessionKind,
    allow_left_out: float,
) -> dict[str, Any]:
    """Say what a count came to: the content of ``summary.json``; the arguments are those of ``count``."""
    tally = _claimed(counting, errors)
    summary = {**_summary(tally, counting, scale, bundle, seconds), **account_fields(account, allow_left_out)}
    summary["kind"] = kind
    summary["complete"] = summary["complete"] and account.share <= allow_left_out
    return summary


def _claimed(analyser: CountedBy, errors: Sequence[ErrorCounts]) -> Tally:
    tally, reasons = analyser.tally(), analyser.border.reasons
    return replace(tally, claim=claim(tally.fnrbc, tally.leukocytes, errors, reasons), provisional=reasons)


def _summary(
    tally: Tally, analyser: CountedBy, scale: ScaleWatch, bundle: Bundle, seconds: float
) -> dict[str, Any]:
    return {
        **counts(tally),
        "unique_area_mm2": round(tally.unique_area_mm2, 6),
        "pixel_size_um": analyser.pixel_size_um,
        "pixel_size_estimate_um": _estimate(scale.estimate),
        "revisit_share": round(tally.revisit_share, 4),
        "cells_open": tally.cells_open,
        "complete": is_complete(tally),
        "seeing": analyser.seeing.method,
        "stain": analyser.stain.as_note(),
        "bundle": bundle.id,
        "version": fnrbc_device.__version__,
        "seconds": round(seconds, 3),
        "fps": round(tally.frames / seconds, 2),
    }


def _estimate(estimate: PixelSizeEstimate | None) -> dict[str, float | int | None]:
    if estimate is None:
        return {"value": None, "low": None, "high": None, "cells": 0}
    low, high = round(estimate.low_um, 5), round(estimate.high_um, 5)
    return {"value": round(estimate.value_um, 5), "low": low, "high": high, "cells": estimate.cells}


def is_complete(tally: Tally) -> bool:
    """Whether nothing is left open: something was seen, no cell is unsettled, no island unjoined."""
    return tally.frames_used > 0 and tally.islands <= 1 and tally.cells_open == 0


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


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors=ESCAPE)
    part.replace(path)
