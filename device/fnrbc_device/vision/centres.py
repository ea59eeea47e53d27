"""From the centre network's maps to cells: where each nucleus lies, how large it is, and where its outline runs.

A peak of the heat is a cell; of two that lie within one nucleus the hotter stays. The outline is read from the nuclear
picture round each centre, every dark pixel given to the centre that is nearest in radii: lobes join by themselves, and
nuclei that touch part.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.vision.centre_picture import STRIDE
from fnrbc_device.vision.outline import Outline
from fnrbc_device.vision.reduction import Reduced

LEAST_HEAT: Final = 0.3
"""Of a peak that is a cell."""

SMALLEST_RADIUS_PX: Final = 3.0
LARGEST_RADIUS_PX: Final = 33.0
"""Radii are cut to these, px of the network's picture: nuclei of 2 to 23 um."""

APART_UM: Final = 2.5
APART_RADII: Final = 0.55
"""Two peaks nearer than both are one cell: of the pairs that touch none lies so near."""

REACH_RADII: Final = 1.7
"""How far from its centre a nucleus' outline is looked for."""

LEAST_CONTRAST: Final = 8.0
"""Grey levels between nucleus and surroundings below which no outline is drawn but the circle."""


@dataclass(frozen=True, slots=True)
class Centre:
    """One nucleated cell as the network sees it, in frame pixels."""

    row: float
    col: float
    radius: float
    """Of its nucleus."""
    heat: float
    """0..1."""


def centres_of(
    maps: NDArray[np.float32], factor: float, pixel_um: float, least_heat: float = LEAST_HEAT
) -> list[Centre]:
    """Read the maps.

    Parameters
    ----------
    maps
        (5, h, w) float32: heat (logit), down, right (map pixels), logarithm of the radius (px of the network's
        picture), nucleus (logit).
    factor
        Frame pixels a pixel of the network's picture.
    pixel_um
        Size of a frame pixel, um.
    least_heat
        0..1, of a peak that is a cell.

    Returns
    -------
    list of Centre
        The hottest first, none within another.
    """
    heat = maps[0]
    least = float(np.log(least_heat / (1 - least_heat)))
    highest = np.asarray(cv2.dilate(heat, _SQUARE), np.float32)
    rows, cols = np.nonzero((heat >= least) & (heat >= highest))
    order = np.argsort(-heat[rows, cols], kind="stable")
    found = _read(maps, rows[order], cols[order], factor)
    return [found[place] for place in _apart(found, pixel_um)]


def outlines_of(centres: list[Centre], reduced: Reduced, wanted: Iterable[int] | None = None) -> list[Outline]:
    """Outline each centre's nucleus in the working picture; one that stands out from nothing gets its circle.

    Parameters
    ----------
    centres
        All of the frame: they share out what is dark between them.
    reduced
        The frame's working picture.
    wanted
        Places in the list of those to outline; None for all.
    """
    wanted = range(len(centres)) if wanted is None else list(wanted)
    if not wanted:
        return []
    places = np.array([(_working(one.row, reduced), _working(one.col, reduced)) for one in centres]).reshape(-1, 2)
    radii = np.array([one.radius / reduced.factor for one in centres])
    rivals = _rivals(places, radii)
    return [_outline(own, np.flatnonzero(rivals[own]), places, radii, reduced.nuclear) for own in wanted]


def _read(maps: NDArray[np.float32], rows: NDArray[np.intp], cols: NDArray[np.intp], factor: float) -> list[Centre]:
    """The centres that the maps tell at these pixels."""
    heat, down, right, size, _ = maps[:, rows, cols].astype(np.float64)
    radii = np.clip(np.exp(np.minimum(size, 5.0)), SMALLEST_RADIUS_PX, LARGEST_RADIUS_PX) * factor
    at = ((pixels + beside + 0.5) * STRIDE * factor - 0.5 for pixels, beside in ((rows, down), (cols, right)))
    told = (*at, radii, 1 / (1 + np.exp(-heat)))
    return [Centre(*values) for values in zip(*(each.tolist() for each in told), strict=True)]


def _apart(centres: list[Centre], pixel_um: float) -> list[int]:
    """Places of those that are no hotter one's, hottest first."""
    row, col, radius = np.array([(one.row, one.col, one.radius) for one in centres]).reshape(-1, 3).T
    apart = np.hypot(row[:, None] - row, col[:, None] - col)
    is_one = apart < np.maximum(APART_UM / pixel_um, APART_RADII * np.maximum(radius[:, None], radius))
    kept: list[int] = []
    for place in range(len(centres)):
        if not is_one[place, kept].any():
            kept.append(place)
    return kept


def _working(frame: float, reduced: Reduced) -> float:
    return (frame + 0.5) / reduced.factor - 0.5


def _outline(
    own: int,
    rivals: NDArray[np.intp],
    places: NDArray[np.float64],
    radii: NDArray[np.float64],
    nuclear: NDArray[np.uint8],
) -> Outline:
    row, col = places[own].tolist()
    radius = float(radii[own])
    reach = REACH_RADII * radius
    top, left = max(int(row - reach), 0), max(int(col - reach), 0)
    window = nuclear[top : int(row + reach) + 2, left : int(col + reach) + 2]
    if min(window.shape, default=0) >= 3:
        origin = np.array([top, left])
        near = _nearest(np.concatenate(([own], rivals)), places - origin, radii, window.shape)
        points = _joined(near & _dark(window), (row - top, col - left), radius)
        if points is not None:
            return Outline.of(points + origin[::-1].astype(np.int32))
    return Outline.of(_circle(row, col, radius))


def _nearest(
    those: NDArray[np.intp], places: NDArray[np.float64], radii: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """255 where the first of those centres is the nearest, in radii, and within reach; else 0."""
    rows, cols = ((np.arange(side) - places[those, axis, None]) / radii[those, None] for axis, side in enumerate(shape))
    apart = (rows * rows)[:, :, None] + (cols * cols)[:, None, :]  # squared
    limit = apart[1:].min(axis=0, initial=REACH_RADII**2)
    return np.asarray(cv2.compare(apart[0], limit, cv2.CMP_LE), np.uint8)


def _dark(window: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 on what is nucleus by Otsu's threshold; nothing where both sides hardly differ."""
    dark = np.asarray(cv2.threshold(window, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)[1], np.uint8)
    if not 0 < cv2.countNonZero(dark) < dark.size:
        return np.zeros_like(dark)
    contrast = cv2.mean(window, cv2.bitwise_not(dark))[0] - cv2.mean(window, dark)[0]
    return dark if contrast >= LEAST_CONTRAST else np.zeros_like(dark)


def _rivals(places: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, n): which centres are near enough to claim some of the same pixels."""
    row, col = places.T
    near = np.hypot(row[:, None] - row, col[:, None] - col) < REACH_RADII * (radii[:, None] + radii)
    np.fill_diagonal(near, False)
    return np.asarray(near, np.bool_)


def _joined(mask: NDArray[np.uint8], centre_rc: tuple[float, float], radius: float) -> NDArray[np.int32] | None:
    """Outlines of the pieces that reach into the nucleus' circle, end to end; None where there is none."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    middle = np.array(centre_rc[::-1])
    large = [np.asarray(contour, np.int32)[:, 0] for contour in contours if len(contour) >= radius]
    near = [points for points in large if np.hypot(*(points - middle).T).min() <= radius]
    return np.concatenate(near) if near else None


def _circle(row: float, col: float, radius: float) -> NDArray[np.int32]:
    angles = np.linspace(0, 2 * np.pi, max(8, int(2 * np.pi * radius)), endpoint=False)
    return np.rint(np.column_stack([col + radius * np.cos(angles), row + radius * np.sin(angles)])).astype(np.int32)


_SQUARE: Final = np.ones((3, 3), np.uint8)
