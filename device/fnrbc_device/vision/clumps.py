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

CUT_RADIUS_UM: Final = 2.1
"""Least inner radius of each part of a cut clump: the narrowest fNRBC nucleus measures about 5 um. From 2.3 to 2.0 the
painted pairs seen as two rise from 93 to 95 %, at 1.8 neutrophils begin to fall apart (``pbc``)."""

NECK: Final = 0.9
"""A cut needs a neck narrower than this share of the narrower part's inner radius. Two circles that overlap by 20 % of
their diameter have a neck of 0.6, a small cell in the side of a large one up to 0.9; lobes are joined again."""

NECKS: Final = np.linspace(0.15, 0.9, 9, dtype=np.float32)
"""Depths at which parts are looked for, as shares of the deepest; from ``NECK`` on none could be narrow enough."""

WAIST: Final = 0.96
"""Share of its hull above which a piece has no waist worth looking at. Two equal discs fill 0.94 of theirs where
they overlap by 20 % of their diameter; in pixels, 10 % fill up to 0.935."""

SEED_SHARE: Final = 0.3
"""Of ``CUT_RADIUS_UM``: a part that deep (0.6 um, half of the smallest piece) keeps its place in a cut. Without a
core of its own a lobe too small for a nucleus is flooded by the background and lost."""

WAY_POINTS: Final = 32
"""Places on the way between two maxima at which the depth is read: each pixel of a nucleus of 8 um."""

MARGIN_PX: Final = 2
"""Empty pixels round a piece on its sheet."""

LIKE_WIDTH: Final = 2.0
"""The widest piece on a sheet over the narrowest: a sheet holds pieces, not emptiness."""

STACKED_PX: Final = 1 << 18
"""Pixels of the copies of a sheet that are looked at in one call, one copy a depth; as much as fits into the cache."""

MOST_SHEETS: Final = .5
"""Room that all sheets get together, in pictures. Clumps of cells lie side by side and need less than one; boxes of
what is no cell may lie in each other by the hundred, and the rest of them stay whole."""


def cut_clumps(
    pieces: list[Outline], low: NDArray[np.uint8], pixel_um: float, radius_um: float = CUT_RADIUS_UM
) -> list[Outline]:
    """Cut pieces at their bottlenecks where each side holds a whole nucleus; the others stay as they are.

    Parameters
    ----------
    pieces
        Connected dark pieces.
    low
        (h, w) uint8, the low-passed working picture they were found in.
    pixel_um
        Size of a working pixel, um.
    radius_um
        Least inner radius of each part, um.

    Returns
    -------
    list of Outline
        What stayed whole in the order of the pieces, then the parts of what was cut.
    """
    whole: list[Outline] = []
    room_px = MOST_SHEETS * low.size
    while pieces:
        suspects = [piece for piece in pieces if _has_waist(piece, radius_um / pixel_um)]
        suspects = _that_fit(suspects, room_px)
        room_px -= sum(_room(piece) for piece in suspects)
        parts = _cut(suspects, low, radius_um / pixel_um)
        whole += [piece for piece in pieces if id(piece) not in parts]
        # Necks of one clump differ in depth: what fell apart at one may hold others.
        pieces = [part for found in parts.values() for part in found]
    return whole


def _cut(suspects: list[Outline], low: NDArray[np.uint8], least_px: float) -> dict[int, list[Outline]]:
    """The parts of the pieces that fall apart, by the piece's id."""
    parts: dict[int, list[Outline]] = {}
    for alike in _by_width(suspects):
        sheet = _Sheet.of(alike)
        necks = _necks(sheet, least_px)
        if necks:
            parts |= _parts(sheet.only(list(necks)), np.array(list(necks.values()), np.float32), least_px, low)
    return {name: found for name, found in parts.items() if len(found) > 1}


def _has_waist(piece: Outline, least_px: float) -> bool:
    """Whether two nuclei would fit, and the outline leaves its hull far enough; a cheap test that most fail."""
    return piece.area_px2 >= 2 * np.pi * least_px**2 and piece.area_px2 < WAIST * piece.hull_px2


def _room(piece: Outline) -> int:
    """Pixels that a piece takes on a sheet."""
    _, _, width, height = piece.box
    return (width + 2 * MARGIN_PX) * (height + 2 * MARGIN_PX)


def _that_fit(pieces: list[Outline], room_px: float) -> list[Outline]:
    """As many as there is room for, narrow ones first."""
    narrow_first = sorted(pieces, key=lambda piece: piece.box[2])
    if sum(map(_room, pieces)) <= room_px:
        return narrow_first
    taken = np.cumsum([_room(piece) for piece in narrow_first])
    return narrow_first[: int(np.searchsorted(taken, room_px, side="right"))]


def _by_width(pieces: list[Outline]) -> Iterator[list[Outline]]:
    """Pieces of like width together; narrow ones first, as they come."""
    alike: list[Outline] = []
    for piece in pieces:
        if alike and piece.box[2] > LIKE_WIDTH * alike[0].box[2]:
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

    def only(self, places: list[int]) -> _Sheet:
        """Some of the pieces, in their order, under each other."""
        if len(places) == len(self.pieces):
            return self
        starts = np.concatenate(([0], np.cumsum(np.diff(self.starts)[places])))
        rows = np.concatenate([np.arange(self.starts[place], self.starts[place + 1]) for place in places])
        return _Sheet([self.pieces[place] for place in places], starts, self.mask[rows], self.depth[rows])

    def each_row(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A value a piece as a column, a row a row of the sheet."""
        return np.repeat(values, np.diff(self.starts))[:, None]

    def picture(self, low: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the picture shows where the pieces lie, continued into their margins."""
        shown = np.zeros_like(self.mask)
        for piece, start in zip(self.pieces, self.starts.tolist(), strict=False):
            left, top, width, height = piece.box
            patch = cv2.copyMakeBorder(low[top : top + height, left : left + width], *_MARGINS, cv2.BORDER_REPLICATE)
            shown[start : start + patch.shape[0], : patch.shape[1]] = patch
        return shown


@dataclass(frozen=True, slots=True, eq=False)
class _Maxima:
    """The places of a sheet that are deepest among their neighbours, and deep enough for a cell; row by row."""

    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    depths: NDArray[np.float32]
    owners: NDArray[np.intp]
    """Which piece each lies in."""

    @staticmethod
    def of(sheet: _Sheet, least_px: float) -> _Maxima:
        depth = sheet.depth
        deep = np.flatnonzero(depth >= least_px)
        highest = np.asarray(cv2.dilate(depth, _SQUARE), np.float32)
        places = deep[depth.ravel()[deep] == highest.ravel()[deep]]
        rows, cols = np.divmod(places, depth.shape[1])
        owners = np.asarray(np.searchsorted(sheet.starts, rows, side="right") - 1, np.intp)
        return _Maxima(rows, cols, depth.ravel()[places], owners)

    def only(self, places: list[int], sheet: _Sheet) -> _Maxima:
        """Those of some of the sheet's pieces, as they lie on a sheet of these pieces only."""
        heights = np.diff(sheet.starts)[places]
        up = sheet.starts[places] - np.cumsum(heights) + heights
        kept = np.isin(self.owners, places)
        owners = np.asarray(np.searchsorted(places, self.owners[kept]), np.intp)
        return _Maxima(self.rows[kept] - up[owners], self.cols[kept], self.depths[kept], owners)

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
    maxima = _Maxima.of(sheet, least_px)
    hubs = maxima.deepest(len(sheet.pieces))[maxima.owners]
    suspects = np.unique(maxima.owners[_narrowest(sheet.depth, maxima, hubs) <= NECK * maxima.depths]).tolist()
    if not suspects:
        return {}
    if len(suspects) < len(sheet.pieces):
        maxima, sheet = maxima.only(suspects, sheet), sheet.only(suspects)
    necks = NECKS[:, None] * maxima.depths[maxima.deepest(len(suspects))]
    steps = max(1, STACKED_PX // sheet.depth.size)
    at_once = range(0, len(necks), steps)
    cells = np.concatenate([_cells(sheet, necks[start : start + steps], maxima, least_px) for start in at_once])
    best = cells.argmax(axis=0).tolist()
    return {
        place: float(necks[step, own])
        for own, (place, step) in enumerate(zip(suspects, best, strict=True))
        if cells[step, own] > 1
    }


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


def _cells(sheet: _Sheet, necks: NDArray[np.float32], maxima: _Maxima, least_px: float) -> NDArray[np.intp]:
    """How many cells each piece falls into where it is deeper than its neck; (steps, pieces) in and out."""
    # A copy of the sheet for each step, under each other: a piece's margins keep it from all others.
    deep = sheet.depth > np.repeat(necks, np.diff(sheet.starts), axis=1)[..., None]
    _, stacked = cv2.connectedComponents(deep.reshape(-1, deep.shape[2]).view(np.uint8))
    labels = stacked.reshape(deep.shape)
    steps, places = np.nonzero(maxima.depths >= np.maximum(least_px, necks / NECK)[:, maxima.owners])
    parts = labels[steps, maxima.rows[places], maxima.cols[places]]
    _, first = np.unique(parts, return_index=True)
    owners = steps[first] * necks.shape[1] + maxima.owners[places[first]]
    return np.bincount(owners, minlength=necks.size).reshape(necks.shape)


def _parts(
    sheet: _Sheet, necks: NDArray[np.float32], least_px: float, low: NDArray[np.uint8]
) -> dict[int, list[Outline]]:
    """The parts that pieces fall into at their necks, by the piece's id."""
    parts: dict[int, list[Outline]] = {id(piece): [] for piece in sheet.pieces}
    markers = _flooded(sheet.picture(low), sheet.mask, _cores(sheet, necks, least_px))
    for points in _contours(markers):
        place = int(np.searchsorted(sheet.starts, points[0, 1], side="right")) - 1
        piece, start = sheet.pieces[place], int(sheet.starts[place])
        left, top, _, _ = piece.box
        origin = np.array([left - MARGIN_PX, top - MARGIN_PX - start], np.int32)
        parts[id(piece)].append(Outline.of(points + origin))
    return parts


def _cores(sheet: _Sheet, necks: NDArray[np.float32], least_px: float) -> NDArray[np.int32]:
    """Label what is deeper than the neck, from 1 on; parts too small for a cell keep a core if they are no speck."""
    count, labels = cv2.connectedComponents((sheet.depth > sheet.each_row(necks)).view(np.uint8))
    deep = sheet.depth >= sheet.each_row(np.maximum(SEED_SHARE * least_px, necks / NECK))
    kept = np.bincount(labels[deep], minlength=count) > 0
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return np.asarray(numbers[labels], np.int32)


def _flooded(picture: NDArray[np.uint8], mask: NDArray[np.uint8], cores: NDArray[np.int32]) -> NDArray[np.int32]:
    """Grow the cores along the picture's own gradients until they meet; 0 between and beyond them."""
    beyond = int(cores.max()) + 1
    markers = np.where(mask == 0, np.int32(beyond), cores)
    cv2.watershed(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), markers)
    markers[(markers < 0) | (markers == beyond)] = 0
    return markers


def _contours(markers: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """(N, 2) x, y of the outline of each label's largest piece, in the labels' order."""
    contours, hierarchy = cv2.findContours(markers, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    largest: dict[int, tuple[float, NDArray[np.int32]]] = {}
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0].tolist(), strict=True):
        points = np.asarray(contour, np.int32)[:, 0]
        label = int(markers[points[0, 1], points[0, 0]])
        if parent >= 0 or label == 0:  # holes, and what lies between the parts
            continue
        area = cv2.contourArea(points)
        if label not in largest or area > largest[label][0]:
            largest[label] = area, points
    return [points for _, (_, points) in sorted(largest.items())]


_MARGINS: Final = (MARGIN_PX,) * 4
_SQUARE: Final = np.ones((3, 3), np.uint8)
