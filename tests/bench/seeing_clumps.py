"""Painted pairs that overlap must be two, painted single cells one, lobed nuclei included."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.camera.simulated.cell import Painting, Textures, paint_nucleated, paint_red_cell
from fnrbc_device.camera.simulated.smear import multiply_light
from fnrbc_device.camera.simulated.stain import LOOKS, SPECIES, Look
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import USUAL_SEEING, Detection, Image, SeeingMethod
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.seeing import Seeing
from fnrbc_device.vision.stain import IDENTITY
from seeing_pictures import Result, Wanted, annotated, contact_sheet, share, spread

PIXEL_UM: Final = 0.125
PAIRED: Final = ("fnrbc", "lymphocyte", "neutrophil")
OVERLAPS: Final = (0.0, 0.05, 0.10, 0.15, 0.20)
"""Of the smaller cell's diameter, along the line that joins the two."""

NEAR_UM: Final = 4.5
"""A candidate stands for a painted cell up to here: half of an fNRBC."""

TILE_UM: Final = 48.0
"""Room for two of the largest neutrophils (20 um) side by side."""

TILES: Final = (3, 4)
"""A field's tiles, rows and columns: 1152x1536 px, close to a camera's."""

NOISE: Final = 2.5
"""Standard deviation of the sensor's noise, grey levels."""

RED_CELLS: Final = 4
"""A tile, so that the histogram holds what a smear's does."""

EACH: Final = 12
"""Pairs of each combination, overlap and look; five times as many single cells of each species and look."""

LEAST_TWO: Final = 0.95
LEAST_ONE: Final = 0.99

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Case:
    """What one tile is to hold."""

    species: tuple[str, ...]
    overlap: float = 0.0

    @property
    def name(self) -> str:
        return "+".join(self.species)


@dataclass(slots=True)
class _Tally:
    tiles: int = 0
    right: int = 0
    fewer: int = 0
    more: int = 0
    """As many as painted or more, or not where they were painted."""

    def add(self, found: list[Place], painted: list[Place]) -> bool:
        right = len(found) == len(painted) and _stand_for(found, painted)
        self.tiles += 1
        self.right += right
        self.fewer += len(found) < len(painted)
        self.more += not right and len(found) >= len(painted)
        return right


@dataclass(slots=True)
class _Tallies:
    by_case: dict[str, _Tally] = field(default_factory=dict)
    by_overlap: dict[str, _Tally] = field(default_factory=dict)
    by_look: dict[str, _Tally] = field(default_factory=dict)
    whole: _Tally = field(default_factory=_Tally)

    def of(self, case: _Case, look: str) -> list[_Tally]:
        """All the tallies that a tile of that case enters."""
        return [
            self.by_case.setdefault(case.name, _Tally()),
            self.by_overlap.setdefault(f"{case.overlap:.2f}", _Tally()),
            self.by_look.setdefault(look, _Tally()),
            self.whole,
        ]


def measure(
    data: Path, limit: int | None, sheet: Path | None = None, method: SeeingMethod = USUAL_SEEING
) -> Result:
    """Paint fields of one case a tile and look at each once. ``limit`` is the number of tiles of each kind."""
    del data  # this bench paints its own
    pair_cases = [
        _Case(names, overlap)
        for _ in range(EACH)
        for names, overlap in product(combinations_with_replacement(PAIRED, 2), OVERLAPS)
    ]
    single_cases = [_Case((name,)) for _ in range(5 * EACH) for name in SPECIES]
    wrong: list[Image] = []
    with closing(open_centres(load_bundle(None), method)) as centres:

        def see(image: Image) -> list[Detection]:
            return Seeing(PIXEL_UM, centres.model).see(image, reduce(image, PIXEL_UM), IDENTITY).detections

        pairs, singles = (_looked_at(spread(cases, limit), wrong, see) for cases in (pair_cases, single_cases))
    if sheet is not None:
        contact_sheet(wrong[:300], sheet, columns=15, side=150)
    return _result(pairs, singles)


def _looked_at(cases: list[_Case], wrong: list[Image], see: Callable[[Image], list[Detection]]) -> _Tallies:
    tallies = _Tallies()
    per_field = TILES[0] * TILES[1]
    for seed, look in enumerate(LOOKS):
        rng = np.random.default_rng(seed)
        textures = Textures(rng, PIXEL_UM)
        for start in range(0, len(cases), per_field):
            some = cases[start : start + per_field]
            image, painted = _field(some, LOOKS[look], textures, rng)
            detections = see(image)
            for number, case in enumerate(some):
                inside = [d for d in detections if _tile_of(d.centre_rc) == number]
                found = [d.centre_rc for d in inside]
                right = [tally.add(found, painted[number]) for tally in tallies.of(case, look)]
                if not right[0]:
                    wrong.append(_picture(image, number, inside, f"{case.name} {case.overlap:.2f} n{len(found)}"))
    return tallies


def _field(
    cases: list[_Case], look: Look, textures: Textures, rng: np.random.Generator
) -> tuple[Image, list[list[Place]]]:
    """One field with a case a tile, and the places of the nuclei in each."""
    side = round(TILE_UM / PIXEL_UM)
    image = np.empty((TILES[0] * side, TILES[1] * side, 3), np.uint8)
    image[...] = np.rint(look.glass_rgb)
    painted = []
    for number in range(TILES[0] * TILES[1]):
        corner = np.array(divmod(number, TILES[1])) * side
        taken = np.zeros((side, side), bool)
        if number < len(cases):
            painted.append(list(_paint_case(image, taken, corner, cases[number], look, textures, rng)))
        _paint_red_cells(image, taken, corner, look, textures, rng)
    noisy = image + rng.normal(0, NOISE, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), painted


def _paint_case(
    image: Image,
    taken: np.ndarray,
    corner: np.ndarray,
    case: _Case,
    look: Look,
    textures: Textures,
    rng: np.random.Generator,
) -> Iterator[Place]:
    cells = [paint_nucleated(SPECIES[name], look, textures, rng, PIXEL_UM) for name in case.species]
    for cell, offset in zip(cells, _offsets(cells, case.overlap, rng), strict=True):
        at = np.rint(len(taken) / 2 + offset - len(cell.light) / 2).astype(int)
        row, col = at + corner
        multiply_light(image, cell.light, int(row), int(col))
        top, left = at
        taken[top : top + len(cell.light), left : left + len(cell.light)] = True
        yield float(row + cell.nucleus_rc[0]), float(col + cell.nucleus_rc[1])


def _offsets(cells: list[Painting], overlap: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Where the cells' patches lie about the middle of the tile."""
    if len(cells) == 1:
        return [np.zeros(2)]
    angle = rng.uniform(0, 2 * np.pi)
    towards = np.array([np.sin(angle), np.cos(angle)])
    apart_px = _reach(cells[0], towards) + _reach(cells[1], -towards)
    apart_px -= overlap * min(cell.diameter_um for cell in cells) / PIXEL_UM
    return [-0.5 * apart_px * towards, 0.5 * apart_px * towards]


def _reach(cell: Painting, towards: np.ndarray) -> float:
    """How far the outline reaches from the patch's middle in a direction, px."""
    return float(((cell.outline - 0.5 * (len(cell.light) - 1)) @ towards).max())


def _paint_red_cells(
    image: Image, taken: np.ndarray, corner: np.ndarray, look: Look, textures: Textures, rng: np.random.Generator
) -> None:
    """Red cells in the free corners of a tile."""
    for _ in range(RED_CELLS):
        red = paint_red_cell(look, textures, rng, PIXEL_UM).light
        top, left = rng.integers(0, len(taken) - len(red), 2)
        part = taken[top : top + len(red), left : left + len(red)]
        if not part.any():
            part[...] = True
            multiply_light(image, red, int(corner[0] + top), int(corner[1] + left))


def _stand_for(found: list[Place], painted: list[Place]) -> bool:
    """Whether each painted cell has one candidate near it that is no other's."""
    if not painted:
        return True
    apart = np.hypot(*(np.array(found)[:, None] - np.array(painted)[None]).transpose(2, 0, 1)) * PIXEL_UM
    nearest = apart.argmin(axis=0)
    return len(set(nearest.tolist())) == len(painted) and bool((apart.min(axis=0) <= NEAR_UM).all())


def _tile_of(centre_rc: Place) -> int:
    row, col = (int(place // round(TILE_UM / PIXEL_UM)) for place in centre_rc)
    return row * TILES[1] + col


def _picture(image: Image, number: int, detections: list[Detection], caption: str) -> Image:
    side = round(TILE_UM / PIXEL_UM)
    top, left = (place * side for place in divmod(number, TILES[1]))
    whole = annotated(image, detections, "")[top : top + side, left : left + side]
    small = np.asarray(cv2.resize(whole, (220, 220), interpolation=cv2.INTER_AREA), np.uint8)
    cv2.putText(small, caption, (2, 14), 0, 0.4, (200, 0, 0), 1, cv2.LINE_AA)
    return small


def _result(pairs: _Tallies, singles: _Tallies) -> Result:
    figures = {
        "pairs": _figures(pairs.whole),
        "pairs_by_kind": _all_figures(pairs.by_case),
        "pairs_by_overlap": _all_figures(pairs.by_overlap),
        "pairs_by_look": _all_figures(pairs.by_look),
        "singles": _figures(singles.whole),
        "singles_by_kind": _all_figures(singles.by_case),
        "singles_by_look": _all_figures(singles.by_look),
    }
    table = [f"{'':32}{'tiles':>7}{'right':>9}{'fewer':>7}{'more':>7}"]
    for name in ("pairs_by_kind", "pairs_by_overlap", "pairs_by_look", "singles_by_kind", "singles_by_look"):
        rows: dict[str, dict[str, Any]] = figures[name]
        table += [
            f"{name.replace('_by_', ' by ')[:8]:9}{kind:23}{row['tiles']:7}{row['right_share']:9.4f}"
            f"{row['fewer']:7}{row['more']:7}"
            for kind, row in rows.items()
        ]
    wanted = [
        Wanted("pairs seen as two", share(pairs.whole.right, pairs.whole.tiles), at_least=LEAST_TWO),
        Wanted("single cells seen as one", share(singles.whole.right, singles.whole.tiles), at_least=LEAST_ONE),
    ]
    return Result("clumps", figures, table, wanted)


def _all_figures(tallies: dict[str, _Tally]) -> dict[str, dict[str, Any]]:
    return {name: _figures(tally) for name, tally in tallies.items()}


def _figures(tally: _Tally) -> dict[str, Any]:
    return {
        "tiles": tally.tiles,
        "right_share": round(share(tally.right, tally.tiles), 4),
        "fewer": tally.fewer,
        "more": tally.more,
    }
