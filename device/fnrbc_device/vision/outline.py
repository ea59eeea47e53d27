"""The outline of a nucleus or of a piece of one: its area and box at once, its hull only where it is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Outline:
    """The outline of a nucleus or a piece of one, in working pixels."""

    points_xy: NDArray[np.int32]
    """(N, 2). Of a joined nucleus: the points of all lobes."""
    area_px2: float
    box: tuple[int, int, int, int]
    """left, top, width, height."""
    _hull_xy: NDArray[np.int32] | None = None

    @staticmethod
    def of(points_xy: NDArray[np.int32]) -> Outline:
        """Measure an outline; the area is that of the pixels it runs through and encloses."""
        left, top, width, height = cv2.boundingRect(points_xy)
        return Outline(points_xy, _pixels(cv2.contourArea(points_xy), points_xy), (left, top, width, height))

    @property
    def diameter_px(self) -> float:
        """Diameter of the circle of the same area."""
        return 2.0 * math.sqrt(self.area_px2 / math.pi)

    @property
    def hull_xy(self) -> NDArray[np.int32]:
        """(M, 1, 2) convex hull; most pieces are never asked for it."""
        if self._hull_xy is None:
            self._hull_xy = np.asarray(cv2.convexHull(self.points_xy), np.int32)
        return self._hull_xy

    @property
    def hull_px2(self) -> float:
        """Area of the convex hull."""
        return _pixels(cv2.contourArea(self.hull_xy), self.points_xy)

    @property
    def centre_xy(self) -> tuple[float, float]:
        """Centroid of the convex hull."""
        moments = cv2.moments(self.hull_xy)
        weight = moments["m00"]
        if weight > 0:
            return moments["m10"] / weight, moments["m01"] / weight
        left, top, width, height = self.box
        return left + (width - 1) / 2, top + (height - 1) / 2


def joined(outlines: list[Outline]) -> Outline:
    """One outline of several lobes: their points, their area together."""
    if len(outlines) == 1:
        return outlines[0]
    points = np.concatenate([outline.points_xy for outline in outlines])
    left, top, width, height = cv2.boundingRect(points)
    return Outline(points, sum(outline.area_px2 for outline in outlines), (left, top, width, height))


def _pixels(inside_px2: float, points_xy: NDArray[np.int32]) -> float:
    # A contour runs through pixel centres: its pixels cover half a perimeter more than it encloses.
    return inside_px2 + len(points_xy) / 2 + 1
