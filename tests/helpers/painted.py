"""Painted cells for the training's tests: easy to tell apart, and easy to find."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PIXEL_SIZE_UM = 0.1
SIDE = 300

DESCRIPTION = """
pixel_size_um = 0.1
stain = "painted"
source = "painted by the tests"

[classes]
red = "fnrbc"
white = "leukocyte"
crumb = "other"
"""

LOOKS: dict[str, tuple[float, tuple[int, int, int]]] = {
    "red": (3.0, (60, 20, 110)),
    "white": (5.5, (90, 40, 140)),
    "crumb": (1.6, (110, 60, 150)),
}
"""Radius of the nucleus, um, and its colour."""


def paint(look: str, seed: int) -> NDArray[np.uint8]:
    """One cell in the middle of a picture, never the same twice."""
    rng = np.random.default_rng((seed, sorted(LOOKS).index(look)))
    radius_um, colour = LOOKS[look]
    picture = np.full((SIDE, SIDE, 3), (250, 235, 220), np.uint8)
    radius = int(radius_um * rng.uniform(0.9, 1.1) / PIXEL_SIZE_UM)
    for row, col in rng.uniform(0, SIDE, (14, 2)):  # red cells: no two places on a smear look the same
        cv2.circle(picture, (int(col), int(row)), int(rng.integers(30, 38)), (230, 185, 190), -1, cv2.LINE_AA)
    centre = (SIDE // 2 + int(rng.integers(-5, 6)), SIDE // 2 + int(rng.integers(-5, 6)))
    cv2.circle(picture, centre, int(1.5 * radius), (225, 180, 190), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA)
    noisy = picture + rng.normal(0, 3, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
