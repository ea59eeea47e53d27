"""The part of a frame that is looked at: all of it, or boxes round what is new in it.

A cell is believed only where its surroundings were looked at, too: lobes that lie apart are joined, clumps are cut, and
a nucleus that a box cuts is none. So boxes reach beyond what is asked for, and what lies near their edges is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection

PAD_UM: Final = 8.0
"""A box reaches this far beyond what is asked for: farther than half of all but the largest nuclei."""

EDGE_UM: Final = 3.5
"""A nucleus that comes nearer to a box's edge may have a lobe beyond it: the widest gap between lobes is 3.2 um."""

BORDER_UM: Final = 3.0
"""What lies nearer to the frame's border may look otherwise when all of it is in view."""

MOST_SHARE: Final = 0.6
"""Of the frame: boxes that take more are no easier to look at than the whole."""

Box = tuple[int, int, int, int]
"""Top, left, bottom, right; working pixels."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The working pixels of a frame."""

    shape: tuple[int, int]
    """(rows, cols)."""
    factor: float
    """Frame pixels a working pixel."""
    pixel_um: float
    """Of a working pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """What is looked at of one frame."""

    grid: Grid
    boxes: tuple[Box, ...]

    @classmethod
    def all_of(cls, grid: Grid) -> Region:
        """The whole frame."""
        return cls(grid, ((0, 0, *grid.shape),))

    @classmethod
    def round_about(cls, grid: Grid, asked_px: Iterable[tuple[float, float, float, float]]) -> Region:
        """Boxes round what is asked for, or the whole frame where they would take most of it.

        Parameters
        ----------
        grid
            Of the frame.
        asked_px
            Top, left, bottom, right of each part asked for, frame pixels.
        """
        pad = PAD_UM / grid.pixel_um
        rows, cols = grid.shape
        boxes = []
        for top, left, bottom, right in asked_px:
            low = int(max(top / grid.factor - pad, 0)), int(max(left / grid.factor - pad, 0))
            high = int(np.ceil(bottom / grid.factor + pad)), int(np.ceil(right / grid.factor + pad))
            boxes.append((*low, min(high[0], rows), min(high[1], cols)))
        if sum((box[2] - box[0]) * (box[3] - box[1]) for box in boxes) > MOST_SHARE * rows * cols:
            return cls.all_of(grid)
        return cls(grid, tuple(boxes))

    @property
    def is_whole(self) -> bool:
        """Whether all of the frame is looked at."""
        return self.boxes == ((0, 0, *self.grid.shape),)

    def covers_each(
        self, rows_px: NDArray[np.float64], cols_px: NDArray[np.float64], margin_um: float = PAD_UM
    ) -> NDArray[np.bool_]:
        """Which places of a lattice were looked at with so much round them; (R,) and (C,) frame pixels to (R, C)."""
        covered = np.zeros((len(rows_px), len(cols_px)), np.bool_)
        down, right = ((at + 0.5) / self.grid.factor for at in (rows_px, cols_px))
        for low, high in self._within(margin_um / self.grid.pixel_um):
            covered |= np.outer((down >= low[0]) & (down <= high[0]), (right >= low[1]) & (right <= high[1]))
        return covered

    def covers(self, places_rc: NDArray[np.float64], margin_um: float = PAD_UM) -> NDArray[np.bool_]:
        """Which places were looked at with so much round them; (N, 2) frame pixels in. The frame ends nothing."""
        at = (np.asarray(places_rc, np.float64).reshape(-1, 2) + 0.5) / self.grid.factor
        inside = np.zeros(len(at), np.bool_)
        for low, high in self._within(margin_um / self.grid.pixel_um):
            inside |= ((at >= low) & (at <= high)).all(axis=1)
        return inside

    def keeps(self, detection: Detection) -> bool:
        """Whether a detection lies so far from the edges of what was looked at that it is all there."""
        points = detection.contour_xy
        low_xy, high_xy = points.min(axis=0), points.max(axis=0) + 1
        centre = (np.array(detection.centre_rc) + 0.5) / self.grid.factor
        pads = self._within((PAD_UM - 0.5) / self.grid.pixel_um)
        for pad, edge in zip(pads, self._within(EDGE_UM / self.grid.pixel_um), strict=True):
            all_there = (low_xy[::-1] >= edge[0]).all() and (high_xy[::-1] <= edge[1]).all()
            if all_there and (centre >= pad[0]).all() and (centre <= pad[1]).all():
                return True
        return False

    def is_at_border(self, detection: Detection) -> bool:
        """Whether a detection lies so near to the frame's border that more of it may come into view."""
        points, near = detection.contour_xy, BORDER_UM / self.grid.pixel_um
        rows, cols = self.grid.shape
        return bool(points.min() < near or (points.max(axis=0) > (cols - near, rows - near)).any())

    def only(self, picture: NDArray[np.uint8], empty: int) -> NDArray[np.uint8]:
        """A working picture with nothing outside of the boxes."""
        if self.is_whole:
            return picture
        shown = np.full_like(picture, empty)
        for top, left, bottom, right in self.boxes:
            shown[top:bottom, left:right] = picture[top:bottom, left:right]
        return shown

    def _within(self, margin: float) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Corners of each box, so much further in where the frame goes on."""
        ends = self.grid.shape
        found = []
        for top, left, bottom, right in self.boxes:
            low = [at and at + margin for at in (top, left)]
            high = [at if at == end else at - margin for at, end in zip((bottom, right), ends, strict=True)]
            found.append((np.array(low), np.array(high)))
        return found
