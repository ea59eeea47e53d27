"""What the appliance asks of a slide file, whatever format and whatever library stand behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fnrbc_device.camera.stated_pixel_size import StatedPixelSize
from fnrbc_device.records import Image


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a slide, in pixels of its finest level."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column right of it."""
        return self.left + self.width

    def __str__(self) -> str:
        return f"x {self.left} to {self.right - 1}, y {self.top} to {self.bottom - 1} px"

    def holds(self, row: float, col: float) -> bool:
        """Whether a place lies in it."""
        return self.top <= row < self.bottom and self.left <= col < self.right

    def within(self, other: "Box") -> "Box":
        """Give the part of it that lies in another one; without height or width where they do not touch."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, left, max(bottom - top, 0), max(right - left, 0))

    def grown(self, by: int) -> "Box":
        """Give the box that reaches so many pixels further on every side."""
        return Box(self.top - by, self.left - by, self.height + 2 * by, self.width + 2 * by)

    def blocks(self, height: int, width: int) -> Iterator["Box"]:
        """Cut it along the grid of a file's own tiles, which begins at the slide's corner; row by row."""
        for top in range(self.top // height * height, self.bottom, height):
            for left in range(self.left // width * width, self.right, width):
                yield Box(top, left, height, width).within(self)


@dataclass(frozen=True, slots=True)
class About:
    """What a slide file says of itself."""

    kind: str
    """Format, for people."""
    shape: tuple[int, int]
    """(rows, cols) of the finest level, px."""
    pixel_size: StatedPixelSize | None
    """None where the file does not say, or says what no microscope has."""
    objective: str
    """Such as ``40x``; empty where the file does not say."""
    background_rgb: tuple[int, int, int] | None
    """Colour of what was not scanned; None where the file does not say."""
    block: tuple[int, int]
    """(rows, cols) of the file's own tiles, px: what one damaged place costs."""
    levels: tuple[float, ...]
    """Pixels of the finest level a pixel of each level, ascending; the first is 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A read part of a slide."""

    image: Image
    """(H, W, 3) RGB; what cannot be read, and what was not scanned, is filled with the background."""
    holes: tuple[Box, ...] = ()
    """Parts that the file holds and that cannot be read, in pixels of the slide."""


class Slide(Protocol):
    """An open slide file. Used by one thread."""

    name: str
    """Of the file."""
    about: About

    def read(self, box: Box) -> Patch:
        """Read a part of the finest level that lies within it."""

    def coarse(self, level: int, top: int, height: int) -> Image:
        """Rows of a coarser level, over its whole width, (h, W, 3) RGB.

        Raises
        ------
        SourceError
            They cannot be read.
        """

    def close(self) -> None:
        """Give the file back. Safe to call twice."""
