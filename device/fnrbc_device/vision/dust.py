"""Dust stands still in the camera while cells move. What stands still is no cell."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from fnrbc_device.records import Detection, Pose

MOVED_UM: Final = 2.0
"""The hand has moved when the field lies this far from the last one learned: far beyond the jitter of a centroid."""

SAME_SPOT_UM: Final = 1.2
"""A spot is the same within this distance; dust does not move, its outline changes with light and what lies below."""

LEAST_SIGHTINGS: Final = 5
"""Fields in which a spot must have stood still before it is dust."""

LEAST_SHARE: Final = 0.4
"""Share of the fields since a spot was first seen in which it must have shown: where it is hardly darker than the
threshold it shows now and then. A spot where cells pass by chance shows in 0.5 % of them."""


@dataclass(slots=True)
class Spot:
    """A place of the camera's field where something dark was seen."""

    row_px: float
    col_px: float
    seen: int = 1
    """Moved fields that showed it."""
    fields: int = 1
    """Moved fields since it was first seen, that one included."""

    @property
    def is_dust(self) -> bool:
        """Whether it stood still for long enough."""
        return self.seen >= LEAST_SIGHTINGS and self.seen >= LEAST_SHARE * self.fields

    @property
    def is_alive(self) -> bool:
        """Whether it is followed on."""
        return self.seen >= LEAST_SHARE * (self.fields - 1)


class Dust:
    """Learns, from frames that moved, which detections are dirt on the sensor.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um.
    """

    def __init__(self, pixel_size_um: float) -> None:
        self._moved_px = MOVED_UM / pixel_size_um
        self._same_px = SAME_SPOT_UM / pixel_size_um
        self._spots: list[Spot] = []
        self._learned: Pose | None = None

    def without(self, detections: list[Detection], pose: Pose) -> list[Detection]:
        """Learn from one frame, and give back the detections that are not dust."""
        if self._moved(pose):
            self._learned = pose
            self._learn(detections)
        dust = [(spot.row_px, spot.col_px) for spot in self._spots if spot.is_dust]
        if not dust:
            return detections
        places = np.array(dust)
        return [
            detection
            for detection in detections
            if np.abs(places - detection.centre_rc).max(axis=1).min() > self._same_px
        ]

    def _moved(self, pose: Pose) -> bool:
        before = self._learned
        if before is None or before.island != pose.island:
            return True
        return float(np.hypot(pose.row_px - before.row_px, pose.col_px - before.col_px)) > self._moved_px

    def _learn(self, detections: list[Detection]) -> None:
        free = dict(enumerate(detection.centre_rc for detection in detections))
        places = np.array(list(free.values())).reshape(-1, 2)
        spots = np.array([(spot.row_px, spot.col_px) for spot in self._spots]).reshape(-1, 2)
        near = np.abs(spots[:, None] - places).max(axis=2, initial=0.0) <= self._same_px
        for spot, shown in zip(self._spots, near, strict=True):
            spot.fields += 1
            found = next((index for index in np.flatnonzero(shown).tolist() if index in free), None)
            if found is not None:
                del free[found]
                spot.seen += 1
        self._spots = [spot for spot in self._spots if spot.is_alive]
        self._spots += [Spot(row, col) for row, col in free.values()]
