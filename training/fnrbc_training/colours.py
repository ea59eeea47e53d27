"""Another hue and saturation, as between two scanners."""

import numpy as np
from numpy.typing import NDArray


def hue_and_saturation(degrees: float, saturation: float) -> NDArray[np.float32]:
    """(3, 3) for light: a turn about the grey axis, and a stretch away from it; saturation 0 leaves grey, 1 all."""
    angle = np.radians(degrees)
    grey = np.ones((3, 3)) / 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    colour = grey + saturation * (np.eye(3) - grey)
    return np.asarray((colour @ turn).astype(np.float32))
