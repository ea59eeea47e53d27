"""Arrays in one file (NumPy's ``.npz``), read with a bound: nothing in it runs, and nothing grows beyond what it says.

NumPy's own reader takes the memory that an array's head asks for before it looks at how much data there is, and unpacks
whatever was packed: 1.4 MB can so become gigabytes.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_ARRAYS: Final = 1000

_SUFFIX: Final = ".npy"


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays as one uncompressed ``.npz``; none of them may hold objects."""
    room = io.BytesIO()
    np.savez(room, allow_pickle=False, **arrays)
    return room.getvalue()


def unpacked(content: bytes, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Read the arrays of an ``.npz``.

    Parameters
    ----------
    most_bytes
        What they may take in memory, all together.

    Returns
    -------
    dict
        By name; read-only, of numbers or text, never of objects.

    Raises
    ------
    ValueError
        It is no whole ``.npz``, holds something else, or takes more than that.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _require_bounds(members, most_bytes)
            return {one.filename.removesuffix(_SUFFIX): _array(archive.read(one), one.filename) for one in members}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"it is no whole .npz ({error})") from None


def array_of(content: bytes, name: str = "array") -> NDArray[Any]:
    """Read the one array of an ``.npy``; read-only.

    Raises
    ------
    ValueError
        It is none, holds objects, or has less or more data than its head says.
    """
    return _array(content, name)


def _require_bounds(members: list[zipfile.ZipInfo], most_bytes: int) -> None:
    if len(members) > MAX_ARRAYS or len({one.filename for one in members}) < len(members):
        raise ValueError(f"it holds {len(members)} parts, or one twice; the limit is {MAX_ARRAYS}")
    # What the directory says is what is unpacked at most: the reader stops there.
    size = sum(one.file_size for one in members)
    if size > most_bytes:
        raise ValueError(f"it takes {size} bytes unpacked, the limit is {most_bytes}")


def _array(content: bytes, name: str) -> NDArray[Any]:
    room = io.BytesIO(content)
    version = np.lib.format.read_magic(room)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} has format {version}")
    read_head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_head(room)
    if dtype.hasobject or dtype.names or dtype.subdtype:
        raise ValueError(f"{name} holds {dtype}, not numbers")
    count = 1
    for side in shape:
        count *= int(side)
    start = room.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(content) - start:
        raise ValueError(f"{name} says {shape} {dtype} and has {len(content) - start} bytes")
    flat = np.frombuffer(content, dtype, count, start) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
