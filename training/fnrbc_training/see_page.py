"""A picture that the centre network learns from, and what is known of it, put together piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.centre_picture import CENTRE_UM, at_centre_scale
from fnrbc_device.vision.reduction import glass_colour
from fnrbc_device.vision.stain import StainMap, densities

UNKNOWN: Final = 2
"""In a mask: whether this is nucleus nobody said. 1 is nucleus, 0 is none."""

UNKNOWN_REACH: Final = 1.4
"""Radii of a cell that nobody labelled within which nothing is learned."""

DOUBTFUL_DENSITY: Final = 1.0
"""Density of all channels together, in the reference stain, from which on something may be a nucleus that nobody
labelled: glass and most red cells stay below (0.6 in the median), the palest nuclei at hand have 1.1."""

OWN_REACH: Final = 2.2
"""Radii of the labelled nucleus within which all is its own: its cytoplasm."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One picture at the centre network's scale, and what is known of it."""

    image: Image
    """(h, w, 3) uint8 RGB."""
    glass_rgb: tuple[float, float, float]
    stain_map: StainMap
    """Of its session."""
    cells: NDArray[np.float32]
    """(N, 3) row, col, radius of the nucleus, px of this picture."""
    mask: NDArray[np.uint8]
    """(h, w): 1 where a nucleus is, 0 where none is, ``UNKNOWN`` where nobody says."""
    kind: str
    """``cell``, ``bare`` (a single thing without a nucleus), ``field``, ``outlined``, ``empty`` or ``painted``."""
    source: str = ""
    """Laboratory or folder. Of two, the one with more pictures is not seen that much more often."""


class Page:
    """A picture on its way into the set."""

    def __init__(self, image: Image, shown: Shown, factor: float) -> None:
        self.image = image
        """As it was read, frame px."""
        self._shown = shown
        self._factor = factor
        self._cells: list[tuple[float, float, float]] = []

    @staticmethod
    def of(image: Image, pixel_um: float, stain_map: StainMap, kind: str, source: str) -> Page:
        """Begin with a picture in which no nucleus is."""
        scaled, factor = at_centre_scale(image, pixel_um)
        mask = np.zeros(scaled.shape[:2], np.uint8)
        empty = np.zeros((0, 3), np.float32)
        return Page(image, Shown(scaled, glass_colour(image), stain_map, empty, mask, kind, source), factor)

    @property
    def kind(self) -> str:
        """Of the picture."""
        return self._shown.kind

    def enter(self, detection: Detection) -> None:
        """Note a nucleus that the device outlined."""
        row, col = (self._here(at) for at in detection.centre_rc)
        self._cells.append((row, col, detection.nucleus_diameter_um / 2 / CENTRE_UM))
        self._fill(detection, 1)

    def place(self, centre_rc: tuple[float, float], radius_px: float) -> None:
        """Note a cell of which the place is known and the outline is not; frame px."""
        row, col = (self._here(at) for at in centre_rc)
        radius = radius_px / self._factor
        self._cells.append((row, col, radius))
        self._disc(row, col, UNKNOWN_REACH * radius)

    def doubt(self, detection: Detection) -> None:
        """Note what may be a cell and nobody labelled."""
        row, col = (self._here(at) for at in detection.centre_rc)
        self._disc(row, col, UNKNOWN_REACH * detection.reach_px / self._factor)

    def doubt_what_is_dark(self, centre_rc: tuple[float, float], reach_px: float) -> None:
        """Note that what is dark may be a nucleus that nobody labelled, but not within a reach; frame px."""
        density = cv2.transform(densities(self._shown.image, self._shown.glass_rgb), self._shown.stain_map.matrix)
        dark = (density.sum(axis=2) >= DOUBTFUL_DENSITY).view(np.uint8)
        opened = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        own = np.zeros_like(opened)
        row, col = (self._here(at) for at in centre_rc)
        cv2.circle(own, (round(col), round(row)), round(reach_px / self._factor), 1, -1)
        self._shown.mask[(opened > 0) & (own == 0) & (self._shown.mask == 0)] = UNKNOWN

    def cover(self, mask: NDArray[np.uint8]) -> None:
        """Put a whole mask of nuclei in place; frame px."""
        height, width = self._shown.mask.shape
        small = cv2.resize(mask * 255, (width, height), interpolation=cv2.INTER_AREA)
        self._shown.mask[...] = np.asarray(small, np.uint8) > 127

    def shown(self) -> Shown:
        """All that was noted."""
        return replace(self._shown, cells=np.array(self._cells, np.float32).reshape(-1, 3))

    def _here(self, frame: float) -> float:
        return (frame + 0.5) / self._factor - 0.5

    def _disc(self, row: float, col: float, radius: float) -> None:
        cv2.circle(self._shown.mask, (round(col), round(row)), max(1, round(radius)), UNKNOWN, -1)

    def _fill(self, detection: Detection, value: int) -> None:
        for lobe in lobes_of(detection):
            points = (lobe + 0.5) * detection.factor / self._factor - 0.5
            cv2.fillPoly(self._shown.mask, [np.rint(points).astype(np.int32)], value)


def lobes_of(detection: Detection) -> list[NDArray[np.int32]]:
    """The outlines of a nucleus' lobes, which it carries end to end; each (N, 2) x, y in working pixels."""
    points = detection.contour_xy
    apart = np.abs(np.diff(points, axis=0)).max(axis=1, initial=0)
    return [np.asarray(lobe, np.int32) for lobe in np.split(points, np.flatnonzero(apart > 1) + 1)]
