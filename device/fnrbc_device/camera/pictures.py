"""Turns a picture file into images, or says in one sentence why it cannot.

First its header is asked what it holds (``headers``); then it is decoded, and what comes out is held against that.
"""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.decoder_words import damage_heard
from fnrbc_device.camera.headers import JPEG_START, PNG_START, About, UnreadablePictureError, about_picture
from fnrbc_device.camera.tiff_pixels import Decoded, tiff_frames
from fnrbc_device.records import Image

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
LEAST_BITS: Final = 8
MOST_BITS: Final = 16
INVERTED_BITS: Final = (10, 12, 14, 16)
"""Depths of cameras. Of a negative the depth says where black lies: one fitted to it bit by bit would move it."""

_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_END: Final = 0xD9
_TURNS: Final = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
_MIRRORED: Final = {2: 1, 4: 3, 5: 8, 7: 6}
"""Orientations that are mirrored, left for right, before they are turned as another one is."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many bits the samples of a recording use, judged over all that is known of it."""

    plain: int = LEAST_BITS
    inverted: int = INVERTED_BITS[0]
    """Of negatives."""

    def widened(self, decoded: Decoded) -> "Depth":
        """Give a depth that holds these samples too."""
        if decoded.samples.dtype != np.uint16:
            return self
        needed = max(int(decoded.samples.max()).bit_length(), LEAST_BITS)
        if decoded.inverted:
            return Depth(self.plain, max(self.inverted, next(bits for bits in INVERTED_BITS if bits >= needed)))
        return Depth(max(self.plain, needed), self.inverted)

    @property
    def is_widest(self) -> bool:
        """Whether no sample of its kind can widen it: folders hold negatives or none."""
        return MOST_BITS in (self.plain, self.inverted)


class PictureReader:
    """Reads pictures of one camera: the depth of 16-bit pictures only ever widens.

    Parameters
    ----------
    depth
        What is known of it beforehand.
    turned
        Whether a photograph's note of how the camera was held is followed.

    Not safe for several threads at once.
    """

    def __init__(self, depth: Depth | None = None, *, turned: bool = True) -> None:
        self._depth = depth or Depth()
        self._turned = turned

    def read(self, path: Path) -> Image:
        """Read a file of one picture.

        Parameters
        ----------
        path
            PNG, JPEG, TIFF or BMP, grey or colour, up to 16 bits a channel. Transparency is dropped.

        Returns
        -------
        Image
            (H, W, 3) uint8 RGB, read-only.

        Raises
        ------
        UnreadablePictureError
            The file cannot be read, is cut off, is no such picture, or holds several.
        """
        images = list(self.read_all(path))
        if len(images) != 1:
            raise UnreadablePictureError(f"{path.name} holds {len(images)} pictures where one is wanted; split it")
        if isinstance(images[0], UnreadablePictureError):
            raise images[0]
        return images[0]

    def read_all(self, path: Path) -> Iterator[Image | UnreadablePictureError]:
        """Read all frames of a file, one after the other; of a damaged one the reason. Raises as ``read`` does."""
        orientation, frames = _opened(path)
        for decoded in frames:
            yield decoded if isinstance(decoded, UnreadablePictureError) else self._image(decoded, orientation)

    def _image(self, decoded: Decoded, orientation: int) -> Image:
        self._depth = self._depth.widened(decoded)
        eight = _to_8_bits(decoded, self._depth)
        image = cv2.cvtColor(eight, cv2.COLOR_GRAY2RGB) if eight.ndim == 2 else eight
        upright = upright_image(np.asarray(image, np.uint8), orientation if self._turned else 1)
        upright.setflags(write=False)
        return upright


def depth_of(path: Path, depth: Depth) -> Depth:
    """Widen a depth by all that a file holds; what cannot be read adds nothing."""
    try:
        for decoded in _opened(path)[1]:
            if isinstance(decoded, Decoded):
                depth = depth.widened(decoded)
    except UnreadablePictureError:
        pass  # Told when its turn comes to be counted.
    return depth


def upright_image(image: Image, orientation: int) -> Image:
    """Turn and mirror a picture as EXIF's orientation 1..8 says; (H, W, 3) in and out."""
    if orientation in _MIRRORED:
        image = np.asarray(cv2.flip(image, 1), np.uint8)
        orientation = _MIRRORED[orientation]
    turn = _TURNS.get(orientation)
    return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)


def _opened(path: Path) -> tuple[int, Iterator[Decoded | UnreadablePictureError]]:
    """How the camera was held, and the frames of a file as they are decoded."""
    data = _bytes_of(path)
    about = about_picture(io.BytesIO(data), len(data), path.name)
    return about.orientation, _decoded(data, about, path.name)


def _bytes_of(path: Path) -> bytes:
    # Bytes and imdecode rather than imread: names with any letters work, on every system.
    try:
        if path.exists() and not path.is_file():
            raise UnreadablePictureError(f"{path.name} is no regular file; give a picture's file")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadablePictureError(f"{path.name} cannot be opened ({reason}); check the file") from error


def _decoded(data: bytes, about: About, name: str) -> Iterator[Decoded | UnreadablePictureError]:
    if about.kind != "TIFF":
        yield _decoded_by_opencv(data, about, name)
        return
    for frame in tiff_frames(io.BytesIO(data), len(data)):
        yield UnreadablePictureError(f"{name} {frame}") if isinstance(frame, ValueError) else frame


def _decoded_by_opencv(data: bytes, about: About, name: str) -> Decoded:
    if fault := _fault(data):
        raise UnreadablePictureError(f"{name} {fault}; copy it again, or leave it out")
    how = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with damage_heard() as said:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise UnreadablePictureError(f"{name} cannot be decoded ({error.err}); use a smaller picture") from error
    if decoded is not None and said:
        what = f"is a damaged {about.kind} (its decoder says: {said[0]})"
        raise UnreadablePictureError(f"{name} {what}; copy it again, or leave it out")
    if decoded is None or decoded.shape[:2] != about.shapes[0]:
        what = f"is a damaged {about.kind} ({len(data)} bytes)"
        raise UnreadablePictureError(f"{name} {what}; copy it again, or leave it out")
    rgb = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    if rgb.dtype == np.uint16:
        return Decoded(rgb.astype(np.uint16, copy=False))
    return Decoded(rgb.astype(np.uint8, copy=False))


def _to_8_bits(decoded: Decoded, depth: Depth) -> NDArray[np.uint8]:
    samples = decoded.samples
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    scale = 255.0 / (2 ** (depth.inverted if decoded.inverted else depth.plain) - 1)
    eight = np.asarray(cv2.convertScaleAbs(samples, alpha=scale), np.uint8)
    return np.asarray(cv2.bitwise_not(eight), np.uint8) if decoded.inverted else eight


def _fault(data: bytes) -> str:
    """Say why a file is not whole. OpenCV decodes cut-off files in part, and says nothing."""
    if data.startswith(JPEG_START):
        return "" if _jpeg_is_whole(data) else f"is a JPEG cut off after {len(data)} bytes"
    return _png_fault(data) if data.startswith(PNG_START) else ""


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
