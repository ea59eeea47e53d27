"""A smear in the making: where cells come to lie, and the truth that is written down as they do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.cell import Painting, Textures, paint_nucleated, paint_red_cell
from fnrbc_device.camera.simulated.stain import SPECIES, Group, Look
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image

EDGE_UM: Final = 3.0
"""Nucleated cells keep this far from the slide's edge, so that a window can show each of them whole."""
GAP_UM: Final = 1.5
"""Nucleated cells that are no pair keep at least this much glass between them."""
TRIES: Final = 60
"""Throws for one cell before the slide is called full; 60 fail only above about 40 % cover."""
RED_CELLS_OVERLAP: Final = 0.2
"""Share of red cells thrown without regard to others; the rest lie beside each other where there is room."""
RED_CELL_STOCK: Final = 64
"""Paintings of red cells, each used in eight turns: nobody tells 512 apart."""


@dataclass(frozen=True, slots=True)
class TrueCell:
    """What really lies on the slide, at one place."""

    class_name: str
    """A species, or ``platelet``, ``red_cell``, ``debris``."""
    group: Group
    row_px: float
    """Centroid of the nucleus' convex hull (of the whole thing, where it has no nucleus), px on the slide;
    (0, 0) is the middle of the first pixel."""
    col_px: float
    diameter_um: float
    """Diameter of the circle with the whole cell's area."""
    nucleus_ratio: float
    """Area of the nucleus over area of the whole cell; 0 without a nucleus."""
    box_rc: tuple[float, float, float, float]
    """Top, left, bottom, right of the whole cell's outline, px on the slide."""
    partner: int | None = None
    """Index in ``truth`` of the cell that touches this one."""


class Smear:
    """A slide in the making.

    Parameters
    ----------
    seed
        Of all random numbers.
    look
        Stain and glass.
    pixel_size_um
        um, > 0.
    shape
        (rows, cols) px.
    """

    def __init__(self, seed: int, look: Look, pixel_size_um: float, shape: tuple[int, int]) -> None:
        self._rng = np.random.default_rng(seed)
        self._look = look
        self._pixel_size_um = pixel_size_um
        self._textures = Textures(self._rng, pixel_size_um)
        self._discs = _Discs()
        self.image = _glass(self._look, shape, self._rng)
        self.truth: list[TrueCell] = []
        self.bystanders: list[TrueCell] = []

    def add_nucleated(self, cells: int, shares: Mapping[str, float], touching: float) -> None:
        """Single cells and touching pairs, none over another."""
        names = sorted(shares)
        weights = np.array([shares[name] for name in names], float)
        drawn = self._rng.choice(len(names), cells, p=weights / weights.sum())
        paired = 2 * round(0.5 * touching * cells)
        for index in range(0, paired, 2):
            self._add_pair(names[drawn[index]], names[drawn[index + 1]])
        for index in range(paired, cells):
            painting = self._paint(names[drawn[index]])
            corner = self._place(painting.light.shape[0], _reach(painting))
            self._put(painting, names[drawn[index]], corner, None)

    def add_red_cells(self, per_mm2: float) -> None:
        """Red cells, which may overlap each other but only brush against nucleated cells."""
        count = self._count(per_mm2)
        if count == 0:
            return
        stock = [
            paint_red_cell(self._look, self._textures, self._rng, self._pixel_size_um) for _ in range(RED_CELL_STOCK)
        ]
        turned = [_turned(painting.light, turn) for painting in stock for turn in range(8)]
        height, width = self.image.shape[:2]
        beside = _Discs()
        for choice in self._rng.integers(0, len(turned), count):
            light, painting = turned[choice], stock[choice // 8]
            reach = 0.5 * painting.diameter_um / self._pixel_size_um
            places = self._rng.uniform((0.0, 0.0), (height - 1, width - 1), (12, 2))
            free = [place for place in places if self._discs.clear(place, reach)]
            if not free:
                continue
            overlap = self._rng.random() < RED_CELLS_OVERLAP
            clear = [place for place in free if overlap or beside.clear(place, reach)]
            centre = (clear or free)[0]
            beside.add(centre, reach)
            self._put_bystander("red_cell", light, centre, painting.diameter_um)

    def add_scattered(
        self,
        class_name: str,
        paint: Callable[[Look, Textures, np.random.Generator, float], Painting],
        per_mm2: float,
    ) -> None:
        """Small things, anywhere but on a nucleated cell."""
        height, width = self.image.shape[:2]
        for _ in range(self._count(per_mm2)):
            painting = paint(self._look, self._textures, self._rng, self._pixel_size_um)
            places = self._rng.uniform((0.0, 0.0), (height - 1, width - 1), (8, 2))
            centre = self._first_clear(places, _reach(painting) + 1.0 / self._pixel_size_um)
            if centre is not None:
                self._put_bystander(class_name, painting.light, centre, painting.diameter_um)

    def _add_pair(self, first_name: str, second_name: str) -> None:
        first, second = self._paint(first_name), self._paint(second_name)
        angle = self._rng.uniform(0, 2 * np.pi)
        towards = np.array([np.sin(angle), np.cos(angle)])
        middles = [0.5 * (len(p.light) - 1) * np.ones(2) for p in (first, second)]
        # Pressed together by 0.3 um, so that the outlines meet without a nucleus lying on the other.
        step = _support(first, middles[0], towards) + _support(second, middles[1], -towards)
        shift = towards * (step - 0.3 / self._pixel_size_um)
        reach = 0.5 * step + max(_reach(first), _reach(second))
        side = 2 * int(np.ceil(reach + 6)) + 1
        corner = self._place(side, reach)
        centre = corner + 0.5 * (side - 1)
        index = len(self.truth)
        first_corner = np.rint(centre - 0.5 * shift - middles[0]).astype(int)
        second_corner = np.rint(first_corner + middles[0] + shift - middles[1]).astype(int)
        self._put(first, first_name, first_corner, index + 1)
        self._put(second, second_name, second_corner, index)

    def _paint(self, name: str) -> Painting:
        return paint_nucleated(SPECIES[name], self._look, self._textures, self._rng, self._pixel_size_um)

    def _place(self, side: int, reach: float) -> NDArray[np.int_]:
        """Top-left corner (row, col) of a patch whose disc of radius ``reach`` meets no other."""
        height, width = self.image.shape[:2]
        margin = reach + EDGE_UM / self._pixel_size_um
        low, high = (margin, margin), (height - 1 - margin, width - 1 - margin)
        gap = GAP_UM / self._pixel_size_um
        centre = self._first_clear(self._rng.uniform(low, high, (TRIES, 2)), reach + gap)
        if centre is None:
            raise UsageError(
                f"{len(self.truth) + 1} nucleated cells do not fit on {height}x{width} px; lower the density"
            )
        self._discs.add(centre, reach)
        corner: NDArray[np.int_] = np.rint(centre - 0.5 * (side - 1)).astype(int)
        return corner

    def _first_clear(self, places: NDArray[np.float64], reach: float) -> NDArray[np.float64] | None:
        """Find the first place that lies ``reach`` clear of every nucleated cell."""
        return next((place for place in places if self._discs.clear(place, reach)), None)

    def _put(self, painting: Painting, name: str, corner: NDArray[np.int_], partner: int | None) -> None:
        multiply_light(self.image, painting.light, int(corner[0]), int(corner[1]))
        self.truth.append(
            TrueCell(
                class_name=name,
                group=SPECIES[name].group,
                row_px=float(corner[0] + painting.nucleus_rc[0]),
                col_px=float(corner[1] + painting.nucleus_rc[1]),
                diameter_um=painting.diameter_um,
                nucleus_ratio=painting.nucleus_ratio,
                box_rc=_box(painting.outline + corner),
                partner=partner,
            )
        )

    def _put_bystander(self, name: str, light: Image, centre: NDArray[np.float64], diameter_um: float) -> None:
        half = len(light) // 2
        middle = np.rint(centre)
        multiply_light(self.image, light, int(middle[0]) - half, int(middle[1]) - half)
        radius = 0.5 * diameter_um / self._pixel_size_um
        box = _box(np.stack([middle - radius, middle + radius]))
        row, col = float(middle[0]), float(middle[1])
        self.bystanders.append(TrueCell(name, "other", row, col, diameter_um, 0.0, box))

    def _count(self, per_mm2: float) -> int:
        height, width = self.image.shape[:2]
        area_mm2 = height * width * (self._pixel_size_um * 1e-3) ** 2
        count: int = round(per_mm2 * area_mm2)
        return count


class _Discs:
    """Where nucleated cells lie, for keeping others off them."""

    def __init__(self) -> None:
        self._rows = np.empty((256, 3))
        self._count = 0

    def add(self, centre: NDArray[np.float64], radius: float) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = (*centre, radius)
        self._count += 1

    def clear(self, centre: NDArray[np.float64], radius: float) -> bool:
        kept = self._rows[: self._count]
        apart = (kept[:, 0] - centre[0]) ** 2 + (kept[:, 1] - centre[1]) ** 2
        return bool((apart >= (kept[:, 2] + radius) ** 2).all())


def _glass(look: Look, shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Empty glass with a film of plasma: slow waves of a few grey levels."""
    small = (shape[0] // 96 + 2, shape[1] // 96 + 2)
    waves = np.asarray(look.glass_rgb) + rng.normal(0.0, 1.6, (*small, 1)) + rng.normal(0.0, 0.6, (*small, 3))
    glass: Image = cv2.resize(
        np.clip(np.rint(waves), 0, 255).astype(np.uint8), shape[::-1], interpolation=cv2.INTER_LINEAR
    ).astype(np.uint8, copy=False)
    return glass


def multiply_light(image: Image, light: Image, row: int, col: int) -> None:
    """Light that passes both: transmittances multiply. What hangs over the edge is cut off."""
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + light.shape[0], image.shape[0]), min(col + light.shape[1], image.shape[1])
    part = np.ascontiguousarray(light[top - row : bottom - row, left - col : right - col])
    under = image[top:bottom, left:right]
    under[...] = cv2.multiply(np.ascontiguousarray(under), part, scale=1.0 / 255.0)


def _turned(light: Image, turn: int) -> Image:
    """One of the eight turns and mirrorings of a square patch."""
    mirrored = light[:, ::-1] if turn >= 4 else light
    return np.ascontiguousarray(np.rot90(mirrored, turn % 4))


def _box(points: NDArray[np.float64]) -> tuple[float, float, float, float]:
    (top, left), (bottom, right) = points.min(0), points.max(0)
    return float(top), float(left), float(bottom), float(right)


def _support(painting: Painting, middle: NDArray[np.float64], towards: NDArray[np.float64]) -> float:
    """How far the outline reaches from the patch's middle in a direction, px."""
    return float(((painting.outline - middle) @ towards).max())


def _reach(painting: Painting) -> float:
    """Radius about the patch's middle that holds the whole cell, px."""
    middle = 0.5 * (len(painting.light) - 1)
    return float(np.linalg.norm(painting.outline - middle, axis=1).max())
