"""Pictures inside a page: as data, so that the page stays one file."""

import base64

import cv2
import numpy as np

from fnrbc_device.records import Image


def data_uri(image: Image, quality: int) -> str:
    """Write a picture as a ``data:`` URI, JPEG.

    Parameters
    ----------
    image
        (H, W, 3) RGB.
    quality
        1..100.
    """
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
