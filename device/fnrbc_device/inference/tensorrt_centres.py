"""The centre network through TensorRT: an engine that was built and proved on this very machine."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.inference.cuda_memory import DeviceMemory
from fnrbc_device.inference.tensorrt_graph import End, TensorrtGraph, bytes_of
from fnrbc_device.vision.centre_picture import DEEPEST, MAPS, STRIDE

PICTURE: Final = "picture"
MAPS_NAME: Final = "maps"
"""The graph's names."""

PICTURES: Final = ((DEEPEST, DEEPEST), (352, 464), (1536, 2048))
"""Smallest, usual and largest picture, rows and columns: the engine's profile. Usual is a frame of 160 x 120 um; the
largest shows 717 x 538 um, more than a camera behind a 10x objective, and takes 200 MB."""


class TensorrtCentreNetwork:
    """Implements ``CentreNetwork``. Use and close it in the thread that made it.

    Parameters
    ----------
    plan
        The engine's bytes. Executable input: its hash must have been checked.
    trt
        The module ``tensorrt``, 10.3 or newer.
    memory
        Of the GPU. Closed with the network.

    Raises
    ------
    EngineError
        TensorRT does not take the plan, or the engine is no centre network.
    """

    def __init__(self, plan: bytes, trt: Any, memory: DeviceMemory) -> None:
        rows, cols = PICTURES[-1]
        taken = End(PICTURE, "float32", (1, 3, -1, -1), bytes_of((3, rows, cols), np.float32))
        maps = MAPS, rows // STRIDE, cols // STRIDE
        given = End(MAPS_NAME, "float32", (1, MAPS, -1, -1), bytes_of(maps, np.float32))
        self._graph = TensorrtGraph(plan, taken, given, trt, memory)

    @staticmethod
    def takes(picture: NDArray[np.float32]) -> bool:
        """Whether a picture is no larger than the profile's largest."""
        rows, cols = PICTURES[-1]
        return bool(picture.shape[2] <= rows and picture.shape[3] <= cols)

    def maps(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look at one picture; see ``OnnxCentreNetwork.maps``.

        Raises
        ------
        ValueError
            The network is closed, or this is another thread.
        EngineError
            The picture is larger than the profile's largest, or the GPU failed or took too long.
        """
        self._graph.require_usable("network")
        rows, cols = picture.shape[2:]
        result = np.empty((MAPS, rows // STRIDE, cols // STRIDE), np.float32)
        self._graph.run(np.ascontiguousarray(picture), result, f"picture of {cols} x {rows}")
        return result

    def close(self) -> None:
        """Give back what the network holds. Safe to call twice."""
        self._graph.close()
