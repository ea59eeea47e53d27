"""Turns a picture file into a frame's image, or says in one sentence why it cannot."""

import re
import zlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import SourceError
from fnrbc_device.records import Image

Decoded = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) BGR."""

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
BIT_DEPTHS: Final = (8, 10, 12, 14, 16)
"""What cameras store in 16 bits."""
JPEG_START: Final = b"\xff\xd8"
PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_START_OF_SCAN: Final = 0xDA
_JPEG_END: Final = 0xD9
_BMP_SIZE: Final = slice(2, 6)


class UnreadablePictureError(SourceError):
    """A file that should be a picture is missing, empty, cut off, damaged, or of a kind that is not read."""


class PictureReader:
    """Reads pictures of one camera: the bit depth of 16-bit pictures is judged once and then kept.

    Not safe for several threads at once.
    """

    def __init__(self) -> None:
        self._bits = 0

    def read(self, path: Path) -> Image:
        """Read one picture.

        Parameters
        ----------
        path
            PNG, JPEG, TIFF or BMP, grey or colour, 8 or 16 bits a channel. Transparency is dropped; a
            photograph's own note of how the camera was held is followed.

        Returns
        -------
        Image
            (H, W, 3) uint8 RGB, read-only.

        Raises
        ------
        UnreadablePictureError
            The file cannot be read, is cut off, or is no such picture.
        """
        data = _bytes_of(path)
        fault = _fault(data)
        if fault:
            raise UnreadablePictureError(f"{path.name} {fault}; copy it again, or leave it out")
        decoded = _decoded(data, path.name)
        image: Image = cv2.cvtColor(self._to_8_bits(decoded), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        image.setflags(write=False)
        return image

    def _to_8_bits(self, decoded: Decoded) -> Image:
        if decoded.dtype == np.uint8:
            return decoded.astype(np.uint8, copy=False)
        brightest = int(decoded.max())
        needed = next(bits for bits in BIT_DEPTHS if brightest < 2**bits)
        # Judged over the first picture, so that a dark one later is not brightened; but a value that the
        # depth cannot hold proves that the first was the dark one.
        self._bits = max(self._bits, needed)
        scaled: Image = cv2.convertScaleAbs(decoded, alpha=255.0 / (2**self._bits - 1)).astype(np.uint8, copy=False)
        return scaled


def _bytes_of(path: Path) -> bytes:
    # Bytes and imdecode rather than imread: names with any letters work, on every system.
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadablePictureError(f"{path.name} cannot be opened ({reason}); check the file") from error
    if not data:
        raise UnreadablePictureError(f"{path.name} is empty (0 bytes); copy it again, or leave it out")
    return data


def _decoded(data: bytes, name: str) -> Decoded:
    """(H, W, 3) BGR, uint8 or uint16."""
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        reason = f"{name} cannot be decoded ({error.err}); use a smaller picture"
        raise UnreadablePictureError(reason) from error
    if decoded is None:
        raise UnreadablePictureError(
            f"{name} is no picture that can be read ({len(data)} bytes); use PNG, JPEG, TIFF or BMP"
        )
    if decoded.dtype not in (np.uint8, np.uint16):
        raise UnreadablePictureError(f"{name} holds {decoded.dtype} values; store 8 or 16 bits a channel")
    sixteen = decoded.dtype == np.uint16
    return decoded.astype(np.uint16, copy=False) if sixteen else decoded.astype(np.uint8, copy=False)


def _fault(data: bytes) -> str:
    """Say why a file is not whole. OpenCV decodes cut-off files in part, and says nothing."""
    if data.startswith(JPEG_START):
        return "" if _jpeg_is_whole(data) else f"is a JPEG cut off after {len(data)} bytes"
    if data.startswith(PNG_START):
        return _png_fault(data)
    if data.startswith(b"BM") and int.from_bytes(data[_BMP_SIZE], "little") > len(data):
        return f"is a BMP cut off after {len(data)} bytes"
    return ""


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the end marker follows the scans. A thumbnail's own end, inside a segment, does not count."""
    position = len(JPEG_START)
    while found := _JPEG_MARKER.search(data, position):
        marker = data[found.start() + 1]
        if marker == _JPEG_END:
            return True
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        # After a segment comes the next one, or, after a start of scan, coded data up to the next marker.
        position = found.end() + length
    return False


def _png_fault(data: bytes) -> str:
    """Empty for a PNG whose chunks are all there with the right checksum."""
    position = len(PNG_START)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"is a PNG damaged near byte {position}"
        if data[position + 4 : position + 8] == b"IEND":
            return ""
        position = end + 4
    return f"is a PNG cut off after {len(data)} bytes"
