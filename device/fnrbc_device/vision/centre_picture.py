"""The picture that the centre network looks at: a frame at one scale, as densities, in the reference stain."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.reduction import halved
from fnrbc_device.vision.stain import StainMap, densities

CENTRE_UM: Final = 0.35
"""Pixel of that picture: a nucleus of 5 um keeps 14 px, a frame of 160 x 120 um costs the network 4 ms."""

STRIDE: Final = 4
"""Of its pixels a pixel of the maps that the network gives."""

MAPS: Final = 5
"""Heat of a centre (logit), how far it lies below and right of the map's pixel (map pixels), logarithm of the nucleus'
radius (px of the network's picture), nucleus or not (logit)."""

DEEPEST: Final = 16
"""Its sides are multiples of so many pixels, filled up with glass: the network halves them four times."""

MOST_DENSITY: Final = 4.0
"""Densities beyond it are cut: a fiftieth of the light."""

CENTRE_RECIPE: Final = "od-035-1"
"""Names this way of making the picture. A network that was trained on another is refused."""


def at_centre_scale(image: Image, pixel_um: float) -> tuple[Image, float]:
    """Bring a picture to ``CENTRE_UM``: halved while it is twice as fine or more, the rest by interpolation.

    Returns
    -------
    tuple
        (h, w, 3) uint8 RGB, and frame pixels a pixel of it.
    """
    factor = CENTRE_UM / pixel_um
    rest = factor
    while rest >= 2:
        image, rest = halved(image), rest / 2
    height, width = (max(1, int(side / rest + 1e-9)) for side in image.shape[:2])
    # By the factor itself, not by the sides: rows and columns must shrink alike.
    to_picture = np.array([[1 / rest, 0, 0.5 / rest - 0.5], [0, 1 / rest, 0.5 / rest - 0.5]])
    scaled = cv2.warpAffine(image, to_picture, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(scaled, np.uint8), factor


def centre_picture(scaled: Image, glass_rgb: tuple[float, float, float], stain_map: StainMap) -> NDArray[np.float32]:
    """Turn a picture at ``CENTRE_UM`` into what the network takes.

    Returns
    -------
    ndarray
        (1, 3, h, w) float32: densities in the reference stain, 0 for glass; sides filled up to multiples of
        ``DEEPEST`` with glass.
    """
    density = densities(scaled, glass_rgb)
    if not stain_map.is_identity:
        density = np.asarray(cv2.transform(density, stain_map.matrix), np.float32)
    height, width = (-(-side // DEEPEST) * DEEPEST for side in density.shape[:2])
    planes = np.zeros((1, 3, height, width), np.float32)
    cv2.split(density, [plane[: density.shape[0], : density.shape[1]] for plane in planes[0]])
    return np.asarray(np.clip(planes, -MOST_DENSITY, MOST_DENSITY, out=planes), np.float32)
