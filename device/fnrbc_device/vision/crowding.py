"""Tells a crowd of nuclei from the lobes of single cells.

In blood what is dark and lies close together are the lobes of one cell; in tissue, or a clot, they are cells. There
nothing says which pieces share a body, for it is cells all around: so nothing is joined.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.vision.reduction import halved

COARSE_UM: Final = 1.0
"""Pixel of the coarse picture: less than half of the smallest nucleus."""

GAP_UM: Final = 6.0
"""Pieces at most this far apart are one crowd: twice the widest gap between the lobes of one nucleus."""

CROWD_UM: Final = 26.0
"""What is longer, with all within the gap of it, is no single cell: the largest measure 20 um."""

CROWD_PIECES: Final = 4
"""Least pieces of a crowd: two or three white cells side by side have fewer."""

CROWDED_SHARE: Final = 0.5
"""Share of what is dark that must lie in crowds. Of the fields of ``smear_fields`` 2 % are crowded, all clumps of white
cells; of the pictures of stained tissue (``nuclei``) most."""


def is_crowded(dark: NDArray[np.uint8], pixel_um: float) -> bool:
    """Whether most of what is dark lies in crowds.

    Parameters
    ----------
    dark
        (h, w) uint8: 255 where nuclei are, else 0.
    pixel_um
        Size of its pixels, um.
    """
    shrink = max(1, int(COARSE_UM / pixel_um))
    height, width = (max(1, side // shrink) for side in dark.shape)
    whole = dark[: height * shrink, : width * shrink]
    coarse = _shrunk(whole, (width, height))
    um = pixel_um * shrink
    reach = max(3, 2 * round(GAP_UM / 2 / um) + 1)
    nuclei = np.asarray(cv2.threshold(coarse, 127, 1, cv2.THRESH_BINARY)[1], np.uint8)
    near = np.asarray(cv2.dilate(nuclei, np.ones((reach, reach), np.uint8)), np.uint8)
    count, labels, boxes, _ = _measured(near)
    darkness = np.bincount(labels[nuclei.view(np.bool_)], minlength=count)
    _, _, _, centres = _measured(nuclei)
    cols, rows = np.rint(centres[1:]).astype(np.intp).T
    pieces = np.bincount(labels[rows, cols], minlength=count)
    sides = boxes[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1) - (reach - 1)
    crowds = (sides * um >= CROWD_UM) & (pieces >= CROWD_PIECES)
    crowds[0] = False
    return bool(darkness[crowds].sum() > CROWDED_SHARE * darkness.sum())


def _shrunk(dark: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Averages; by four, as cameras at hand ask for, in two halvings, which say the same of what is half dark."""
    if dark.shape == (4 * size[1], 4 * size[0]):
        return halved(halved(dark))  # a fifth of the cost
    return np.asarray(cv2.resize(dark, size, interpolation=cv2.INTER_AREA), np.uint8)


def _measured(dark: NDArray[np.uint8]) -> tuple[int, NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    """Pieces, their labels, boxes and centres; by an algorithm that measures them at half the usual one's cost."""
    found = cv2.connectedComponentsWithStatsWithAlgorithm(dark, 8, cv2.CV_32S, cv2.CCL_GRANA)
    count, labels, boxes, centres = found
    return count, np.asarray(labels, np.int32), np.asarray(boxes, np.int32), np.asarray(centres, np.float64)
