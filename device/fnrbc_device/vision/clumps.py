"""Tells touching cells from lobes of one nucleus.

Everything dark is first cut at its bottlenecks; then pieces that share one cell body are joined again. A cell's
body is convex, so chords across it do not get shorter on the way between two of its lobes; between two cells that
touch they do. The chords are read off the picture itself, cytoplasm included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CUT_RADIUS_UM: Final = 2.3
"""Least inner radius of each part of a cut clump: the narrowest fNRBC nucleus measures about 5 um."""

NECK: Final = 0.78
"""A cut needs a neck narrower than this share of the narrower part's inner radius: two circles that overlap by
20 % of their diameter have a neck of 0.6."""

WAIST: Final = 0.96
"""Share of its hull above which a piece has no waist worth looking at. Two equal discs fill 0.94 of theirs where
they overlap by 20 % of their diameter; in pixels, 10 % fill up to 0.935."""

SEED_SHARE: Final = 0.26
"""Of ``CUT_RADIUS_UM``: a part that deep (0.6 um, half of the smallest piece) keeps its place in a cut. Without a
core of its own a lobe too small for a nucleus is flooded by the background and lost."""

GAP_UM: Final = 2.6
"""Widest gap between lobes of one nucleus: eosinophils in ``pbc`` keep theirs within 2.5 um."""

GAP_POINTS: Final = 64
"""Points of each outline that a gap is measured between: every third of a nucleus' own, fewer of a large smudge's."""

LOBE_UM: Final = 4.2
"""A piece up to this wide (diameter of the circle of its area) is a lobe or a fragment, never a nucleus of its own
beside a larger one: the paper's smallest nucleated cell, the small lymphocyte, starts at 5 um."""

JOINED_UM: Final = 18.0
"""Widest joined nucleus: the longer side of its upright box."""

BODY_SHARE: Final = 0.85
"""Two pieces share a body if no chord between them is shorter than this share of what the chords through their
centres let expect on the way. 1 or more in any convex body; 0.6 where two equal discs overlap by 20 % of their
diameter. Granulocytes and monocytes of ``pbc`` stay whole (6 of 1,720 fall apart)."""

BETWEEN: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Where between two centres chords are read: a small cell touches a large one close to its own nucleus."""

CHORD_UM: Final = 7.0
"""A chord is followed this far to each side: granulocytes measure 10-15 um."""


@dataclass(slots=True, eq=False)
class Outline:
    """The outline of a nucleus or a piece of one, in working pixels."""

    points_xy: NDArray[np.int32]
    """(N, 2). Of a joined nucleus: the points of all lobes."""
    hull_xy: NDArray[np.int32]
    """(M, 1, 2) convex hull."""
    hull_px2: float
    """Its area."""
    area_px2: float
    centre_xy: tuple[float, float]
    """Centroid of the hull."""
    box: tuple[int, int, int, int]
    """left, top, width, height."""

    @staticmethod
    def of(points_xy: NDArray[np.int32], area_px2: float | None = None) -> Outline:
        """Measure an outline; the area is that inside it unless given (for several lobes)."""
        hull = np.asarray(cv2.convexHull(points_xy), np.int32)
        moments = cv2.moments(hull)
        weight = moments["m00"]
        left, top, width, height = cv2.boundingRect(hull)
        centre = (left + (width - 1) / 2, top + (height - 1) / 2)
        if weight > 0:
            centre = (moments["m10"] / weight, moments["m01"] / weight)
        # A contour runs through pixel centres: its pixels cover half a perimeter more than it encloses.
        inside = cv2.contourArea(points_xy) + len(points_xy) / 2 + 1 if area_px2 is None else area_px2
        return Outline(points_xy, hull, weight + len(points_xy) / 2, inside, centre, (left, top, width, height))

    @property
    def diameter_px(self) -> float:
        """Diameter of the circle of the same area."""
        return 2 * float(np.sqrt(self.area_px2 / np.pi))


def cut_clump(piece: Outline, low: NDArray[np.uint8], pixel_um: float) -> list[Outline]:
    """Cut a piece at its bottlenecks if each side holds a whole nucleus; else give it back as it is.

    Parameters
    ----------
    piece
        One connected dark piece.
    low
        (h, w) uint8, the low-passed working picture it was found in.
    pixel_um
        Size of a working pixel, um.
    """
    least_px = CUT_RADIUS_UM / pixel_um
    if piece.area_px2 < 2 * np.pi * least_px**2 or not _has_waist(piece):
        return [piece]
    left, top, width, height = piece.box
    mask = np.zeros((height + 4, width + 4), np.uint8)
    origin = np.array([left - 2, top - 2])
    cv2.fillPoly(mask, [piece.points_xy - origin], 255)
    depth = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32)
    cores = _cores(depth, least_px)
    if cores is None:
        return [piece]
    inner = low[top : top + height, left : left + width]
    patch = cv2.copyMakeBorder(inner, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    return _watershed(np.asarray(patch, np.uint8), mask, cores, origin)


def _has_waist(piece: Outline) -> bool:
    """Whether the outline leaves its hull far enough for a bottleneck; a cheap test that most pieces fail."""
    return piece.area_px2 < WAIST * piece.hull_px2


def _cores(depth: NDArray[np.float32], least_px: float) -> NDArray[np.int32] | None:
    """Label the parts that fall apart when the piece is eroded; None if it stays one.

    Erodes step by step. Parts that separate at depth ``d`` are cells if each is deeper than ``d / NECK`` and
    than the least inner radius; once there are two such, smaller parts beside them are kept apart too.
    """
    if not _has_two_peaks(depth, least_px):
        return None
    best: NDArray[np.int32] | None = None
    most = 1
    for level in np.linspace(0.15, 0.9, 9) * float(depth.max()):
        count, labels = cv2.connectedComponents((depth > level).view(np.uint8))
        if count <= most + 1:
            continue
        own_neck = float(level) / NECK
        deepest = [float(depth[labels == part].max()) for part in range(1, count)]
        cells = sum(deep >= max(least_px, own_neck) for deep in deepest)
        if cells > most:
            lobe = max(SEED_SHARE * least_px, own_neck)
            kept = [part for part, deep in enumerate(deepest, start=1) if deep >= lobe]
            most, best = cells, _relabelled(labels, kept)
    return best


def _has_two_peaks(depth: NDArray[np.float32], least_px: float) -> bool:
    """Whether two local maxima are deep enough for a cell: most lobed nuclei fail, and need no further search."""
    deep = depth >= least_px
    tops = deep & (depth == np.asarray(cv2.dilate(depth, _SQUARE), np.float32))
    return int(np.count_nonzero(tops)) > 1


def _relabelled(labels: NDArray[np.int32], kept: list[int]) -> NDArray[np.int32]:
    cores = np.zeros_like(labels)
    for number, part in enumerate(kept, start=1):
        cores[labels == part] = number
    return cores


def _watershed(
    patch: NDArray[np.uint8], mask: NDArray[np.uint8], cores: NDArray[np.int32], origin: NDArray[np.int64]
) -> list[Outline]:
    """Grow the cores along the picture's own gradients until they meet; one outline a core."""
    count = int(cores.max())
    markers = cores.copy()
    markers[mask == 0] = count + 1
    cv2.watershed(cv2.cvtColor(patch, cv2.COLOR_GRAY2BGR), markers)
    parts = []
    for number in range(1, count + 1):
        contours, _ = cv2.findContours(
            (markers == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        if contours:
            largest = max(contours, key=cv2.contourArea)[:, 0, :]
            parts.append(Outline.of((largest + origin).astype(np.int32)))
    return parts


def join_lobes(
    pieces: list[Outline], low: NDArray[np.uint8], pixel_um: float, body_level: float
) -> list[Outline]:
    """Join pieces that belong to one cell.

    Pieces belong together if the gap between them is at most ``GAP_UM``, together they measure at most ``JOINED_UM``,
    and all that are large enough for a nucleus lie in one convex cell body.

    Parameters
    ----------
    pieces
        Dark pieces, cut at their bottlenecks.
    low
        (h, w) uint8, the low-passed working picture.
    pixel_um
        Size of a working pixel, um.
    body_level
        Grey below which a pixel belongs to a cell rather than to glass.
    """
    body = _Body(low, body_level, pixel_um)
    groups = {index: [piece] for index, piece in enumerate(pieces)}
    group_of = list(range(len(pieces)))
    for i, j in _by_gap(pieces, GAP_UM / pixel_um):
        first, second = group_of[i], group_of[j]
        if first != second and _belong_together(groups[first], groups[second], body):
            groups[first] += groups.pop(second)
            group_of = [first if group == second else group for group in group_of]
    return [_joined(group) for group in groups.values()]


def _by_gap(pieces: list[Outline], gap_px: float) -> list[tuple[int, int]]:
    """Pairs of pieces at most a gap apart, nearest first: what clearly is one cell is joined before what may be."""
    gaps = [(_gap(pieces[i], pieces[j]), i, j) for i, j in _neighbours(pieces, gap_px)]
    return [(i, j) for gap, i, j in sorted(gaps) if gap <= gap_px]


def _neighbours(pieces: list[Outline], gap_px: float) -> Iterator[tuple[int, int]]:
    """Pairs of pieces whose boxes are at most a gap apart."""
    boxes = np.array([piece.box for piece in pieces], np.float64).reshape(-1, 4)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    apart = np.maximum(low[:, None], low[None]) - np.minimum(high[:, None], high[None])
    near = np.triu((apart <= gap_px).all(axis=2), k=1)
    return ((int(i), int(j)) for i, j in zip(*np.nonzero(near), strict=True))


def _belong_together(group: list[Outline], others: list[Outline], body: _Body) -> bool:
    boxes = np.array([member.box for member in (*group, *others)])
    extent = (boxes[:, :2] + boxes[:, 2:]).max(axis=0) - boxes[:, :2].min(axis=0)
    if extent.max() > JOINED_UM / body.pixel_um:
        return False
    lobe_px = LOBE_UM / body.pixel_um
    nuclei = [piece for piece in group if piece.diameter_px > lobe_px]
    other_nuclei = [piece for piece in others if piece.diameter_px > lobe_px]
    if len(nuclei) + len(other_nuclei) <= 1:
        return True
    # A fragment between two cells, such as the dark lens where their bodies overlap, must not chain them.
    return all(body.shared(one, two) for one in nuclei or group for two in other_nuclei or others)


@dataclass(frozen=True, slots=True, eq=False)
class _Body:
    """The cells' bodies, as chords read off the picture."""

    low: NDArray[np.uint8]
    level: float
    pixel_um: float

    def shared(self, piece: Outline, other: Outline) -> bool:
        """Whether two pieces lie in one convex body."""
        start, end = np.array(piece.centre_xy), np.array(other.centre_xy)
        length = float(np.hypot(*(end - start)))
        if length < 1:
            return True
        across = np.array([start[1] - end[1], end[0] - start[0]]) / length
        shares = np.array((0.0, 1.0, *BETWEEN))
        through = start + shares[:, None] * (end - start)
        first, last, *between = self._rays(through, across) + self._rays(through, -across)
        # Chords across a convex body, all in one direction, are a concave function of the way (Brunn).
        expected = first + np.array(BETWEEN) * (last - first)
        return bool((between >= BODY_SHARE * expected).all())

    def _rays(self, starts: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.int64]:
        """How far from each point, px, the picture stays darker than glass in one direction."""
        steps = np.arange(int(CHORD_UM / self.pixel_um))[None, :, None]
        points = np.rint(starts[:, None] + steps * along).astype(np.intp)
        height, width = self.low.shape
        rows, cols = points[..., 1].clip(0, height - 1), points[..., 0].clip(0, width - 1)
        glass = self.low[rows, cols] >= self.level
        lasting = glass[:, :-2] & glass[:, 1:-1] & glass[:, 2:]  # a single bright pixel is a vacuole
        reached = np.where(lasting.any(axis=1), lasting.argmax(axis=1), glass.shape[1])
        return np.asarray(reached, np.int64)


def _gap(piece: Outline, other: Outline) -> float:
    """Smallest distance between two outlines, px."""
    first, second = (outline[:: max(3, len(outline) // GAP_POINTS)] for outline in (piece.points_xy, other.points_xy))
    apart = first[:, None].astype(np.float32) - second[None]
    return float(np.sqrt((apart**2).sum(axis=2).min()))


def _joined(group: list[Outline]) -> Outline:
    if len(group) == 1:
        return group[0]
    points = np.concatenate([piece.points_xy for piece in group])
    return Outline.of(points, sum(piece.area_px2 for piece in group))


_SQUARE: Final = np.ones((3, 3), np.uint8)
