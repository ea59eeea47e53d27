"""From a detection to the crop that P-net sees. Training and the appliance both call this, and nothing else."""

from typing import Final

import cv2
import numpy as np

from fnrbc_device.records import Detection, Image

Box = tuple[slice, slice]

PREPROCESSING_ID: Final = "hull-3um-bg240-1"
"""Names the recipe below. A bundle trained with another recipe is refused."""

CROP_PX: Final = 120
"""Side of a crop. The paper's."""

CROP_PIXEL_SIZE_UM: Final = 0.2
"""A crop shows 24 um, which holds the largest leukocyte (20 um) with a margin."""

MARGIN_UM: Final = 3.0
"""Cytoplasm kept round the nucleus' hull: the paper's fNRBC (9-12 um) has a nucleus of 5-7 um."""

GLASS: Final = 240.0
"""Empty glass after normalisation, and what surrounds the cell."""


def crop(
    image: Image, detection: Detection, pixel_size_um: float, background_rgb: tuple[float, float, float]
) -> Image:
    """Cut one cell out, at a fixed scale, on a fixed background colour.

    What is further than ``MARGIN_UM`` from the nucleus' convex hull is replaced by the colour of glass, since
    the surroundings of a cell give its class away (they differ between the slides that a class came from) and
    are no property of the cell. Light and tint are divided out by the frame's own background.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB. The frame that the detection came from.
    detection
        A detection in that frame.
    pixel_size_um
        Size of the frame's pixels on the slide, um, > 0.
    background_rgb
        Colour of empty glass in the frame, 0..255.

    Returns
    -------
    Image
        (120, 120, 3) uint8 RGB at 0.2 um a pixel, the nucleus in the centre.
    """
    scale = pixel_size_um / CROP_PIXEL_SIZE_UM
    row, col = detection.centre_rc
    to_crop = np.array(
        [[scale, 0.0, CROP_PX / 2 - 0.5 - scale * col], [0.0, scale, CROP_PX / 2 - 0.5 - scale * row]]
    )
    # All but this box, a third of an fNRBC's crop, is glass in the end.
    alpha, box = _mask(detection, to_crop)
    patch = _resampled(image, to_crop, scale, (row, col), box)[box]
    gain = GLASS / np.maximum(np.asarray(background_rgb, np.float32), 1.0)
    levels = np.arange(256, dtype=np.float32)[:, None]
    blended = np.asarray(cv2.LUT(patch, np.clip(levels * gain, 0, 255)[None]), np.float32)
    # Three planes of the mask, not one that numpy lays over each pixel's three numbers: a third of the cost.
    blended *= cv2.merge([alpha] * 3)
    blended += cv2.merge([GLASS * (1 - alpha)] * 3)
    shown: Image = np.full((CROP_PX, CROP_PX, 3), int(GLASS), np.uint8)
    shown[box] = np.rint(blended, out=blended)
    return shown


def _resampled(
    image: Image, to_crop: np.ndarray, scale: float, centre_rc: tuple[float, float], box: Box
) -> Image:
    """The square round the cell at the crop's scale, as far as a box; shrinking averages, so that no camera aliases."""
    if scale >= 0.75:
        return _warped(image, to_crop)
    half = int(np.ceil(0.5 * CROP_PX / scale)) + 2
    top, left = int(centre_rc[0]) - half, int(centre_rc[1]) - half
    inner = image[max(top, 0) : top + 2 * half, max(left, 0) : left + 2 * half]
    shifted = to_crop.copy()
    shifted[0, 2] += scale * max(left, 0)
    shifted[1, 2] += scale * max(top, 0)
    # The picture keeps its size: of a part of it the warp, which computes in single precision, would round otherwise.
    blurred, sigma = inner.copy(), 0.35 / scale
    near = _read_from(box, shifted, scale, int(np.ceil(3 * sigma)) + 3)
    blurred[near] = cv2.GaussianBlur(inner[near], (0, 0), sigma)
    return _warped(blurred, shifted)


def _read_from(box: Box, to_crop: np.ndarray, scale: float, margin_px: int) -> Box:
    """What of the picture a box of the crop is read from, with a margin."""
    rows, cols = (
        slice(max(int((side.start - at) / scale) - margin_px, 0), max(int((side.stop - at) / scale) + margin_px, 0))
        for side, at in zip(box, to_crop[::-1, 2].tolist(), strict=True)
    )
    return rows, cols


def _warped(image: Image, to_crop: np.ndarray) -> Image:
    warped: Image = cv2.warpAffine(
        image, to_crop, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8, copy=False)
    return warped


def _mask(detection: Detection, to_crop: np.ndarray) -> tuple[np.ndarray, Box]:
    """1 on the cell, 0 beyond the margin, a soft step of about 0.4 um between; float32, in the box that holds it."""
    points = detection.outline_xy @ to_crop[:, :2].T + to_crop[:, 2]
    hull = cv2.convexHull(np.rint(points).astype(np.int32))
    mask = np.zeros((CROP_PX, CROP_PX), np.uint8)
    cv2.fillConvexPoly(mask, hull, 255)
    radius = round(MARGIN_UM / CROP_PIXEL_SIZE_UM)
    # A thick outline grows the hull by a disc, at a fiftieth of a dilation's cost.
    cv2.polylines(mask, [hull], True, 255, thickness=2 * radius + 1)
    left, top, width, height = cv2.boundingRect(hull)
    reach = radius + _SOFT_PX
    box = slice(max(top - reach, 0), top + height + reach), slice(max(left - reach, 0), left + width + reach)
    return cv2.GaussianBlur(mask[box], (0, 0), 1.0).astype(np.float32) / 255.0, box


_SOFT_PX: Final = 5
"""How far beyond the grown hull the soft step reaches at most: 1 for the outline's rounding, 3 for the low-pass."""
