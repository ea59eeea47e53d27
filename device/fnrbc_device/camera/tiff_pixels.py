"""Decodes the frames of a TIFF to grey or RGB samples, as its header says that they are meant."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.tiff_header import Plane, bits_of, cause, open_tiff, planes_in, require_read

Samples = NDArray[np.uint8] | NDArray[np.uint16]

_INVERTED, _PALETTE = 0, 3
_FULL: Final = 255


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Samples of one frame."""

    samples: Samples
    """(H, W) or (H, W, 3) RGB; uint16 where the file holds more than 8 bits a sample."""
    inverted: bool = False
    """White is zero in uint16 samples: they are turned round by the depth that all frames of a recording share."""


def tiff_frames(file: BinaryIO, size: int) -> Iterator[Decoded | ValueError]:
    """Decode frames one after the other.

    Yields
    ------
    Decoded or ValueError
        A frame, or for one that is damaged the rest of a sentence that begins with the file's name.

    Raises
    ------
    ValueError
        Nothing of the file can be read.
    """
    planes = planes_in(file)
    with open_tiff(file) as tif:
        for plane in planes:
            try:
                frame = _frame(tif, file, plane, size)
            except Exception as error:  # noqa: BLE001  bytes from anywhere break decoders in any way there is
                yield ValueError(f"is damaged ({cause(error)}); copy it again, or leave it out")
            else:
                yield frame


def _frame(tif: Any, file: BinaryIO, plane: Plane, size: int) -> Decoded:
    pages = [tif.pages[number] for number in plane.pages]
    for page in pages:
        require_read(page, size)
        _require_promised(page, file)
    if plane.offsets:
        stored = [_behind(file, page, offset) for page, offset in zip(pages, plane.offsets, strict=True)]
    else:
        stored = [_stored(page) for page in pages]
    parts = [_meant(page, samples) for page, samples in zip(pages, stored, strict=True)]
    samples = parts[0] if len(parts) == 1 else np.dstack(parts)
    inverted = int(pages[0].photometric) == _INVERTED and samples.dtype == np.uint16
    return Decoded(np.ascontiguousarray(samples), inverted)


def _require_promised(page: Any, file: BinaryIO) -> None:
    """Refuse parts whose own headers promise more pixels than the TIFF: decoders would take memory for all of them."""
    size_of = _OWN_SIZE.get(int(page.compression))
    if size_of is None:
        return
    tiled = page.is_tiled
    height = page.tilelength if tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if tiled else page.imagewidth
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        found = size_of(file.read(min(count, _HEAD_BYTES)))
        if found is not None and (found[0] > height or found[1] > width):
            raise ValueError(f"a part of {found[1]}x{found[0]} px where {width}x{height} px are said")


def _of_jpeg_2000(head: bytes) -> tuple[int, int] | None:
    """Height and width by the size segment (ISO/IEC 15444-1, A.5.1), that follows the start of the codestream."""
    start = head.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(head) < start + 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", head, start + 8)
    return bottom - top, right - left


def _of_jpeg(head: bytes) -> tuple[int, int] | None:
    """Height and width by the start of the frame (ITU T.81, B.2.2)."""
    place = 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        marker, length = head[place + 1], int.from_bytes(head[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">2H", head, place + 5)
            return height, width
        place += 2 + length
    return None


_OWN_SIZE: Final = {7: _of_jpeg, 33003: _of_jpeg_2000, 33005: _of_jpeg_2000, 34712: _of_jpeg_2000}
"""Compressions whose parts are pictures with headers of their own."""
_HEAD_BYTES: Final = 8192


def _stored(page: Any) -> NDArray[Any]:
    """(H, W, samples) as the page holds them. Raises ``ValueError`` where it holds fewer than it says."""
    samples = np.asarray(page.asarray(maxworkers=1))
    height, width, each = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if samples.size != height * width * each:
        raise ValueError(f"{samples.size} samples where {height * width * each} should be")
    if each > 1 and str(page.axes).startswith("S"):  # planar: one colour after the other
        return np.moveaxis(samples.reshape(each, height, width), 0, -1)
    return samples.reshape(height, width, each)


def _behind(file: BinaryIO, page: Any, offset: int) -> NDArray[Any]:
    """(H, W, samples) of a stack that lies uncompressed behind its only page."""
    shape = (int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel))
    kind = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    file.seek(offset)
    taken = file.read(int(np.prod(shape)) * kind.itemsize)
    return np.frombuffer(taken, kind).reshape(shape).astype(page.dtype)


def _meant(page: Any, stored: NDArray[Any]) -> Samples:
    """(H, W) or (H, W, 3): what the samples mean, transparency and other extra samples left off."""
    bits, photometric = bits_of(page), int(page.photometric)
    if photometric == _PALETTE:
        return _of_palette(np.asarray(page.colormap), stored[..., 0])
    samples = stored[..., :3] if stored.shape[-1] >= 3 else stored[..., 0]
    if bits > 8:
        return samples.astype(np.uint16, copy=False)
    full, samples = 2**bits - 1, samples.astype(np.uint8, copy=False)
    levels = samples if photometric != _INVERTED else full - samples
    scaled: NDArray[np.uint8] = levels if bits == 8 else np.rint(levels * (_FULL / full)).astype(np.uint8)
    return scaled.astype(np.uint8, copy=False)


def _of_palette(colours: NDArray[Any], places: NDArray[Any]) -> NDArray[np.uint8]:
    return np.moveaxis((colours >> 8)[:, places], 0, -1).astype(np.uint8)
