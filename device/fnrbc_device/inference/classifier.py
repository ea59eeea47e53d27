"""What the appliance asks of a network, whatever runs it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image


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
