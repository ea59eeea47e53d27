"""Holds counted cells against a slide whose cells are known."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR_UM = 4.5
"""A counted cell stands for the true cell within this distance: half an fNRBC's diameter."""
BLOCK = 256
"""Counted cells matched at once: with 5,000 true cells 20 MB a block, not 400 MB in all."""


@dataclass(frozen=True)
class Held:
    """What became of the true cells."""

    found: int
    wanted: int
    """Nucleated cells that were seen whole and sharp at least three times."""
    twice: list[int]
    """Nucleated cells that were counted two times or more."""
    nearest: dict[int, int]
    """Index of the counted cell by that of the true one."""


def held_against(
    truth_rc: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    counted_rc: NDArray[np.float64],
    pixel_size_um: float,
    near_um: float = NEAR_UM,
) -> Held:
    """Match counted cells to true ones, all px on the slide, after the frame of reference was brought to one."""
    near_px = near_um / pixel_size_um
    # A counted cell belongs to the nearest true one only: neighbours that touch are 5 um apart.
    owner, apart = _nearest(truth_rc, counted_rc)
    nearest: dict[int, int] = {}
    twice = []
    for cell in range(len(truth_rc)):
        mine = np.flatnonzero((owner == cell) & (apart <= near_px))
        if len(mine):
            nearest[cell] = int(mine[apart[mine].argmin()])
        if _closer(counted_rc[mine], NEAR_UM / pixel_size_um):
            twice.append(cell)
    return Held(sum(cell in nearest for cell in np.flatnonzero(wanted)), int(wanted.sum()), twice, nearest)


def _nearest(
    truth_rc: NDArray[np.float64], counted_rc: NDArray[np.float64]
) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
    """Of each counted cell, the nearest true one and how far it is; in blocks, for a slide holds thousands."""
    if not len(truth_rc):
        return np.full(len(counted_rc), -1), np.full(len(counted_rc), np.inf)
    owner, apart = np.zeros(len(counted_rc), int), np.zeros(len(counted_rc))
    for start in range(0, len(counted_rc), BLOCK):
        block = np.s_[start : start + BLOCK]
        distances = np.hypot(*(truth_rc[:, None] - counted_rc[None, block]).transpose(2, 0, 1))
        owner[block], apart[block] = distances.argmin(axis=0), distances.min(axis=0)
    return owner, apart


def _closer(places_rc: NDArray[np.float64], near_px: float) -> bool:
    """Whether two of these counted cells are one: nearer to each other than two cells can be.

    A labelled crop may hold two cells, one each side of its centre; to count both is right.
    """
    apart = np.hypot(*(places_rc[:, None] - places_rc[None]).transpose(2, 0, 1))
    return bool((apart[np.triu_indices(len(places_rc), k=1)] <= near_px).any())


def offset_of(poses: Iterable[tuple[float, float]], true_poses: Iterable[tuple[float, float]]) -> NDArray[np.float64]:
    """Where the true slide's origin lies in slide coordinates, px: the median over the frames."""
    return np.asarray(np.median(np.array(list(poses)) - np.array(list(true_poses)), axis=0))
