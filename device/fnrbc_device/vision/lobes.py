"""Joins the lobes of one nucleus, and leaves cells that touch apart.

Pieces that share one cell body belong together. A cell's body is convex, so chords across it do not get shorter on
the way between two of its lobes; between two cells that touch they do. The chords are read off the picture itself,
cytoplasm included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.vision.outline import Outline, joined

GAP_UM: Final = 3.2
"""Widest gap between lobes of one nucleus: at 2.6 um 7 of 430 eosinophils of ``pbc`` fall in two, at 3.2 um 2."""

GAP_POINTS: Final = 64
"""Points of each outline that a gap is measured between: every third of a nucleus' own, fewer of a large smudge's."""

LOBE_UM: Final = 4.0
"""A piece up to this wide (diameter of the circle of its area) is a lobe or a fragment, never a nucleus of its own
beside a larger one: the paper's smallest nucleated cell, the small lymphocyte, starts at 5 um."""

JOINED_UM: Final = 18.0
"""Widest joined nucleus: the longer side of its upright box."""

BODY_SHARE: Final = 0.85
"""Two pieces share a body if no chord between them is shorter than this share of what the chords through their
centres let expect on the way. 1 or more in any convex body; 0.6 where two equal discs overlap by 20 % of their
diameter. Granulocytes and monocytes of ``pbc`` stay whole (4 of 1,075 fall apart)."""

BETWEEN: Final = np.array((0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))
"""Where between two centres chords are read: a small cell touches a large one close to its own nucleus."""

CHORD_UM: Final = 7.0
"""A chord is followed this far to each side: granulocytes measure 10-15 um."""

AT_ONCE: Final = 128
"""Pairs measured in one go: some 100 KB, which stay in the cache."""


def join_lobes(pieces: list[Outline], low: NDArray[np.uint8], pixel_um: float, body_level: float) -> list[Outline]:
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
    pairs = _by_gap(pieces, GAP_UM / pixel_um, JOINED_UM / pixel_um)
    lobe_px = LOBE_UM / pixel_um
    is_nucleus = [piece.diameter_px > lobe_px for piece in pieces]
    bodies = _Bodies(low, body_level, pixel_um, pieces)
    bodies.look_at([(i, j) for i, j in pairs if is_nucleus[i] and is_nucleus[j]])
    groups = [_Group.of(index, piece, is_nucleus[index]) for index, piece in enumerate(pieces)]
    for i, j in pairs:
        first, second = groups[i], groups[j]
        if first is not second and first.fits(second, JOINED_UM / pixel_um) and bodies.one(first, second):
            first.take(second)
            for member in second.members:
                groups[member] = first
    return [joined([pieces[member] for member in group.members]) for group in dict.fromkeys(groups)]


@dataclass(slots=True, eq=False)
class _Group:
    """Pieces that were found to be one nucleus."""

    members: list[int]
    nuclei: list[int]
    """Those of them that are large enough for a nucleus of their own."""
    box: tuple[int, int, int, int]
    """left, top, right, bottom."""

    @staticmethod
    def of(index: int, piece: Outline, is_nucleus: bool) -> _Group:
        left, top, width, height = piece.box
        return _Group([index], [index] if is_nucleus else [], (left, top, left + width, top + height))

    def fits(self, other: _Group, widest_px: float) -> bool:
        left, top, right, bottom = self._with(other)
        return right - left <= widest_px and bottom - top <= widest_px

    def take(self, other: _Group) -> None:
        self.box = self._with(other)
        self.members += other.members
        self.nuclei += other.nuclei

    def _with(self, other: _Group) -> tuple[int, int, int, int]:
        one, two = self.box, other.box
        return min(one[0], two[0]), min(one[1], two[1]), max(one[2], two[2]), max(one[3], two[3])


@dataclass(frozen=True, slots=True, eq=False)
class _Bodies:
    """The cells' bodies, as chords read off the picture."""

    low: NDArray[np.uint8]
    level: float
    pixel_um: float
    pieces: list[Outline]
    _shared: dict[tuple[int, int], bool] = field(default_factory=dict)

    def one(self, group: _Group, other: _Group) -> bool:
        """Whether two groups of pieces lie in one body."""
        if len(group.nuclei) + len(other.nuclei) <= 1:
            return True
        # A fragment between two cells, such as the dark lens where their bodies overlap, must not chain them.
        pairs = list(product(group.nuclei or group.members, other.nuclei or other.members))
        self.look_at([pair for pair in pairs if pair not in self._shared])
        return all(self._shared[pair] for pair in pairs)

    def look_at(self, pairs: list[tuple[int, int]]) -> None:
        """Find out which pairs of pieces share a body."""
        for start in range(0, len(pairs), AT_ONCE):
            some = pairs[start : start + AT_ONCE]
            ends = np.array([(self.pieces[i].centre_xy, self.pieces[j].centre_xy) for i, j in some])
            self._shared.update(zip(some, self._convex_between(ends[:, 0], ends[:, 1]).tolist(), strict=True))

    def _convex_between(self, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the chords between two points of the picture are those of one convex body; (n, 2) x, y in."""
        along = ends - starts
        length = np.hypot(along[:, 0], along[:, 1])
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(length, 1.0)[:, None]
        through = starts[:, None] + _ALONG[:, None] * along[:, None]
        chords = self._chords(through, across)
        # Chords across a convex body, all in one direction, are a concave function of the way (Brunn).
        expected = chords[:, :1] + BETWEEN * (chords[:, 1:2] - chords[:, :1])
        return np.asarray((length < 1) | (chords[:, 2:] >= BODY_SHARE * expected).all(axis=1), np.bool_)

    def _chords(self, through: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.intp]:
        """How far to both sides of each point, px, the picture stays darker than glass; (n, m, 2), (n, 2) x, y in."""
        height, width = self.low.shape
        reach = int(CHORD_UM / self.pixel_um)
        steps = np.arange(reach) * _BOTH_SIDES
        x, y = (through[..., axis, None, None] + steps * along[:, axis, None, None, None] for axis in (0, 1))
        places = np.rint(y).clip(0, height - 1) * width + np.rint(x).clip(0, width - 1)
        glass = self.low.ravel()[places.astype(np.intp)] >= self.level
        lasting = glass[..., :-2] & glass[..., 1:-1] & glass[..., 2:]  # a single bright pixel is a vacuole
        reached = np.where(lasting.any(axis=-1), lasting.argmax(axis=-1), reach)
        return np.asarray(reached.sum(axis=-1), np.intp)


def _by_gap(pieces: list[Outline], gap_px: float, widest_px: float) -> list[tuple[int, int]]:
    """Pairs of pieces at most a gap apart, nearest first: what clearly is one cell is joined before what may be."""
    pairs = _neighbours(np.array([piece.box for piece in pieces], np.int32).reshape(-1, 4), gap_px, widest_px)
    near = sorted((gap, i, j) for gap, i, j in _gaps(pieces, pairs) if gap <= gap_px)
    return [(i, j) for _, i, j in near]


def _neighbours(boxes: NDArray[np.int32], gap_px: float, widest_px: float) -> list[tuple[int, int]]:
    """Pairs of pieces whose boxes are at most a gap apart and together not wider than a nucleus."""
    near = np.ones((len(boxes), len(boxes)), np.bool_)
    for low, size in ((boxes[:, 0], boxes[:, 2]), (boxes[:, 1], boxes[:, 3])):
        reach = (low + size)[:, None] - low  # from where the one begins to where the other ends
        near &= (reach >= -gap_px) & (reach <= widest_px)
    first, second = np.nonzero(near & near.T)
    return [(i, j) for i, j in zip(first.tolist(), second.tolist(), strict=True) if i < j]


def _gaps(pieces: list[Outline], pairs: list[tuple[int, int]]) -> Iterator[tuple[float, int, int]]:
    """Smallest distance between the outlines of each pair, px, and the pair."""
    involved = sorted({index for pair in pairs for index in pair})
    if not involved:
        return
    sampled = [pieces[index].points_xy for index in involved]
    sampled = [points[:: max(3, len(points) // GAP_POINTS)] for points in sampled]
    x, y = np.concatenate(sampled).astype(np.float64).T  # in which squares of pixels are exact
    square, ones = x * x + y * y, np.ones_like(x)
    # One product gives all squared distances: (x, y, r, 1) . (-2 x', -2 y', 1, r').
    left, right = np.stack([x, y, square, ones], axis=1), np.stack([-2 * x, -2 * y, ones, square])
    ends = np.cumsum([len(points) for points in sampled]).tolist()
    own = {index: slice(start, end) for index, start, end in zip(involved, [0, *ends], ends, strict=False)}
    for i, j in pairs:
        yield float((left[own[i]] @ right[:, own[j]]).min()) ** 0.5, i, j


_BOTH_SIDES: Final = np.array([[1], [-1]])
_ALONG: Final = np.concatenate(([0.0, 1.0], BETWEEN))
