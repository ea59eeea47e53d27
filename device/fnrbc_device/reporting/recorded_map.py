"""The map of a recorded session: the ground that its frames covered, drawn from their places alone.

The record keeps no picture of the whole slide; where frames lay and where cells were counted it knows.
"""

import sqlite3
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.journal.queries import RecordedFrame
from fnrbc_device.records import Image, Join, final_pose
from fnrbc_device.sessions.lookup import frame_size_px

SEEN: Final = (246, 233, 220)
"""Colour of seen ground: a smear's, which the marks of cells are made to stand out from."""

CELL: Final = (0, 80, 138)
OTHER: Final = (150, 140, 135)
"""Dots of leukocytes and of other cells; candidates get marks of their own."""

LEAST_UM: Final = 0.5
"""Size of the map's pixels where little was seen: the smallest cell is ten of them wide, and drawn round."""

MAX_MAP_PX: Final = 2000
"""Longest side of a map, as of a report's mosaic; larger ground is drawn coarser."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A frame on the slide, um."""

    height_um: float
    width_um: float


def frame_shape(connection: sqlite3.Connection, session: str, pixel_size_um: float) -> Shape | None:
    """How large a frame of a session is; None where none was placed."""
    size_px = frame_size_px(connection, session)
    return Shape(size_px[0] * pixel_size_um, size_px[1] * pixel_size_um) if size_px else None


def maps(
    frames: Iterable[RecordedFrame],
    joins: Sequence[Join],
    shape: Shape,
    pixel_size_um: float,
    cells: Sequence[dict[str, Any]],
    ignored: Container[str],
) -> list[Mosaic]:
    """Draw the islands of a session.

    Parameters
    ----------
    frames, joins
        As recorded.
    shape
        Of a frame.
    pixel_size_um
        Of the frames.
    cells
        Rows of the session's table of cells: a dot is drawn for each.
    ignored
        Classes whose cells count for nothing, and are drawn pale.

    Returns
    -------
    list
        One map an island, in their order.
    """
    corners: dict[int, list[tuple[float, float]]] = {}
    for frame in frames:
        if frame.pose is not None and frame.reason is None:
            pose = final_pose(frame.pose, joins)
            corners.setdefault(pose.island, []).append((pose.row_px * pixel_size_um, pose.col_px * pixel_size_um))
    drawn = []
    for island, places in sorted(corners.items()):
        here = [cell for cell in cells if cell["island"] == island]
        drawn.append(_ground(island, np.array(places), shape))
        _draw_cells(drawn[-1], here, ignored)
    return drawn


def _ground(island: int, corners: NDArray[np.float64], shape: Shape) -> Mosaic:
    """The seen ground of one island."""
    origin, size = corners.min(axis=0), np.array([shape.height_um, shape.width_um])
    extent = corners.max(axis=0) + size - origin
    um = max(LEAST_UM, float(extent.max()) / MAX_MAP_PX)
    coverage = np.zeros(np.maximum(np.ceil(extent / um).astype(int), 1), np.uint8)
    starts = np.rint((corners - origin) / um).astype(int)
    # A hand that rests gives the same place hundreds of times.
    for row, col in np.unique(starts, axis=0):
        high, wide = np.maximum(np.rint(size / um).astype(int), 1)
        coverage[row : row + high, col : col + wide] = 255
    image: Image = np.empty((*coverage.shape, 3), np.uint8)
    image[...] = SEEN
    return Mosaic(island, image, coverage, (float(origin[0]), float(origin[1])), um)


def _draw_cells(ground: Mosaic, cells: Sequence[dict[str, Any]], ignored: Container[str]) -> None:
    (top, left), um = ground.origin_rc_um, ground.um_per_px
    for cell in cells:
        at = (round((cell["x_um"] - left) / um), round((cell["y_um"] - top) / um))
        radius = max(round(0.5 * cell["diameter_um"] / um), 1)
        colour = OTHER if cell["class"] in ignored else CELL
        cv2.circle(ground.image, at, radius, colour, -1, cv2.LINE_AA)
