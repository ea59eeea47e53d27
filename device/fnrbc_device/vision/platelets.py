"""What tells a platelet from a nucleus of its size: it passes red light, and nothing lies round it.

Azure and haematoxylin in chromatin absorb red; a platelet's granules hold what the stain has beside them. A nucleus
lies in its cell or in tissue, a platelet on glass. Both are read in the reference stain, from the network's picture,
and so is what no platelet is: as dense as the nuclei that late erythroblasts are about to lose.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection
from fnrbc_device.vision.centre_picture import CENTRE_UM

LARGEST_UM: Final = 7.5
"""Of platelets (``pbc``, 194) 97 in 100 have a smaller diameter."""

CORE_RADII: Final = 0.6
"""What is read of it: blur takes nothing from a nucleus' middle, but much from its median."""

LEAST_CORE_PX: Final = 2.0
"""Pixels of the picture: there are some even where its last row ends short of the frame's."""

RED_DENSITY: Final = 0.85
"""Natural logarithm. Of ``pbc``'s held-out platelets 73 in 100 absorb less red, of its small nuclei none of 156."""

PURPLE_DENSITY: Final = 1.0
RED_OVER_GREEN: Final = 0.66
"""Up to that density one of this hue is none either: of platelets 0.53 to 0.70 (5th and 95th percentile), of nuclei in
``pbc`` 0.68 to 0.76. Paler painted nuclei keep their hue where they lose density, those of ``he_fields`` as well."""

NEAREST_UM: Final = 0.8
FURTHEST_UM: Final = 2.5
BARE_DENSITY: Final = 0.2
"""Median density of green so far round it, beyond the blur of its edge: platelets 0.01 to 0.1, small nuclei of H&E 0.15
to 0.4. Without asking for it nothing more is refused of blood, but a nucleus that tissue surrounds."""

CHROMATIN_UM: Final = 4.0
CHROMATIN_RED: Final = 0.95
CHROMATIN_BLUE: Final = 0.42
"""From this diameter and these densities on it is a nucleus grown dense, as in late erythroblasts: so much chromatin
takes the blue as well that its stain lets pass. None of ``pbc``'s 430 platelets has more than .41 of blue, nine of the
ten erythroblasts that the network contradicts have. Read from seven made-up sessions too, proved in seven others."""


def may_be_a_platelet(candidate: Detection, picture: NDArray[np.float32], factor: float) -> bool:
    """Say whether it is as small, of such a colour, and as bare.

    Parameters
    ----------
    candidate
        Of the threshold.
    picture
        (1, 3, h, w) float32, the frame as ``centre_picture`` makes it.
    factor
        Frame pixels a pixel of it.
    """
    if candidate.nucleus_diameter_um >= LARGEST_UM:
        return False
    seen, apart, radius = _about(candidate, picture, factor)
    red, green, _ = _core(seen, apart, radius)
    unlike_chromatin = red < RED_DENSITY or (red < PURPLE_DENSITY and red < RED_OVER_GREEN * green)
    round_it = seen[1][apart >= radius + NEAREST_UM / CENTRE_UM]
    return bool(unlike_chromatin and round_it.size and np.median(round_it) < BARE_DENSITY)


def is_dense_chromatin(candidate: Detection, picture: NDArray[np.float32], factor: float) -> bool:
    """Say whether it is as small as a platelet, and absorbs what only a nucleus does; the same parameters."""
    if not CHROMATIN_UM <= candidate.nucleus_diameter_um < LARGEST_UM:
        return False
    red, _, blue = _core(*_about(candidate, picture, factor))
    return bool(red >= CHROMATIN_RED and blue >= CHROMATIN_BLUE)


def _about(
    candidate: Detection, picture: NDArray[np.float32], factor: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """(3, N) densities of its pixels and of those round it; (N,) how far from its middle they lie; its radius."""
    row, col = ((at + 0.5) / factor - 0.5 for at in candidate.centre_rc)
    radius = candidate.nucleus_diameter_um / 2 / CENTRE_UM
    reach = radius + FURTHEST_UM / CENTRE_UM
    top, left = max(int(row - reach), 0), max(int(col - reach), 0)
    window = picture[0, :, top : int(row + reach) + 2, left : int(col + reach) + 2]
    rows, cols = np.ogrid[top : top + window.shape[1], left : left + window.shape[2]]
    apart = np.hypot(rows - row, cols - col)
    within = apart <= reach
    return window[:, within], apart[within], radius


def _core(seen: NDArray[np.float32], apart: NDArray[np.float64], radius: float) -> NDArray[np.float32]:
    """Mean density of its middle: red, green, blue."""
    return np.asarray(seen[:, apart <= max(CORE_RADII * radius, LEAST_CORE_PX)].mean(axis=1), np.float32)
