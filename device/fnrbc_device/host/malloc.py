"""Tells the C library to keep large buffers: a picture's memory is given back and asked for 30 times a second."""

import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Names of glibc's malloc.h."""

KEPT_BYTES: Final = 512 << 20
"""Freed memory that is kept rather than returned to the system."""

LARGEST_KEPT_BYTES: Final = 32 << 20
"""A buffer up to this size comes from the kept memory; a frame of 10 Mpx fits. glibc's own limit."""


def keep_large_buffers() -> None:
    """Keep freed picture buffers in the process, where the C library is glibc; elsewhere do nothing.

    Fresh memory costs a page fault for each 4 KiB: 2-4 ms for a frame of 1280x960, half the cost of decoding it.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
