"""What a count came to: its cells, and the content of ``summary.json``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import fnrbc_device
from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.commands.left_out import Accounted, account_fields
from fnrbc_device.counting.cell import Cell
from fnrbc_device.counting.cells_csv import cell_row
from fnrbc_device.counting.claim import claim
from fnrbc_device.counting.measured_range import Border
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import ErrorCounts, Pose, SeeingMethod, SessionKind, Tally
from fnrbc_device.reporting.counts import counts
from fnrbc_device.reporting.difference import Difference, Earlier, differ, require_same_frames
from fnrbc_device.reporting.gallery import Gallery
from fnrbc_device.vision.pixelsize import PixelSizeEstimate
from fnrbc_device.vision.session_stain import SessionStain

Progress = Callable[[int], None]
"""Told the number of frames that are done."""


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
