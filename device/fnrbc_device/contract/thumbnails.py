"""Pictures of candidates for the lab, small ones, and only where someone switched them on."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2

from fnrbc_device.contract.topics import Delivery
from fnrbc_device.records import Image

MAX_BYTES: Final = 20_000
"""By the contract."""

MAX_WAITING: Final = 32
"""Thumbnails that wait for room; the newest push out the oldest, for they are no part of the record."""

THUMBNAIL: Final = Delivery(qos=1, retain=False, expiry_s=3600)

_QUALITIES: Final = (85, 60, 30)
"""A crop of 120 by 120 px has 3 to 6 kB at the first of them; the last is for noise."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One picture on its way."""

    cell: int
    jpeg: bytes


Waiting = deque[Thumbnail]


def thumbnail(cell: int, crop: Image) -> Thumbnail | None:
    """Make a thumbnail of a crop, (H, W, 3) RGB; None where it does not fit into ``MAX_BYTES``."""
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    for quality in _QUALITIES:
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= MAX_BYTES:
            return Thumbnail(cell, jpeg)
    return None
