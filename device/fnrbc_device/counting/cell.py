"""A cell of the slide, and the sights of it that are kept to be classified."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Body, CountEvent, Image
from fnrbc_device.vision.surroundings import Surroundings

BEST_VIEWS: Final = 3
"""Views that are kept to be classified."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One whole, sharp sight of a cell."""

    quality: float
    frame: int
    crop: Image
    """(120, 120, 3) uint8."""
    around: Surroundings | None = None
    """What lies round it, unmasked, for people; None where it was not kept."""
    said: NDArray[np.float32] | None = None
    """(classes,) what P-net says of it; None before it is asked."""


@dataclass(slots=True, eq=False)
class Cell:
    """One physical cell on the slide; changes as it is seen again."""

    number: int
    island: int
    row_px: float
    col_px: float
    """Slide coordinates of the nucleus."""
    diameter_um: float
    """Mean over the views that were measured; the nucleus' before the first was."""
    nucleus_ratio: float
    reach_px: float
    """Farthest point of the nucleus from its centre."""
    first_rc: tuple[float, float]
    """Where in the camera's field it was first seen."""
    views: int = 0
    agreed: int = 1
    """Views that agree with its place, up to ``POSITION_MEMORY``, less those since that do not; >= 1."""
    misses: int = 0
    """Frames looked at that showed its place whole, without it."""
    span_px: float = 0.0
    """How far it has wandered through the camera's field; dust stays where it is."""
    measured: int = 0
    """Views that were measured."""
    best: list[View] = field(default_factory=list)
    """Up to ``BEST_VIEWS``, best first."""
    settled: CountEvent | None = None
    """The event that counted it."""
    last_index: int = -1


def keep_view(cell: Cell, view: View, body: Body) -> None:
    """Keep a view if it is among the cell's best, and add its measures to the cell's."""
    before, cell.measured = cell.measured, cell.measured + 1
    cell.diameter_um = (before * cell.diameter_um + body.diameter_um) / cell.measured
    cell.nucleus_ratio = (before * cell.nucleus_ratio + body.nucleus_ratio) / cell.measured
    cell.best.append(view)
    cell.best.sort(key=lambda kept: -kept.quality)
    del cell.best[BEST_VIEWS:]


def wants_view(cell: Cell, quality: float) -> bool:
    """Whether a view of this quality would be kept: once P-net is asked about others, only what was lacking is.

    A cell may come back after P-net was asked about the one view that there was when it left the field.
    """
    if len(cell.best) < BEST_VIEWS:
        return True
    return quality > cell.best[-1].quality and all(view.said is None for view in cell.best)
