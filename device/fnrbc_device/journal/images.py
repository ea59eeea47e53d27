"""Pictures as the record keeps them: PNG, without loss."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import JournalError
from fnrbc_device.records import Image

PNG: Final = ".png"
QUICK: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1)
"""A plate of 360x270 takes 2 ms; the next level up saves 3 % and takes twice as long."""


JPEG_QUALITY: Final = 82
"""320x320 of a smear take 12 to 20 kB and 1 ms."""


def as_png(picture: NDArray[np.uint8]) -> bytes:
    """Pack a picture, (h, w) grey or (h, w, 3) RGB, without loss."""
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    packed, content = cv2.imencode(PNG, bgr, QUICK)
    if not packed:
        raise JournalError(f"a picture of {picture.shape} cannot be packed; report it: this is a defect")
    return content.tobytes()


def as_jpeg(picture: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """Pack a picture for people's eyes, (h, w, 3) RGB; nothing is measured on it."""
    packed, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not packed:
        raise JournalError(f"a picture of {picture.shape} cannot be packed; report it: this is a defect")
    return content.tobytes()


def grey(content: bytes) -> NDArray[np.uint8]:
    """Unpack a picture as (h, w) grey."""
    return np.asarray(_unpacked(content, cv2.IMREAD_GRAYSCALE), np.uint8)


def colour(content: bytes) -> Image:
    """Unpack a picture as (h, w, 3) RGB."""
    return np.ascontiguousarray(_unpacked(content, cv2.IMREAD_COLOR)[..., ::-1], np.uint8)


def _unpacked(content: bytes, mode: int) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), mode)
    if picture is None:
        raise JournalError("a picture in the journal is damaged; `fnrbc verify` says where the record is broken")
    return np.asarray(picture, np.uint8)
