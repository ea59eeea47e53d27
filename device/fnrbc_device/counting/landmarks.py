"""Matches detections to known cells, and computes from them by how much the frame's position is off."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

CORRECTION_LEAST: Final = 3
"""Known cells that must agree before they correct a frame's pose."""

CORRECTION_PRIOR: Final = 100.0
"""Weight of the picture's own registration, in cells: one centroid wanders 0.5 px, the picture's shift 0.05 px. At 6,
from when the shift was off by 0.2 px, cells drew a dirty raster's frames up to 1 px away; at 30 up to 0.6."""

WANDER_UM: Final = 0.06
"""How far a centroid wanders. Where the cells disagree by more than this they count for fewer: of few cells half may
have lost or won a lobe in this frame, and their median is nobody's. Where they agree that the frame lies farther off
than this, the picture counts for less: its shift, or the stage's word, is not off by its usual error but wrong."""


def matched_pairs(seen: NDArray[np.float64], places: NDArray[np.float64], radius_px: float) -> dict[int, int]:
    """Pairs (detection, known cell) that are each other's nearest within the radius."""
    if not len(seen) or not len(places):
        return {}
    apart = np.hypot(seen[:, None, 0] - places[None, :, 0], seen[:, None, 1] - places[None, :, 1])
    nearest, back = apart.argmin(axis=1), apart.argmin(axis=0)
    return {
        int(i): int(j)
        for i, j in enumerate(nearest)
        if back[j] == i and apart[i, j] <= radius_px
    }


def agreement(
    seen: NDArray[np.float64],
    places: NDArray[np.float64],
    radius_px: float,
    wander_px: float,
    whole: list[bool],
    reliable: list[bool],
) -> NDArray[np.float64]:
    """By how much (row, col px) the pose is off, as the known cells say; drawn towards 0 where they are few.

    A cell seen up-left of its place says that the frame lies further down-right than thought.
    """
    pairs = [(i, j) for i, j in matched_pairs(seen, places, radius_px).items() if whole[i] and reliable[j]]
    if len(pairs) < CORRECTION_LEAST:
        return np.zeros(2)
    residuals = np.array([places[j] - seen[i] for i, j in pairs])
    middle = np.median(residuals, axis=0)
    disagreement = np.median(np.abs(residuals - middle), axis=0) / wander_px
    weight = len(pairs) / np.maximum(1.0, disagreement**2)
    prior = CORRECTION_PRIOR / np.maximum(1.0, (middle / wander_px) ** 2)
    return np.asarray(middle * weight / (weight + prior))
