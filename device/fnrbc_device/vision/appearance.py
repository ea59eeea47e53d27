"""How crops look, in a few figures that a person understands: colour, size, darkness of the nucleus, sharpness."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, GLASS

FEATURES: Final = ("red", "green", "blue", "nucleus", "size_um", "sharpness")
"""Median of each colour over the cell, 0..255 where glass is 240; its darkest twentieth in green; diameter of the
circle with the area that is no glass, um; steepest twentieth of its edges in green, grey values a pixel."""

STAINED: Final = 20.0
"""A pixel this much darker than glass in some colour belongs to the cell: beyond the noise of a picture."""

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def appearance(crops: Image) -> NDArray[np.float64]:
    """Measure crops.

    Parameters
    ----------
    crops
        (N, 120, 120, 3) uint8 RGB, as ``preprocessing.crop`` makes them.

    Returns
    -------
    NDArray
        (N, 6), columns as in ``FEATURES``; 0 where a crop shows glass alone.
    """
    return np.array([_appearance(crop) for crop in crops], np.float64).reshape(-1, len(FEATURES))


def _appearance(crop: Image) -> list[float]:
    cell = crop.min(axis=2) < GLASS - STAINED
    if not cell.any():
        return [0.0] * len(FEATURES)
    colours = np.median(crop[cell], axis=0)
    green = crop[..., 1].astype(np.float32)
    slopes = np.hypot(cv2.Sobel(green, cv2.CV_32F, 1, 0), cv2.Sobel(green, cv2.CV_32F, 0, 1)) / 8
    diameter_um = 2 * np.sqrt(cell.sum() / np.pi) * CROP_PIXEL_SIZE_UM
    nucleus, steepest = np.quantile(green[cell], 0.05), np.quantile(slopes[cell], 0.95)
    return [*map(float, colours), float(nucleus), float(diameter_um), float(steepest)]
