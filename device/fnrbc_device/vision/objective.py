"""Notices a changed objective: everything in the field is larger or smaller than it was all session."""

from collections import deque
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

LOW_PASS_PX: Final = 2.0
"""Sigma that takes noise and focus out: with and without 3 px of blur in the frame a field measures the same."""

SMALLEST: Final = 0.84
LARGEST: Final = 1.25
"""Share of the session's texture within which a field is of the same objective. Fields of one slide, blurred ones among
them, lie within 0.89..1.06 of their median; of half the magnification at 0.64..0.84, of 2.5 times at 1.27..1.8."""

LEARNED: Final = 15
LEAST_LEARNED: Final = 3
"""Fields that the median is taken over, and that it needs."""


class Objective:
    """Learns how coarse a session's texture is, from fields in different places."""

    def __init__(self) -> None:
        self._learned: deque[float] = deque(maxlen=LEARNED)

    def learn(self, density: NDArray[np.float32]) -> None:
        """Take in a field that was counted on."""
        self._learned.append(texture_px(density))

    def has_changed(self, density: NDArray[np.float32]) -> bool:
        """Whether a field that fits nothing is of another scale; never before three fields were learned."""
        if len(self._learned) < LEAST_LEARNED:
            return False
        share = texture_px(density) / float(np.median(self._learned))
        return not SMALLEST <= share <= LARGEST


def texture_px(density: NDArray[np.float32]) -> float:
    """Length over which a picture changes: the root of its variance over that of its gradient.

    Taylor's microscale: it does not depend on how much of the field is covered, nor on the light.

    Parameters
    ----------
    density
        (h, w) optical density.

    References
    ----------
    .. [1] G. I. Taylor, "Statistical theory of turbulence", Proc. Royal Society A 151, 1935, 421-444.
    """
    calm = np.asarray(cv2.GaussianBlur(density, (0, 0), LOW_PASS_PX), np.float32)
    down, right = (calm[2:] - calm[:-2]) / 2, (calm[:, 2:] - calm[:, :-2]) / 2
    gradient = float(np.square(down).mean() + np.square(right).mean()) if min(calm.shape) > 2 else 0.0
    return float(np.sqrt(calm.var() / gradient)) if gradient > 0 else 0.0
