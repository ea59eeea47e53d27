"""P-net through TensorRT: an engine that was built and proved on this very machine."""

import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import EngineError
from fnrbc_device.inference.classifier import require_crops
from fnrbc_device.inference.cuda_memory import DeviceMemory
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT
from fnrbc_device.inference.tensorrt_words import make_logger
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PX

BATCHES: Final = (1, 16, 64)
"""Fewest, usual and most crops in one call: the engine's profile. More crops are cut into chunks."""

TIMEOUT_S: Final = 5.0
"""For one batch, which takes milliseconds: longer, and the GPU hangs."""


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
        self._memory = memory
        self._thread = threading.get_ident()
        self._open = True
        # Named, for TensorRT uses the logger as long as anything that it made lives.
        self._logger, self._words = make_logger(trt)
        try:
            self._runtime = trt.Runtime(self._logger)
            self._engine = self._deserialised(plan)
            _require_interface(trt, self._engine, len(classes))
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError(f"TensorRT makes no context for the engine ({self._words.take()}); free some memory")
            self._input = self._bind(INPUT, BATCHES[-1] * CROP_PX * CROP_PX * 3)
            self._output = self._bind(OUTPUT, BATCHES[-1] * len(classes) * np.dtype(np.float32).itemsize)
        except BaseException:
            self.close()
            raise

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
        self._require_usable()
        result = np.empty((len(crops), len(self.classes)), np.float32)
        for start in range(0, len(crops), BATCHES[-1]):
            chunk = np.ascontiguousarray(crops[start : start + BATCHES[-1]])
            self._infer(chunk, result[start : start + len(chunk)])
        return result

    def close(self) -> None:
        """Give back what the network holds. Safe to call twice."""
        if not self._open:
            return
        self._open = False
        # In this order: a context points into its engine, an engine into its runtime, all into the memory.
        for name in ("_context", "_engine", "_runtime"):
            setattr(self, name, None)
        self._memory.close()

    def _deserialised(self, plan: bytes) -> Any:
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:  # TensorRT raises nothing, whatever is wrong
            raise EngineError(
                f"TensorRT does not take the engine ({self._words.take()}); build it again with fnrbc-export engine"
            )
        return engine

    def _bind(self, tensor: str, size: int) -> int:
        address = self._memory.allocate(size)
        if not self._context.set_tensor_address(tensor, address):
            raise EngineError(f"TensorRT takes no memory for {tensor} ({self._words.take()}); build the engine again")
        return address

    def _infer(self, chunk: Image, result: NDArray[np.float32]) -> None:
        if not self._context.set_input_shape(INPUT, chunk.shape) or self._context.infer_shapes():
            raise EngineError(
                f"the engine takes no {len(chunk)} crops ({self._words.take()}); it was built for another profile than "
                f"{BATCHES}, build it again with fnrbc-export engine"
            )
        self._memory.copy_in(self._input, chunk)
        if not self._context.execute_async_v3(self._memory.stream):
            raise EngineError(f"TensorRT does not run ({self._words.take()}); restart the device")
        self._memory.copy_out(result, self._output)
        self._memory.wait(TIMEOUT_S)

    def _require_usable(self) -> None:
        if not self._open:
            raise ValueError("the classifier is closed; make a new one")
        if threading.get_ident() != self._thread:
            raise ValueError("the classifier is used in another thread than its own, where CUDA has no context")


def _require_interface(trt: Any, engine: Any, classes: int) -> None:
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    found = {
        name: (
            engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            engine.get_tensor_dtype(name),
            tuple(engine.get_tensor_shape(name)),
        )
        for name in names
    }
    wanted = {
        INPUT: (True, trt.uint8, (-1, CROP_PX, CROP_PX, 3)),
        OUTPUT: (False, trt.float32, (-1, classes)),
    }
    if found != wanted:
        raise EngineError(f"the engine has {found}, {wanted} is needed; build it again with fnrbc-export engine")
