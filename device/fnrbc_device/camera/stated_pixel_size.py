"""The pixel size that a picture file states: of OME, ImageJ, Micro-Manager, or its resolution."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.vision.pixelsize import LARGEST_PIXEL_UM, SMALLEST_PIXEL_UM

CONTRADICTION: Final = 0.03
"""Share by which two statements of one pixel size may differ: metadata rounds to 1 %, the next binning or objective is
25 % away and more."""

UNITS_UM: Final = {
    "nm": 1e-3, "um": 1.0, "\N{MICRO SIGN}m": 1.0, "\N{GREEK SMALL LETTER MU}m": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": 25_400.0, "in": 25_400.0,
}  # fmt: skip
"""Micrometres in a unit, by the names that people and programs write."""

_MICRO_MANAGER: Final = re.compile(rb'"PixelSize_?[uU]m"\s*:\s*"?([0-9.eE+-]+)')
_MICRO_MANAGER_FILE: Final = "metadata.txt"
_MOST_METADATA_BYTES: Final = 1 << 20
"""The summary stands first in Micro-Manager's file, which for long runs grows to hundreds of MB."""
_OME_SIZE: Final = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_ATTRIBUTE: Final = re.compile(r'\bPhysicalSize([XY])(Unit)?\s*=\s*"([^"]*)"')


@dataclass(frozen=True, slots=True)
class StatedPixelSize:
    """What a file says that a pixel spans on the slide."""

    um: float
    """0.01..1, um."""
    where: str
    """Which of its statements says so."""
    file: str = ""

    def contradicts(self, um: float) -> bool:
        """Whether another statement differs by more than metadata rounds."""
        return abs(um - self.um) > CONTRADICTION * max(um, self.um)

    def __str__(self) -> str:
        by = f"{self.file}, {self.where}" if self.file else self.where
        return f"{self.um:.4g} um ({by})"


def stated(um_x: float, um_y: float | None, where: str) -> StatedPixelSize | None:
    """Give a statement that a microscope can have made; None for a screen's, a printer's and the unset 1 um.

    Raises
    ------
    ValueError
        The pixels are not square, so that no one size is right.
    """
    if not SMALLEST_PIXEL_UM <= um_x < LARGEST_PIXEL_UM:
        return None
    size = StatedPixelSize(um_x, where)
    if um_y is not None and um_y > 0 and size.contradicts(um_y):
        raise ValueError(
            f"says that its pixels are {um_x:.4g} um wide and {um_y:.4g} um high ({where}), which is not read; "
            "save it with square pixels"
        )
    return size


def from_density(per_x: float, per_y: float, unit_um: float | None, where: str) -> StatedPixelSize | None:
    """Give the size of pixels of which so many lie side by side in a unit of ``unit_um``."""
    if unit_um is None or per_x <= 0 or per_y <= 0:
        return None
    return stated(unit_um / per_x, unit_um / per_y, where)


def from_ome(xml: str) -> StatedPixelSize | None:
    """PhysicalSizeX of OME-XML; its unit is um where none is named."""
    pixels = _OME_SIZE.search(xml)
    said = {name + unit: value for name, unit, value in _OME_ATTRIBUTE.findall(pixels.group())} if pixels else {}
    return _of_numbers(
        _um(said.get("X"), said.get("XUnit", "um")), _um(said.get("Y"), said.get("YUnit", "um")), "OME PhysicalSizeX"
    )


def from_micro_manager(metadata: object) -> StatedPixelSize | None:
    """``PixelSizeUm`` of what Micro-Manager notes in a TIFF."""
    return _in_micro_manager(json.dumps(metadata).encode())


def beside(folder: Path) -> StatedPixelSize | None:
    """Give the pixel size that Micro-Manager notes in ``metadata.txt`` beside a folder's pictures."""
    path = folder / _MICRO_MANAGER_FILE
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            found = _in_micro_manager(file.read(_MOST_METADATA_BYTES))
    except OSError:
        return None
    return found and StatedPixelSize(found.um, found.where, path.name)


def agreed(stated_sizes: Iterable[StatedPixelSize]) -> StatedPixelSize | None:
    """Give the one pixel size that all files state, or None where none states any.

    Raises
    ------
    ValueError
        Two contradict each other; the message names both.
    """
    first: StatedPixelSize | None = None
    for size in stated_sizes:
        first = first or size
        if first.contradicts(size.um):
            raise ValueError(
                f"the files contradict each other: {first} and {size}, more than {CONTRADICTION:.0%} apart; "
                "count pictures of one objective and binning at a time"
            )
    return first


def _in_micro_manager(text: bytes) -> StatedPixelSize | None:
    found = _MICRO_MANAGER.search(text)
    return _of_numbers(_um(found.group(1).decode(), "um"), None, "Micro-Manager PixelSizeUm") if found else None


def _of_numbers(um_x: float | None, um_y: float | None, where: str) -> StatedPixelSize | None:
    return None if um_x is None else stated(um_x, um_y, where)


def _um(value: str | None, unit: str) -> float | None:
    """A number with its unit in um; None where either cannot be read."""
    factor = UNITS_UM.get(unit.strip().replace("\\u00B5", "\N{MICRO SIGN}"))
    try:
        return None if value is None or factor is None else float(value) * factor
    except ValueError:
        return None
