"""A fake of ``pycuda.driver`` that keeps CUDA's rules, and says which one was broken.

A context is current on the thread that pushed it and on no other. What is queued on a stream happens when
the stream is waited for, not before. Memory is what was allocated and not freed. Names that begin with an underscore
are the tests' own; all others are pycuda's.
"""

import itertools
import os
import threading

import numpy as np


class Error(Exception):
    """What pycuda raises."""


class LogicError(Error):
    """A rule was broken."""


class MemoryError(Error):
    """The GPU has no more."""


_here = threading.local()
_initialised = False
_memory = {}
_streams = {}
_numbers = itertools.count(1)
TOTAL_BYTES = 64 * 2**20


def _contexts():
    if not hasattr(_here, "contexts"):
        _here.contexts = []
    return _here.contexts


def _require_context():
    if not _contexts():
        raise LogicError("invalid device context")


def _leaked():
    """Contexts, memory and streams that somebody still holds."""
    return [f"{len(_contexts())} contexts"] * bool(_contexts()) + [f"{len(b)} bytes" for b in _memory.values()]


def init(flags=0):
    global _initialised
    if os.environ.get("FAKE_CUDA_FAULT") == "no_device":
        raise LogicError("cuInit failed: no CUDA-capable device is detected")
    _initialised = True


class Device:
    def __init__(self, number):
        if not _initialised:
            raise LogicError("cuDeviceGet failed: initialization error")
        if number != 0:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")

    def name(self):
        return "Fake GPU"

    def compute_capability(self):
        return (8, 7)

    def retain_primary_context(self):
        return Context()


class Context:
    def push(self):
        _contexts().append(self)

    @staticmethod
    def pop():
        _require_context()
        _contexts().pop()


class Stream:
    handle = 0

    def __init__(self, flags=0):
        _require_context()
        self.handle = next(_numbers)
        self._queue = []
        self._looked = False
        _streams[self.handle] = self

    def __del__(self):
        _streams.pop(getattr(self, "handle", None), None)

    def is_done(self):
        _require_context()
        if os.environ.get("FAKE_CUDA_FAULT") == "hangs":
            return False
        if not self._looked:  # never done at the first look: who does not wait reads rubbish
            self._looked = True
            return False
        self._looked = False
        queue, self._queue = self._queue, []
        for work in queue:
            work()
        return True


class DeviceAllocation:
    def __init__(self, size):
        self._address = 4096 * next(_numbers) * 65536
        _memory[self._address] = np.full(size, 0xA5, np.uint8)  # never zeros, which would hide what was not written

    def __int__(self):
        return self._address

    def free(self):
        _require_context()
        if self._address not in _memory:
            raise LogicError("device_allocation::free failed: invalid resource handle")
        del _memory[self._address]


def mem_alloc(size):
    _require_context()
    if sum(map(len, _memory.values())) + size > TOTAL_BYTES:
        raise MemoryError("cuMemAlloc failed: out of memory")
    return DeviceAllocation(size)


def _bytes_at(address, size):
    if address not in _memory:
        raise LogicError(f"invalid argument: nothing is allocated at {address}")
    if size > len(_memory[address]):
        raise LogicError(f"invalid argument: {size} bytes in an allocation of {len(_memory[address])}")
    return _memory[address][:size]


def _require_copyable(array, stream):
    _require_context()
    if not array.flags.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    if stream.handle not in _streams:
        raise LogicError("invalid resource handle")


def memcpy_htod_async(dest, src, stream=None):
    _require_copyable(src, stream)
    _bytes_at(dest, src.nbytes)
    stream._queue.append(lambda: np.copyto(_bytes_at(dest, src.nbytes), src.view(np.uint8).reshape(-1)))


def memcpy_dtoh_async(dest, src, stream=None):
    _require_copyable(dest, stream)
    _bytes_at(src, dest.nbytes)
    stream._queue.append(lambda: np.copyto(dest.view(np.uint8).reshape(-1), _bytes_at(src, dest.nbytes)))
