"""Views of the cells that a look shows, cut from its frame before the next one is taken in.

Crop, surroundings and measures of a dozen cells take half as long as the look itself. Most frames after a look are not
looked at: there they fall on the cheaper of two steps.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2

from fnrbc_device.counting.cell import View, keep_view, wants_view
from fnrbc_device.counting.ledger import Sighting
from fnrbc_device.records import Field, Frame
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.measuring import measure
from fnrbc_device.vision.preprocessing import crop
from fnrbc_device.vision.surroundings import surroundings

FAILURES: Final = (cv2.error, ArithmeticError, ValueError, IndexError)
"""What one strange picture may raise: that costs a frame, and must not end a session."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What a frame showed, and how well."""

    sightings: Sequence[Sighting]
    found: Field
    frame: Frame
    sharpness: float


class Views:
    """Keeps the best views of a session's cells.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um.
    light
        Of the session: the glass round a cell is as bright as there.
    """

    def __init__(self, pixel_size_um: float, light: FlatField) -> None:
        self._um = pixel_size_um
        self._light = light
        self._waiting: _Look | None = None

    @property
    def waits(self) -> bool:
        """Whether a look's views are not cut yet."""
        return self._waiting is not None

    def wait(self, sightings: Sequence[Sighting], found: Field, frame: Frame, sharpness: float) -> None:
        """Take in what a look shows. Its views are cut when ``cut`` is called, or the next look is taken in."""
        self.cut()
        self._waiting = _Look(sightings, found, frame, sharpness)

    def cut(self) -> None:
        """Cut the views of the last look, where they are not yet: before the next frame, or who asks for the cells."""
        look, self._waiting = self._waiting, None
        if look is None:
            return
        for sighting in look.sightings:
            if not (sighting.detection.whole and sighting.cell.settled is None):
                continue
            try:
                self._keep(sighting, look)
            except FAILURES as error:
                _log.exception("no view of cell %d in frame %d: %s", sighting.cell.number, look.frame.index, error)

    def _keep(self, sighting: Sighting, look: _Look) -> None:
        cell, detection, image = sighting.cell, sighting.detection, look.frame.image
        if not wants_view(cell, look.sharpness):
            return
        light = self._light.light_at(detection.centre_rc, image.shape)
        red, green, blue = look.found.background_rgb
        picture = crop(image, detection, self._um, (light * red, light * green, light * blue))
        around = surroundings(image, detection.centre_rc, self._um)
        keep_view(cell, View(look.sharpness, look.frame.index, picture, around), measure(detection, look.found))
