"""The little that inference needs of a GPU's memory, and pycuda's way of giving it.

Behind an interface, so that another binding of CUDA can take pycuda's place without a change to the classifier.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from fnrbc_device.errors import EngineError

_POLL_S: Final = 20e-6
"""Between two looks at the stream. A batch takes a millisecond or more on an Orin."""


class DeviceMemory(Protocol):
    """Memory and one stream of one GPU. Bound to the thread that made it."""

    stream: int
    """Handle of the stream, as ``execute_async_v3`` takes it."""

    def allocate(self, size: int) -> int:
        """Give the address of ``size`` bytes, held until ``close``."""

    def copy_in(self, address: int, source: NDArray[Any]) -> None:
        """Queue a copy to the GPU. The array lies in one piece, and stays untouched until ``wait``."""

    def copy_out(self, target: NDArray[Any], address: int) -> None:
        """Queue a copy from the GPU. The array lies in one piece, and is filled after ``wait``."""

    def wait(self, timeout_s: float) -> None:
        """Wait until all that is queued is done."""

    def close(self) -> None:
        """Free everything. Safe to call twice."""


class PycudaMemory:
    """Implements ``DeviceMemory`` with pycuda, in the primary context that TensorRT uses too.

    Parameters
    ----------
    cuda
        The module ``pycuda.driver``. Passed in, since it cannot even be imported where there is no GPU.

    Raises
    ------
    EngineError
        There is no GPU that can be used.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._held: list[Any] = []
        with self._in_our_words("the GPU cannot be used"):
            cuda.init()
            # Not pycuda.autoinit: it makes a context of its own, in which TensorRT's engine does not live.
            self._context: Any = cuda.Device(0).retain_primary_context()
            self._context.push()
            self._stream: Any = cuda.Stream()
        self.stream = int(self._stream.handle)

    def allocate(self, size: int) -> int:
        """Give the address of ``size`` bytes, held until ``close``."""
        with self._in_our_words(f"{size} bytes of GPU memory are not to be had"):
            self._held.append(self._cuda.mem_alloc(size))
        return int(self._held[-1])

    def copy_in(self, address: int, source: NDArray[Any]) -> None:
        """Queue a copy to the GPU. The array lies in one piece, and stays untouched until ``wait``."""
        with self._in_our_words("the GPU does not take the crops"):
            self._cuda.memcpy_htod_async(address, source, self._stream)

    def copy_out(self, target: NDArray[Any], address: int) -> None:
        """Queue a copy from the GPU. The array lies in one piece, and is filled after ``wait``."""
        with self._in_our_words("the GPU does not give the probabilities"):
            self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def wait(self, timeout_s: float) -> None:
        """Wait until all that is queued is done.

        Raises
        ------
        EngineError
            It is not done in time, or failed.
        """
        deadline = time.monotonic() + timeout_s
        with self._in_our_words("the GPU failed"):
            # Not synchronize(): a GPU that hangs would hang the count with it, and say nothing.
            while not self._stream.is_done():
                if time.monotonic() > deadline:
                    raise EngineError(f"the GPU took more than {timeout_s:g} s for a batch; restart the device")
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Free everything. Safe to call twice."""
        if self._context is None:
            return
        for allocation in self._held:
            allocation.free()
        self._held.clear()
        self._stream = None
        self._cuda.Context.pop()
        self._context = None

    @contextmanager
    def _in_our_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise EngineError(
                f"{what} ({error}); restart the device, or set inference.runtime to onnxruntime"
            ) from error
