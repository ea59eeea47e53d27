"""One graph through TensorRT, whatever it computes: its engine, its memory, one call after the other."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import EngineError
from fnrbc_device.inference.cuda_memory import DeviceMemory
from fnrbc_device.inference.tensorrt_words import make_logger

TIMEOUT_S: Final = 5.0
"""For one call, which takes milliseconds: longer, and the GPU hangs."""


@dataclass(frozen=True, slots=True)
class End:
    """A graph's one input or one output."""

    name: str
    type_name: str
    """As ``tensorrt`` calls it: uint8, float32."""
    shape: tuple[int, ...]
    """-1 where a side is given by each call."""
    most_bytes: int
    """Of the largest array that passes here."""


class TensorrtGraph:
    """An engine with its memory. Use and close it in the thread that made it.

    Parameters
    ----------
    plan
        The engine's bytes. Executable input: its hash must have been checked.
    taken, given
        What the engine must take and give.
    trt
        The module ``tensorrt``, 10.3 or newer.
    memory
        Of the GPU. Closed with the graph.

    Raises
    ------
    EngineError
        TensorRT does not take the plan, or the engine takes or gives something else.
    """

    def __init__(self, plan: bytes, taken: End, given: End, trt: Any, memory: DeviceMemory) -> None:
        self._taken, self._given = taken, given
        self._memory = memory
        self._thread = threading.get_ident()
        self._open = True
        # Named, for TensorRT uses the logger as long as anything that it made lives.
        self._logger, self._words = make_logger(trt)
        try:
            self._runtime = trt.Runtime(self._logger)
            self._engine = self._deserialised(plan)
            _require_interface(trt, self._engine, taken, given)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError(f"TensorRT makes no context for the engine ({self._words.take()}); free some memory")
            self._input, self._output = self._bind(taken), self._bind(given)
        except BaseException:
            self.close()
            raise

    def run(self, source: NDArray[Any], result: NDArray[Any], what: str) -> None:
        """Fill ``result`` with what the graph makes of ``source``.

        Parameters
        ----------
        source, result
            In one piece, of the types and no larger than what the ends hold.
        what
            The source in words, for a refusal.

        Raises
        ------
        EngineError
            The engine takes no such shape, the GPU failed, or took too long.
        """
        if not self._context.set_input_shape(self._taken.name, source.shape) or self._context.infer_shapes():
            raise EngineError(
                f"the engine takes no {what} ({self._words.take()}); it was built for another profile, build it again "
                "with fnrbc-export engine"
            )
        self._memory.copy_in(self._input, source)
        if not self._context.execute_async_v3(self._memory.stream):
            raise EngineError(f"TensorRT does not run ({self._words.take()}); restart the device")
        self._memory.copy_out(result, self._output)
        self._memory.wait(TIMEOUT_S)

    def require_usable(self, who: str) -> None:
        """Refuse to be used closed, or in another thread, where CUDA would say something worse.

        Raises
        ------
        ValueError
            It is so.
        """
        if not self._open:
            raise ValueError(f"the {who} is closed; make a new one")
        if threading.get_ident() != self._thread:
            raise ValueError(f"the {who} is used in another thread than its own, where CUDA has no context")

    def close(self) -> None:
        """Give back what the graph holds. Safe to call twice."""
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

    def _bind(self, end: End) -> int:
        address = self._memory.allocate(end.most_bytes)
        if not self._context.set_tensor_address(end.name, address):
            raise EngineError(f"TensorRT takes no memory for {end.name} ({self._words.take()}); build the engine again")
        return address


def bytes_of(shape: Sequence[int], dtype: type[np.generic]) -> int:
    """Bytes of an array of that shape."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _require_interface(trt: Any, engine: Any, taken: End, given: End) -> None:
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
        end.name: (is_input, getattr(trt, end.type_name), end.shape)
        for end, is_input in ((taken, True), (given, False))
    }
    if found != wanted:
        raise EngineError(f"the engine has {found}, {wanted} is needed; build it again with fnrbc-export engine")
