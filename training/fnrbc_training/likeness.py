"""Near duplicates: the same cell from the same picture, saved again, lit otherwise, blurred, turned or cut otherwise.

A look is a very small picture of a cell with its surroundings, which no two cells share. Two looks are compared
by their fine structure in all eight symmetries of the square. Not every pair is: how a look is spread over the
square's symmetries does not change when it is turned, so looks far apart in that cannot be alike, and a k-d tree
gives the few that are near.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fnrbc_device.records import Image

LOOK_PX: Final = 16
SPAN_UM: Final = 24.0
"""Side of the square that a look shows: the cell and what surrounds it."""

FINE_PX: Final = 1.0
"""Sigma of what is subtracted. On 4,127 real cells the two likest different ones correlate by 0.967 without, by 0.866
with it; one cell saved again (JPEG 50, blur 1 px, noise sigma 8, gamma 1.15, light -20 % and +10 % with its highlights
clipped, turned, mirrored) by at least 0.974 either way."""

ALIKE: Final = 0.95
"""Correlation from which two looks show one cell: see ``FINE_PX``."""

MUCH_ALIKE: Final = 0.85
MOST_COPIES: Final = 8
"""Where more looks than these, a picture in its eight symmetries, are much alike, they are no copies but show nothing
of their own, such as smooth painted discs on empty glass: they prove nothing."""

COMPARED: Final = 2000
"""Looks, evenly spaced, among which a look's others are counted."""

AXES: Final = 48
"""In which the tree searches: of 5,143 looks 0.4 % of the pairs are left, 0.9 % with 24, 0.4 % with 96."""

_OVERSAMPLED: Final = 4
_SYMMETRIES: Final = 8
_ROWS_AT_ONCE: Final = 4096
"""Pairs compared in one step: 100 MB."""


def look_at(image: Image, centre_rc: tuple[float, float], pixel_size_um: float) -> Image:
    """Make the look of what surrounds a place.

    Returns
    -------
    Image
        (16, 16, 3) uint8 RGB. What lies beyond the border repeats the border.
    """
    side = LOOK_PX * _OVERSAMPLED
    scale = pixel_size_um * side / SPAN_UM
    row, col = centre_rc
    matrix = np.array([[scale, 0, side / 2 - 0.5 - scale * col], [0, scale, side / 2 - 0.5 - scale * row]])
    smooth = cv2.GaussianBlur(image, (0, 0), 0.35 / scale) if scale < 0.75 else image
    shown = cv2.warpAffine(smooth, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(shown, (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA), np.uint8)


def near_pairs(looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Find the pairs that show one cell.

    Parameters
    ----------
    looks
        (N, K, 16, 16, 3): K looks of each cell, taken round different centres. One of them has to agree.

    Returns
    -------
    NDArray
        (P, 2) rows, the first below the second, sorted.
    """
    found = [_near(_fine(looks[:, k])) for k in range(looks.shape[1])]
    return np.asarray(np.unique(np.concatenate(found), axis=0), np.int64)


def _near(fine: NDArray[np.float32]) -> NDArray[np.int64]:
    # Unit vectors with the correlation c are sqrt(2 - 2 c) apart, and no nearer in fewer dimensions.
    reach = float(np.sqrt(2 - 2 * ALIKE))
    candidates = cKDTree(_spread(fine)).query_pairs(reach, output_type="ndarray")
    chunks = np.array_split(candidates, len(candidates) // _ROWS_AT_ONCE + 1)
    kept = [pairs[_alike(fine[pairs[:, 0]], fine[pairs[:, 1]])] for pairs in chunks]
    pairs = np.concatenate(kept).astype(np.int64).reshape(-1, 2)
    own = ~_common(fine, np.unique(pairs))
    return pairs[own[pairs].all(axis=1)]


def _common(fine: NDArray[np.float32], asked: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) which of the asked looks show nothing of their own."""
    others = fine[:: -(-len(fine) // COMPARED)]
    turned = [np.ascontiguousarray(_turned(others, s)).reshape(len(others), -1).T for s in range(_SYMMETRIES)]
    common = np.zeros(len(fine), bool)
    for rows in np.array_split(asked, len(asked) // COMPARED + 1):
        flat = fine[rows].reshape(len(rows), LOOK_PX * LOOK_PX * 3)
        alike = np.max([flat @ other for other in turned], axis=0) >= MUCH_ALIKE
        common[rows] = alike.sum(axis=1) > MOST_COPIES
    return common


def _fine(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 16, 16, 3) of length 1: structure without brightness, contrast and what varies slowly."""
    values = looks.astype(np.float32)
    coarse = np.stack([cv2.GaussianBlur(v, (0, 0), FINE_PX, borderType=cv2.BORDER_REPLICATE) for v in values])
    fine = values - coarse
    fine -= fine.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt((fine**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.asarray(fine / np.maximum(length, 1e-6), np.float32)


def _spread(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, up to 48) the mean over the eight symmetries, on the axes along which it varies most."""
    even = np.mean([_turned(fine, which) for which in range(_SYMMETRIES)], axis=0)
    flat = even.reshape(len(fine), -1)
    centred = flat - flat.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ axes[:, -AXES:], np.float32)


def _alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.bool_]:
    correlations = [np.einsum("nijc,nijc->n", first, _turned(second, s)) for s in range(_SYMMETRIES)]
    return np.asarray(np.max(correlations, axis=0) >= ALIKE)


def _turned(looks: NDArray[np.float32], which: int) -> NDArray[np.float32]:
    """Each look in one of the eight symmetries."""
    turned = np.rot90(looks, which % 4, axes=(1, 2))
    return turned[:, :, ::-1] if which >= 4 else turned
