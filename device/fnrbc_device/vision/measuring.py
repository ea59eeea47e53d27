"""Measures of one cell: how large it is, how much of it is nucleus, how far off its centre the nucleus lies.

Costs more than finding the cell, so only the views that are kept are measured.
"""

from typing import Final

import cv2
import numpy as np

from fnrbc_device.records import Body, Detection, Field

CYTOPLASM_UM: Final = 3.0
"""How far from the nucleus' hull cytoplasm is looked for: fNRBC of 9-12 um with nuclei of 5-7 um."""

BODY_LEVEL: Final = 0.95
"""Share of the glass' light below which a pixel is cell: glass varies by 3 %, the palest neutrophils' cytoplasm
takes 7 % (``pbc``)."""


def measure(detection: Detection, field: Field) -> Body:
    """Measure the cell round a nucleus.

    Parameters
    ----------
    detection
        Of this field.
    field
        With the picture it was found in.

    Notes
    -----
    Red cells that touch the cell count as cytoplasm up to ``CYTOPLASM_UM`` from the nucleus: in a crowded smear the
    diameter is too large by up to that, and the ratio too small.
    """
    um, glass = field.pixel_um, max(field.background_rgb[1], 1.0)
    reach = round(CYTOPLASM_UM / um)
    hull = cv2.convexHull(detection.contour_xy)
    left, top, width, height = cv2.boundingRect(hull)
    x0, y0 = max(left - reach, 0), max(top - reach, 0)
    patch = field.low[y0 : top + height + reach, x0 : left + width + reach]
    mask = np.zeros(patch.shape, np.uint8)
    shifted = hull - (x0, y0)
    cv2.fillConvexPoly(mask, shifted, 255)
    nucleus = cv2.moments(mask, binaryImage=True)
    mean = float(cv2.mean(patch, mask)[0])
    # A thick outline round the hull grows it by a disc, at a fiftieth of a dilation's cost.
    cv2.polylines(mask, [shifted], True, 255, thickness=2 * reach + 1)
    mask[patch >= BODY_LEVEL * glass] = 0
    body = cv2.moments(mask, binaryImage=True)
    nucleus_um2 = np.pi / 4 * detection.nucleus_diameter_um**2
    body_um2 = max(body["m00"] * um**2, nucleus_um2)
    apart = np.array(_centroid(body) if body["m00"] > 0 else _centroid(nucleus)) - _centroid(nucleus)
    return Body(
        diameter_um=float(2 * np.sqrt(body_um2 / np.pi)),
        nucleus_ratio=float(nucleus_um2 / body_um2),
        off_centre_um=float(np.hypot(*apart)) * um,
        density=float(-np.log10(max(mean, 1.0) / glass)),
    )


def _centroid(moments: dict[str, float]) -> tuple[float, float]:
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
