"""Tells a crowd of nuclei from the lobes of single cells.

In blood what is dark and lies close together are the lobes of one cell; in tissue, or a clot, they are cells. There
nothing says which pieces share a body, for it is cells all around: so nothing is joined.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

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
    coarse = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    um = pixel_um * shrink
    reach = max(3, 2 * round(GAP_UM / 2 / um) + 1)
    _, nuclei = cv2.threshold(coarse, 127, 1, cv2.THRESH_BINARY)
    near = np.asarray(cv2.dilate(nuclei, np.ones((reach, reach), np.uint8)), np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(near)
    darkness = np.bincount(labels.ravel(), nuclei.ravel(), minlength=count)
    _, _, _, centres = cv2.connectedComponentsWithStats(nuclei)
    cols, rows = np.rint(centres[1:]).astype(np.intp).T
    pieces = np.bincount(labels[rows, cols], minlength=count)
    sides = boxes[:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1].max(axis=1) - (reach - 1)
    crowds = (sides * um >= CROWD_UM) & (pieces >= CROWD_PIECES)
    crowds[0] = False
    return bool(darkness[crowds].sum() > CROWDED_SHARE * darkness.sum())
