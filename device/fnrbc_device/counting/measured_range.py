"""Watches whether a session lies inside the range that the network was measured on; outside, its errors are unknown.

Nothing here changes a count. What lies beyond is told with every count, and no claim is made (``claim``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import View
from fnrbc_device.records import CountEvent, ProvisionalReason
from fnrbc_device.vision.appearance import FEATURES, appearance

FEWEST_CROPS: Final = 20
"""Of a class, before it is judged by its looks: of fewer, three in ten beyond the usual range are chance."""

MOST_CROPS: Final = 400
"""Of a class that are measured, 0.3 ms each: more would not move the shares."""

BEYOND_SHARE: Final = 0.3
"""Share of a class' crops beyond the range of nine in ten of the bundle's own, in one figure, from which on a session
is another. See ``DRIFTED_SHARE`` of ``learning.drift``, which tells the same after the session."""

CLIPPED: Final = 254.0
"""Glass of this level in some colour is saturated: pale things are gone, and no later step brings them back."""

DIM: Final = 80.0
"""Glass darker than this (of 255) in every colour leaves a cell a third of the grey levels that the bundle's had."""

COARSEST: Final = 1.3
"""Pixels of the camera this much larger than a crop's have to be blown up."""

WIDER: Final = 0.1
LEAST_WIDER: Final = np.array([6.0, 6.0, 6.0, 6.0, 0.0, 0.0])
"""By this share of it, and by no less than these grey levels, the range is widened to both sides. Nuclei are so dark
that their range is 13 levels: without it half of the good slides were provisional, for a tenth more or less of lamp or
stain. With it at most 5 % of a good slide's crops are beyond in any figure, and 97 % where the stain is 0.6 or 1.5 as
deep, 91 % where the focus is lost by 3 px (``tests/bench/border.py``)."""

_OF_FEATURE: Final[Mapping[str, ProvisionalReason]] = {
    "red": "stain_out_of_domain",
    "green": "stain_out_of_domain",
    "blue": "stain_out_of_domain",
    "nucleus": "stain_out_of_domain",
    "size_um": "pixel_size_out_of_domain",
    "sharpness": "focus_out_of_domain",
}


class Border:
    """Watches one session.

    Parameters
    ----------
    classes
        Of the bundle, in its order.
    usual
        (classes, 5, 6) how the crops looked that the bundle was measured on; None where it does not say.
    pixel_size_um, crop_pixel_um
        Of the camera and of a crop.
    """

    def __init__(
        self, classes: Sequence[str], usual: NDArray[np.float64] | None, pixel_size_um: float, crop_pixel_um: float
    ) -> None:
        self._columns = {name: column for column, name in enumerate(classes)}
        self._usual = usual
        self._coarse = pixel_size_um > COARSEST * crop_pixel_um
        self._crops = np.zeros(len(classes), np.int64)
        self._beyond = np.zeros((len(classes), len(FEATURES)), np.int64)
        self._fields = self._badly_lit = 0
        self._noted: set[ProvisionalReason] = set()
        self._strange: frozenset[ProvisionalReason] | None = None
        """What the crops say; None where more were measured since it was asked for, which is with each frame."""

    def note(self, reason: ProvisionalReason, *, holds: bool = True) -> None:
        """Take in what others found of the session, such as red cells of another size than the pixel size says."""
        (self._noted.add if holds else self._noted.discard)(reason)

    def see_field(self, glass_rgb: tuple[float, float, float]) -> None:
        """Take in the colour of empty glass, 0..255, in a frame that was used."""
        self._fields += 1
        self._badly_lit += max(glass_rgb) >= CLIPPED or max(glass_rgb) < DIM

    def see_cells(self, events: Iterable[CountEvent], pictures: Mapping[int, Sequence[View]]) -> None:
        """Take in cells that were counted, by the best of their pictures where they are kept."""
        if self._usual is None:
            return
        for event in events:
            column = self._columns.get(event.verdict.class_name)
            if event.event == "counted" and column is not None and event.cell in pictures:
                self._measure(column, pictures[event.cell][0], self._usual[column])

    @property
    def reasons(self) -> tuple[ProvisionalReason, ...]:
        """Why the session lies beyond what was measured, as far as was seen; empty where it does not."""
        found = set(self._noted)
        if self._coarse:
            found.add("pixel_size_out_of_domain")
        if self._badly_lit > self._fields / 2:
            found.add("light_out_of_domain")
        if self._strange is None:
            self._strange = self._strange_crops()
        return tuple(sorted(found | self._strange))

    def _strange_crops(self) -> frozenset[ProvisionalReason]:
        judged = self._crops >= FEWEST_CROPS
        strange = self._beyond[judged] > BEYOND_SHARE * self._crops[judged, None]
        return frozenset(_OF_FEATURE[FEATURES[column]] for column in np.flatnonzero(strange.any(axis=0)))

    def _measure(self, column: int, view: View, usual: NDArray[np.float64]) -> None:
        if self._crops[column] >= MOST_CROPS or np.isnan(usual).any():
            return
        low, high = usual[0], usual[-1]
        looks, more = appearance(view.crop[None])[0], np.maximum(WIDER * (high - low), LEAST_WIDER)
        self._strange = None
        self._crops[column] += 1
        self._beyond[column] += (looks < low - more) | (looks > high + more)
