"""Cuts pieces that hold more than one nucleus at their bottlenecks.

A bottleneck is looked for in how deep each pixel lies in its piece: two cells are two depths with a narrower neck
between them. Few pieces have a waist at all; those are drawn on a sheet together and measured at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.vision.outline import Outline

CUT_RADIUS_UM: Final = 2.3
"""Least inner radius of each part of a cut clump: the narrowest fNRBC nucleus measures about 5 um."""

NECK: Final = 0.78
"""A cut needs a neck narrower than this share of the narrower part's inner radius: two circles that overlap by
20 % of their diameter have a neck of 0.6."""

NECKS: Final = np.linspace(0.15, 0.7125, 7, dtype=np.float32)
"""Depths at which parts are looked for, as shares of the deepest; from ``NECK`` on none could be narrow enough."""

WAIST: Final = 0.96
"""Share of its hull above which a piece has no waist worth looking at. Two equal discs fill 0.94 of theirs where
they overlap by 20 % of their diameter; in pixels, 10 % fill up to 0.935."""

SEED_SHARE: Final = 0.26
"""Of ``CUT_RADIUS_UM``: a part that deep (0.6 um, half of the smallest piece) keeps its place in a cut. Without a
core of its own a lobe too small for a nucleus is flooded by the background and lost."""

WAY_POINTS: Final = 32
"""Places on the way between two maxima at which the depth is read: each pixel of a nucleus of 8 um."""

MARGIN_PX: Final = 2
"""Empty pixels round a piece on its sheet."""

LIKE_WIDTH: Final = 2.0
"""The widest piece on a sheet over the narrowest: a sheet holds pieces, not emptiness."""

MOST_SHEETS: Final = 2.0
"""Room that all sheets get together, in pictures. Clumps of cells lie side by side and need less than one; boxes of
what is no cell may lie in each other by the hundred, and the rest of them stay whole."""


def cut_clumps(pieces: list[Outline], low: NDArray[np.uint8], pixel_um: float) -> list[Outline]:
    """Cut pieces at their bottlenecks where each side holds a whole nucleus; the others stay as they are.

    Parameters
    ----------
    pieces
        Connected dark pieces.
    low
        (h, w) uint8, the low-passed working picture they were found in.
    pixel_um
        Size of a working pixel, um.

    Returns
    -------
    list of Outline
        In the order of the pieces, parts in place of what was cut.
    """
    least_px = CUT_RADIUS_UM / pixel_um
    suspects = [piece for piece in pieces if _has_waist(piece, least_px)]
    parts: dict[int, list[Outline]] = {}
    for alike in _by_width(suspects, MOST_SHEETS * low.size):
        sheet = _Sheet.of(alike)
        for place, neck_px in _necks(sheet, least_px).items():
            parts[id(alike[place])] = _parts(sheet, place, neck_px, least_px, low)
    return [part for piece in pieces for part in parts.get(id(piece), [piece])]


def _has_waist(piece: Outline, least_px: float) -> bool:
    """Whether two nuclei would fit, and the outline leaves its hull far enough; a cheap test that most fail."""
    return piece.area_px2 >= 2 * np.pi * least_px**2 and piece.area_px2 < WAIST * piece.hull_px2


def _by_width(pieces: list[Outline], room_px: float) -> Iterator[list[Outline]]:
    """Pieces of like width together, as long as there is room, narrow ones first."""
    alike: list[Outline] = []
    for piece in sorted(pieces, key=lambda piece: piece.box[2]):
        _, _, width, height = piece.box
        room_px -= (width + 2 * MARGIN_PX) * (height + 2 * MARGIN_PX)
        if room_px < 0:
            break
        if alike and width > LIKE_WIDTH * alike[0].box[2]:
            yield alike
            alike = []
        alike.append(piece)
    if alike:
        yield alike


@dataclass(frozen=True, slots=True, eq=False)
class _Sheet:
    """Pieces drawn under each other, so that one call measures all of them."""

    pieces: list[Outline]
    starts: NDArray[np.intp]
    """(n + 1,) first row of each piece, and the end of the last."""
    mask: NDArray[np.uint8]
    """255 on the pieces."""
    depth: NDArray[np.float32]
    """Distance to the nearest pixel outside, px."""

    @staticmethod
    def of(pieces: list[Outline]) -> _Sheet:
        heights = [piece.box[3] + 2 * MARGIN_PX for piece in pieces]
        starts = np.concatenate(([0], np.cumsum(heights)))
        mask = np.zeros((starts[-1], max(piece.box[2] for piece in pieces) + 2 * MARGIN_PX), np.uint8)
        for piece, start in zip(pieces, starts.tolist(), strict=False):
            left, top, _, _ = piece.box
            cv2.fillPoly(mask, [piece.points_xy], 255, offset=(MARGIN_PX - left, start + MARGIN_PX - top))
        return _Sheet(pieces, starts, mask, np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32))

    def place_of(self, place: int) -> tuple[slice, slice]:
        """Rows and columns of a piece."""
        rows = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return rows, slice(0, self.pieces[place].box[2] + 2 * MARGIN_PX)

    def rows_of(self, places: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """The depth of some pieces, under each other, and their starts."""
        starts = np.concatenate(([0], np.cumsum(np.diff(self.starts)[places])))
        return np.concatenate([self.depth[self.starts[place] : self.starts[place + 1]] for place in places]), starts


@dataclass(frozen=True, slots=True, eq=False)
class _Maxima:
    """The places of a sheet that are deepest among their neighbours, and deep enough for a cell; row by row."""

    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    depths: NDArray[np.float32]
    owners: NDArray[np.intp]
    """Which piece each lies in."""

    @staticmethod
    def of(depth: NDArray[np.float32], starts: NDArray[np.intp], least_px: float) -> _Maxima:
        deep = np.flatnonzero(depth >= least_px)
        highest = np.asarray(cv2.dilate(depth, _SQUARE), np.float32)
        places = deep[depth.ravel()[deep] == highest.ravel()[deep]]
        rows, cols = np.divmod(places, depth.shape[1])
        owners = np.asarray(np.searchsorted(starts, rows, side="right") - 1, np.intp)
        return _Maxima(rows, cols, depth.ravel()[places], owners)

    def deepest(self, pieces: int) -> NDArray[np.intp]:
        """Which of them is the deepest of each piece; 0 for a piece that has none."""
        deepest = np.zeros(pieces, np.intp)
        rising = np.argsort(self.depths, kind="stable")
        deepest[self.owners[rising]] = rising  # the last one written is the deepest
        return deepest


def _necks(sheet: _Sheet, least_px: float) -> dict[int, float]:
    """Depth at which a piece falls into the most cells, px, by its place on the sheet; what stays one is left out.

    Parts that separate at depth ``d`` are cells if each is deeper than ``d / NECK`` and than the least inner radius.
    """
    maxima = _Maxima.of(sheet.depth, sheet.starts, least_px)
    hubs = maxima.deepest(len(sheet.pieces))[maxima.owners]
    suspects = np.unique(maxima.owners[_narrowest(sheet.depth, maxima, hubs) <= NECK * maxima.depths])
    if not len(suspects):
        return {}
    depth, starts = sheet.rows_of(suspects)
    maxima = _Maxima.of(depth, starts, least_px)
    necks = NECKS[:, None] * maxima.depths[maxima.deepest(len(suspects))]
    cells = np.array([_cells(depth, np.repeat(neck, np.diff(starts)), maxima, least_px) for neck in necks])
    best = cells.argmax(axis=0)
    found = zip(suspects.tolist(), best.tolist(), range(len(suspects)), strict=True)
    return {place: float(necks[step, own]) for place, step, own in found if cells[step, own] > 1}


def _narrowest(depth: NDArray[np.float32], maxima: _Maxima, hubs: NDArray[np.intp]) -> NDArray[np.float64]:
    """Least depth on the straight way from each maximum to its piece's deepest, px: no neck between is narrower.

    Two parts that fall apart have a neck on at least one of their ways to the deepest place.
    """
    down, right = maxima.rows[hubs] - maxima.rows, maxima.cols[hubs] - maxima.cols
    way = np.linspace(0, 1, WAY_POINTS)
    rows, cols = (np.rint(at[:, None] + way * by[:, None]) for at, by in ((maxima.rows, down), (maxima.cols, right)))
    passed = depth.ravel()[(rows * depth.shape[1] + cols).astype(np.intp)]
    # Between the points it may be less: depth changes by a pixel a pixel at most.
    return np.asarray(passed.min(axis=1) - np.hypot(down, right) / (2 * WAY_POINTS), np.float64)


def _cells(
    depth: NDArray[np.float32], neck_of_row: NDArray[np.float32], maxima: _Maxima, least_px: float
) -> NDArray[np.intp]:
    """How many cells each piece falls into where it is deeper than its neck."""
    _, labels = cv2.connectedComponents((depth > neck_of_row[:, None]).view(np.uint8))
    deep = maxima.depths >= np.maximum(least_px, neck_of_row[maxima.rows] / NECK)
    parts = labels[maxima.rows[deep], maxima.cols[deep]].tolist()
    owners = dict(zip(parts, maxima.owners[deep].tolist(), strict=True))
    return np.bincount(np.array(list(owners.values()), np.intp), minlength=int(maxima.owners.max()) + 1)


def _parts(sheet: _Sheet, place: int, neck_px: float, least_px: float, low: NDArray[np.uint8]) -> list[Outline]:
    """The parts of one piece that falls apart at a neck."""
    window = sheet.place_of(place)
    cores = _cores(sheet.depth[window], neck_px, least_px)
    left, top, width, height = sheet.pieces[place].box
    inner = low[top : top + height, left : left + width]
    patch = cv2.copyMakeBorder(inner, MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX, cv2.BORDER_REPLICATE)
    markers = _flooded(np.asarray(patch, np.uint8), sheet.mask[window], cores)
    return _outlines(markers, np.array([left - MARGIN_PX, top - MARGIN_PX], np.int32))


def _cores(depth: NDArray[np.float32], neck_px: float, least_px: float) -> NDArray[np.int32]:
    """Label what is deeper than the neck, from 1 on; parts too small for a cell keep a core if they are no speck."""
    count, labels = cv2.connectedComponents((depth > np.float32(neck_px)).view(np.uint8))
    deep = depth >= max(SEED_SHARE * least_px, neck_px / NECK)
    kept = np.bincount(labels[deep], minlength=count) > 0
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return np.asarray(numbers[labels], np.int32)


def _flooded(patch: NDArray[np.uint8], mask: NDArray[np.uint8], cores: NDArray[np.int32]) -> NDArray[np.int32]:
    """Grow the cores along the picture's own gradients until they meet; 0 between and beyond them."""
    beyond = int(cores.max()) + 1
    markers = np.where(mask == 0, np.int32(beyond), cores)
    cv2.watershed(cv2.cvtColor(patch, cv2.COLOR_GRAY2BGR), markers)
    markers[(markers < 0) | (markers == beyond)] = 0
    return markers


def _outlines(markers: NDArray[np.int32], origin_xy: NDArray[np.int32]) -> list[Outline]:
    """The outline of each label's largest piece, in the labels' order."""
    contours, hierarchy = cv2.findContours(markers, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    largest: dict[int, tuple[float, NDArray[np.int32]]] = {}
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        points = np.asarray(contour, np.int32)[:, 0]
        label, area = int(markers[points[0, 1], points[0, 0]]), cv2.contourArea(points)
        is_outer = parent < 0 and label > 0  # what lies between the parts is outlined as well
        if is_outer and (label not in largest or area > largest[label][0]):
            largest[label] = area, points
    return [Outline.of(points + origin_xy) for _, (_, points) in sorted(largest.items())]


_SQUARE: Final = np.ones((3, 3), np.uint8)
