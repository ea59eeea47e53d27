"""P-net through TensorRT: an engine that was built and proved on this very machine."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.inference.classifier import require_crops
from fnrbc_device.inference.cuda_memory import DeviceMemory
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT
from fnrbc_device.inference.tensorrt_graph import End, TensorrtGraph, bytes_of
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PX

BATCHES: Final = (1, 16, 64)
"""Fewest, usual and most crops in one call: the engine's profile. More crops are cut into chunks."""


class TensorrtClassifier:
    """Implements ``Classifier``. Use and close it in the thread that made it.

    Parameters
    ----------
    plan
        The engine's bytes. Executable input: its hash must have been checked.
    classes
        In the order of the probabilities' columns.
    trt
        The module ``tensorrt``, 10.3 or newer.
    memory
        Of the GPU. Closed with the classifier.

    Raises
    ------
    EngineError
        TensorRT does not take the plan, or the engine is no P-net.
    """

    def __init__(self, plan: bytes, classes: tuple[str, ...], trt: Any, memory: DeviceMemory) -> None:
        self.classes = classes
        most = BATCHES[-1]
        crop = CROP_PX, CROP_PX, 3
        taken = End(INPUT, "uint8", (-1, *crop), bytes_of((most, *crop), np.uint8))
        given = End(OUTPUT, "float32", (-1, len(classes)), bytes_of((most, len(classes)), np.float32))
        self._graph = TensorrtGraph(plan, taken, given, trt, memory)

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

        Raises
        ------
        ValueError
            The array is of another shape or type, the classifier is closed, or this is another thread.
        EngineError
            The GPU failed, or took too long.
        """
        require_crops(crops)
        self._graph.require_usable("classifier")
        result = np.empty((len(crops), len(self.classes)), np.float32)
        for start in range(0, len(crops), BATCHES[-1]):
            chunk = np.ascontiguousarray(crops[start : start + BATCHES[-1]])
            self._graph.run(chunk, result[start : start + len(chunk)], f"{len(chunk)} crops")
        return result

    def close(self) -> None:
        """Give back what the network holds. Safe to call twice."""
        self._graph.close()
