"""``fnrbc count``: recorded frames in; summary, cells, poses and a report out."""

import csv
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import fnrbc_device
from fnrbc_device.analysis import Analyser, require_pixel_size
from fnrbc_device.bundle import Bundle
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.counting.ledger import Cell
from fnrbc_device.errors import UsageError
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.records import CountEvent, Image, Join, Pose, Rejection, Step, Tally, final_pose
from fnrbc_device.report import GalleryItem, Report, write_report
from fnrbc_device.wording import RESEARCH_USE_ONLY

CELL_COLUMNS: Final = (
    "cell", "island", "x_px", "y_px", "x_um", "y_um", "class", "probability", "views", "diameter_um",
    "nucleus_ratio", "best_frame",
)  # fmt: skip
POSE_COLUMNS: Final = ("frame", "island", "x_px", "y_px", "used", "reason")

GALLERY_LIMIT: Final = 400
"""Candidates shown in the report; a page with more than 400 pictures is read by no one, cells.csv holds all."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What a source came to."""

    summary: dict[str, Any]
    """The content of ``summary.json``."""
    cells: list[Cell]
    steps: list[tuple[Any, ...]]
    """Rows of ``poses.csv``."""
    analyser: Analyser


def count(source: FrameSource, bundle: Bundle, pixel_size_um: float, *, still: bool, progress: Progress) -> Counted:
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

    Raises
    ------
    ParityError
        The network does not reproduce its checkpoint's probabilities on this machine.
    SourceError
        The source has no good frame.
    """
    start = time.perf_counter()
    with closing(source), closing(OnnxClassifier(bundle)) as classifier:
        prove(classifier, bundle)
        analyser = Analyser(pixel_size_um, classifier, bundle.manifest, still=still)
        rows = _Poses()
        for step in _steps(source, analyser, progress):
            rows.add(step)
        analyser.finish()
    seconds = time.perf_counter() - start
    summary = _summary(analyser.tally(), bundle, seconds)
    return Counted(summary, list(analyser.cells()), rows.rows(), analyser)


def write(counted: Counted, out: Path, source_name: str, bundle: Bundle) -> None:
    """Write the four files of a count into a folder, replacing what an earlier count left there.

    Raises
    ------
    UsageError
        The folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        rows = [_cell_row(cell, counted.analyser.pixel_size_um) for cell in counted.cells]
        _write_csv(out / "cells.csv", CELL_COLUMNS, rows)
        _write_csv(out / "poses.csv", POSE_COLUMNS, counted.steps)
        _replace(out / "summary.json", json.dumps(counted.summary, indent=2) + "\n")
        write_report(out / "report.html", _report(counted, rows, source_name, bundle))
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); choose a folder that can") from error


def require_writable(out: Path) -> None:
    """Refuse a target that cannot become a folder, before hours of counting rather than after."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        raise UsageError(f"--out {out} cannot be written: {nearest} is read-only; choose another folder")


def require_known_pixel_size(asked: float | None, source: FrameSource) -> float:
    """The pixel size that was asked for, or the one the source knows."""
    known = asked if asked is not None else source.pixel_size_um
    if known is None:
        raise UsageError(
            "nothing tells the size of a pixel on the slide; give --pixel-size-um, "
            "the camera's pixel over the magnification (3.45 um / 40 = 0.086)"
        )
    require_pixel_size(known)
    return known


def _steps(source: FrameSource, analyser: Analyser, progress: Progress) -> Iterator[Step]:
    done = 0
    while (frame := source.read()) is not None:
        yield analyser.analyse(frame)
        done += 1
        progress(done)


def _summary(tally: Tally, bundle: Bundle, seconds: float) -> dict[str, Any]:
    rate = tally.fnrbc_per_100_leukocytes
    return {
        "frames": tally.frames,
        "frames_used": tally.frames_used,
        "frames_rejected": tally.frames_rejected,
        "islands": tally.islands,
        "cells": tally.cells,
        "fnrbc": tally.fnrbc,
        "leukocytes": tally.leukocytes,
        "other": tally.other,
        "indeterminate": tally.indeterminate,
        "fnrbc_per_100_leukocytes": asdict(rate) if rate else {"value": None, "low": None, "high": None},
        "unique_area_mm2": round(tally.unique_area_mm2, 6),
        "complete": is_complete(tally),
        "bundle": bundle.id,
        "version": fnrbc_device.__version__,
        "seconds": round(seconds, 3),
        "fps": round(tally.frames / seconds, 2),
    }


def is_complete(tally: Tally) -> bool:
    """Whether nothing is left open: something was seen, no cell is unsettled, no island unjoined."""
    return tally.frames_used > 0 and tally.islands <= 1 and tally.cells_open == 0


def _cell_row(cell: Cell, pixel_size_um: float) -> tuple[Any, ...]:
    event = cell.settled
    assert event is not None
    return (
        cell.number,
        cell.island,
        round(cell.col_px, 2),
        round(cell.row_px, 2),
        round(cell.col_px * pixel_size_um, 3),
        round(cell.row_px * pixel_size_um, 3),
        event.verdict.class_name,
        round(event.verdict.probability, 4),
        cell.views,
        round(event.diameter_um, 2),
        round(event.nucleus_ratio, 3),
        event.best_frame,
    )


class _Poses:
    """The rows of ``poses.csv``: every frame on the island that it belongs to in the end."""

    def __init__(self) -> None:
        self._placed: list[tuple[int, Pose | None, Rejection | None]] = []
        self._joins: list[Join] = []

    def add(self, step: Step) -> None:
        self._placed.append((step.frame.index, step.pose, step.reason))
        self._joins += step.joins

    def rows(self) -> list[tuple[Any, ...]]:
        return [self._row(*placed) for placed in self._placed]

    def _row(self, index: int, pose: Pose | None, reason: Rejection | None) -> tuple[Any, ...]:
        used = int(reason is None)
        if pose is None:
            return (index, "", "", "", used, reason or "")
        pose = final_pose(pose, self._joins)
        return (index, pose.island, round(pose.col_px, 3), round(pose.row_px, 3), used, reason or "")


def _report(counted: Counted, rows: list[tuple[Any, ...]], source_name: str, bundle: Bundle) -> Report:
    analyser, manifest = counted.analyser, bundle.manifest
    slide_map = analyser.slide_map
    mosaics = [slide_map.mosaic(island) for island in slide_map.islands] if slide_map else []
    return Report(
        title=source_name,
        summary=counted.summary,
        cells=[dict(zip(CELL_COLUMNS, row, strict=True)) for row in rows],
        mosaics=[mosaic for mosaic in mosaics if mosaic is not None],
        gallery=_gallery(counted.cells, manifest.threshold, analyser.pixel_size_um),
        threshold=manifest.threshold,
        provenance={
            "Software": f"fnrbc {fnrbc_device.__version__}",
            "Model bundle": bundle.id,
            "Network": manifest.network,
            "Preprocessing": manifest.preprocessing_id,
            "Source": source_name,
            "Pixel size": f"{analyser.pixel_size_um} um",
            "Counted as fNRBC from probability": manifest.threshold,
            "Indeterminate from, up to": f"{manifest.indeterminate[0]}, {manifest.indeterminate[1]}",
        },
        target=manifest.classes[manifest.target].name,
    )


def _gallery(cells: list[Cell], threshold: float, um: float) -> list[GalleryItem]:
    """Candidates whose picture was kept; those nearest to the threshold, where there are too many."""
    kept = [(cell, cell.settled, cell.best[0].crop) for cell in cells if cell.best and cell.settled]
    items = [_gallery_item(cell, event, crop, um) for cell, event, crop in kept]
    items.sort(key=lambda item: abs(item.probability - threshold))
    return items[:GALLERY_LIMIT]


def _gallery_item(cell: Cell, event: CountEvent, crop: Image, um: float) -> GalleryItem:
    return GalleryItem(
        cell=cell.number,
        island=cell.island,
        class_name=event.verdict.class_name,
        probability=event.verdict.target_probability,
        crop=crop,
        x_um=cell.col_px * um,
        y_um=cell.row_px * um,
        views=cell.views,
        diameter_um=event.diameter_um,
    )


def in_words(summary: dict[str, Any], out: Path) -> str:
    """The summary for a person, in a few lines."""
    rate = summary["fnrbc_per_100_leukocytes"]
    share = "no leukocyte was counted"
    if rate["value"] is not None:
        share = f"{rate['value']:.1f} per 100 leukocytes (95 % interval {rate['low']:.1f} to {rate['high']:.1f})"
    rejected = ", ".join(f"{n} {reason}" for reason, n in summary["frames_rejected"].items()) or "none"
    return "\n".join(
        [
            f"{summary['fnrbc']} fNRBC, {summary['leukocytes']} leukocytes: {share}",
            f"{summary['indeterminate']} indeterminate, {summary['other']} other, {summary['cells']} cells in all; "
            "unverified until a person has reviewed the candidates",
            f"{summary['frames_used']} of {summary['frames']} frames used (rejected: {rejected}), "
            f"{summary['unique_area_mm2']:.3f} mm2, "
            + ("complete" if summary["complete"] else f"not complete: {summary['islands']} islands"),
            f"{summary['seconds']:.1f} s, {summary['fps']:.1f} frames/s -> {out / 'report.html'}",
            RESEARCH_USE_ONLY,
        ]
    )


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    part.replace(path)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
