"""How a slide is cut into tiles, and tiles into regions: by the file alone, whoever counts them."""

from dataclasses import dataclass
from typing import Final

from fnrbc_device.slides.slide import Box, Slide
from fnrbc_device.slides.smear import Smear, find_smear
from fnrbc_device.vision.reduction import LEAST_SHRINK, WORKING_UM

TILE_UM: Final = 384.0
"""Side of a tile, um: with its halo a third more is looked at than counted."""

LARGEST_TILE_PX: Final = 3072
"""Side of a tile at most, so that memory stays bounded at any resolution."""

STEP_PX: Final = 256
"""Sides of tiles are multiples of it, as files' own tiles are."""

HALO_UM: Final = 36.0
"""How far beyond a tile is looked: the largest nucleus (22 um), the clump it stands in, and its cytoplasm."""

GRID_PX: Final = 60
"""So far a tile is moved to begin with a whole working pixel: then it is off by a hundredth of one at most."""

REGION_TILES: Final = 16
"""Tiles of a region: what one worker takes at a time, some ten seconds' work."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of a slide that owns the cells whose nuclei's centres lie in it."""

    number: int
    """From 0, row by row; empty ones have a number, too."""
    place: int
    """From 0, among those in which something lies."""
    own: Box
    seen: Box
    """With its halo, as far as the slide reaches."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles of a slide."""

    shape: tuple[int, int]
    """(rows, cols) of the slide, px."""
    tile_px: int
    tiles: tuple[Tile, ...]
    """Those in which something lies, in their order."""
    empty_px: int
    """Area of those in which nothing lies."""

    @property
    def regions(self) -> int:
        """How many regions there are, numbered from 0."""
        return -(-len(self.tiles) // REGION_TILES)

    def region(self, number: int) -> tuple[Tile, ...]:
        """Tiles of a region."""
        return self.tiles[number * REGION_TILES : (number + 1) * REGION_TILES]

    @property
    def empty_share(self) -> float:
        """Share of the slide that is empty glass, 0..1."""
        return self.empty_px / max(self.shape[0] * self.shape[1], 1)


def lay_out(
    slide: Slide, pixel_um: float, tile_px: int | None = None, offset_rc: tuple[int, int] = (0, 0)
) -> tuple[Plan, Smear | None]:
    """Cut a slide into tiles.

    Parameters
    ----------
    slide
        Open.
    pixel_um
        Size of its finest pixels.
    tile_px, offset_rc
        Side of a tile, and where in the slide's first tile its corner lies: for tests that cut otherwise.

    Returns
    -------
    tuple
        The tiles, and where the smear is; None where the file has no coarser level, so that each tile is read.
    """
    rows, cols = slide.about.shape
    side = tile_px or usual_tile_px(pixel_um)
    smear = find_smear(slide, pixel_um)
    whole = Box(0, 0, rows, cols)
    halo = round(HALO_UM / pixel_um)
    tiles: list[Tile] = []
    number = empty_px = 0
    for top in range(-offset_rc[0], rows, side):
        for left in range(-offset_rc[1], cols, side):
            own = Box(top, left, side, side).within(whole)
            if own.height and own.width:
                if smear is None or smear.any_in(own):
                    tiles.append(Tile(number, len(tiles), own, _seen(own, halo, pixel_um, whole)))
                else:
                    empty_px += own.height * own.width
                number += 1
    return Plan((rows, cols), side, tuple(tiles), empty_px), smear


def usual_tile_px(pixel_um: float) -> int:
    """Side of a tile at a pixel size."""
    return max(STEP_PX, min(LARGEST_TILE_PX, int(TILE_UM / pixel_um) // STEP_PX * STEP_PX))


def _seen(own: Box, halo: int, pixel_um: float, whole: Box) -> Box:
    """A tile with its halo. Its corner lies on a working pixel's, so that all tiles see a place alike."""
    wide = own.grown(halo)
    top, left = (_on_grid(max(side, 0), pixel_um) for side in (wide.top, wide.left))
    return Box(top, left, wide.bottom - top, wide.right - left).within(whole)


def _on_grid(place: int, pixel_um: float) -> int:
    """The nearest place before this one that begins a working pixel; where those are fractions, nearly."""
    factor = WORKING_UM / pixel_um
    step = float(int(factor + 1e-9)) if factor >= 2 else factor if factor >= LEAST_SHRINK else 1.0
    within = range(min(place, GRID_PX) + 1)
    return place - min(within, key=lambda back: (round(_off((place - back) / step), 3), back))


def _off(place: float) -> float:
    """How far from a whole number."""
    return abs(place - round(place))
