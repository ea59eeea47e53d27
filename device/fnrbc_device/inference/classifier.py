"""What the appliance asks of a network, whatever runs it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PX


class Classifier(Protocol):
    """Turns crops into calibrated probabilities. Bound to one thread: the one that made it."""

    classes: tuple[str, ...]
    """In the order of the probabilities' columns."""

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        """Classify crops.

        Parameters
        ----------
        crops
            (N, 120, 120, 3) uint8 RGB, N >= 0.

        Returns
        -------
        NDArray[np.float32]
            (N, classes), each row sums to 1.
        """

    def close(self) -> None:
        """Give back what the network holds."""


def require_crops(crops: Image) -> None:
    """Refuse what a network would misread.

    Raises
    ------
    ValueError
        Crops of another shape or type.
    """
    if crops.ndim != 4 or crops.shape[1:] != (CROP_PX, CROP_PX, 3) or crops.dtype != np.uint8:
        raise ValueError(f"crops are {crops.shape} {crops.dtype}; (N, {CROP_PX}, {CROP_PX}, 3) uint8 is needed")
