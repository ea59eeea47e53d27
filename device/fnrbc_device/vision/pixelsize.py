"""What a pixel spans on the slide, as the red cells tell it: a ruler that lies in every field.

Human red cells are much alike, so their diameter in pixels gives the pixel size to about one part in seven. That is
good enough to notice a wrong objective or a mistyped number, and too coarse to count with unasked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_device.vision.red_cells import measuring, of_the_common_size

SMALLEST_PIXEL_UM: Final = 0.01
LARGEST_PIXEL_UM: Final = 1.0
"""Beyond it a nucleus of 5 um has fewer than five pixels, and no one can tell it from dirt."""

RED_CELL_UM: Final = 7.2
"""Mean diameter of an adult's red cells on a dry smear. C. Price-Jones, Red Blood Cell Diameters, Oxford 1933."""

SMALLEST_MEAN_UM: Final = 6.2
LARGEST_MEAN_UM: Final = 8.2
"""What the mean of one slide may be. Healthy people's means lie at 6.7-7.7 um (Price-Jones), living cells measure
7.8 um (M. E. Fabry et al., J Clin Invest 67:1284, 1981); how thick the smear is and how it dried adds as much again.
All cells of a slide share that error: more cells do not make it smaller."""

LEAST_ALIKE: Final = 0.75
"""Share of the area that pieces of the common size must hold: 0.85-1 in all but two of 40 groups of eight smear fields
(``smear_fields``), 0.92 and more in ``anaemia_fields``, 0.5-0.8 among the nuclei of tissue. Dirt has no common size."""

LEAST_CELLS: Final = 12
"""Fewer give no size worth telling: the median of 12 is known to 5 %, a handful of round pieces may be anything."""

ENOUGH_CELLS: Final = 120
"""The median of 120 is known to 1.4 %; what is left is the slide's own error, of which no cell tells."""

MOST_LOOKS: Final = 6
"""Frames with red cells that are measured at most: what six fields do not show, a seventh hardly will."""


def require_pixel_size(pixel_size_um: float) -> None:
    """Refuse a pixel size that no microscope on cells has."""
    if not SMALLEST_PIXEL_UM <= pixel_size_um <= LARGEST_PIXEL_UM:
        raise UsageError(
            f"the pixel size is {pixel_size_um} um, outside {SMALLEST_PIXEL_UM}..{LARGEST_PIXEL_UM}; "
            "divide the camera's pixel by the magnification, e.g. 3.45 um / 40 = 0.086"
        )


@dataclass(frozen=True, slots=True)
class PixelSizeEstimate:
    """Pixel size as the red cells tell it: offered to a person, never used unasked.

    Notes
    -----
    It holds for adults' red cells. Those of the newborn are larger, those of iron-deficiency anaemia and thalassaemia
    smaller: the estimate is then too small, or too large, by as much.
    """

    value_um: float
    low_um: float
    high_um: float
    """95 % interval, people's own spread included."""
    cells: int
    """Lone red cells measured; one that several frames show counts in each."""

    def agrees_with(self, pixel_size_um: float) -> bool:
        """Whether a pixel size lies within the interval."""
        return self.low_um <= pixel_size_um <= self.high_um

    def __str__(self) -> str:
        return f"{self.value_um:.3g} um ({self.low_um:.3g}..{self.high_um:.3g}, from {self.cells} cells)"


class RedCellRuler:
    """Measures the red cells of a session's first frames."""

    def __init__(self) -> None:
        self._looks: list[NDArray[np.float64]] = []
        self._cells = 0

    @property
    def done(self) -> bool:
        """Whether further frames would tell no more."""
        return self._cells >= ENOUGH_CELLS or len(self._looks) >= MOST_LOOKS

    def look(self, image: Image) -> None:
        """Measure one frame.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, sharp and exposed.
        """
        for _ in self.looking(image):
            pass

    def looking(self, image: Image) -> Iterator[None]:
        """The same in steps of a few ms each, for who has other work to do between them."""
        diameters = yield from measuring(image)
        if len(diameters):
            self._looks.append(diameters)
            self._cells += len(diameters)

    def estimate(self) -> PixelSizeEstimate | None:
        """Say what the frames so far come to; None where they show too few red cells, or cells of no common size."""
        if self._cells < LEAST_CELLS:
            return None
        diameters = np.concatenate(self._looks)
        alike = diameters[of_the_common_size(diameters)]
        if len(alike) < LEAST_CELLS or np.square(alike).sum() < LEAST_ALIKE * np.square(diameters).sum():
            return None
        middle = float(np.median(alike))
        # A resting hand shows the same cells again and again: only the fullest frame's count as independent.
        independent = min(len(alike), max(len(look) for look in self._looks))
        # The median's standard error is 1.2533 times the mean's.
        unsure = float(1.96 * 1.2533 * alike.std() / np.sqrt(independent))
        return PixelSizeEstimate(
            value_um=RED_CELL_UM / middle,
            low_um=SMALLEST_MEAN_UM / (middle + unsure),
            high_um=LARGEST_MEAN_UM / max(middle - unsure, 1.0),
            cells=len(alike),
        )
