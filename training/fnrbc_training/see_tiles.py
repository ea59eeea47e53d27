"""Tiles that the centre network is trained on: cut out of pictures, laid together, stained, lit and blurred otherwise.

All that is drawn depends on the seed and the tile's number alone: one seed, one result.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.vision.centre_picture import MOST_DENSITY
from fnrbc_device.vision.stain import REFERENCE_REST, densities
from fnrbc_training.see_page import UNKNOWN, Shown

TILE: Final = 128
"""Side, px: 45 um, two of the largest cells side by side."""

SHARES: Final = {"cell": 0.42, "bare": 0.09, "field": 0.16, "outlined": 0.16, "empty": 0.06, "painted": 0.11}
"""Of the kinds of pictures among the tiles."""

LAID_TOGETHER: Final = 0.45
"""Share of single cells that get neighbours: crowds of which the truth is known."""

NEIGHBOURS: Final = 3
"""At most."""

CLOSEST: Final = 0.85
FURTHEST: Final = 2.6
"""Distance of neighbours in sums of their radii: from overlapping nuclei to cells that touch."""

SCALES: Final = (0.78, 1.28)
"""A tile's scale: pixel sizes that are wrong by a quarter, and cells of other sizes."""

STRETCHED: Final = {"outlined": 1.4, "painted": 1.25}
STRETCHED_ELSE: Final = 1.1
"""How much longer than wide a tile makes round things, at most: nuclei of tissue are long."""

EVENLY: Final = 0.5
"""Exponent: of two laboratories, one with four times the pictures is seen twice as often."""

PALE: Final = 0.2
MOST_PALE: Final = 0.55
"""Share of tiles whose nuclei are paler than they were, and how much of their density is taken at most."""

HUE_DEGREES: Final = 40.0
SATURATION: Final = (0.45, 1.6)
"""How far colours are turned, and made more or less."""

BLURRED: Final = 0.35
MOST_BLUR_PX: Final = 3.5
"""1.2 um."""

SHARPENED: Final = 0.15
DUSTY: Final = 0.2
SHADED: Final = 0.25
TISSUE: Final = 0.15
"""Share of tiles that lie in stained tissue: all between the nuclei takes up of what is no nucleus' stain."""

MOST_TISSUE: Final = 2.5
"""Of the reference's rest of what is stained."""

NOISE: Final = (0.005, 0.06)
GLASS_OFF: Final = 0.03
"""Standard deviation of an error in what glass is taken for, in density."""


@dataclass(frozen=True, slots=True)
class Staining:
    """How far a tile's stain is taken from its picture's."""

    gain: tuple[float, float]
    """Of all channels together."""
    channel_gain: float
    mixing: float
    """Standard deviations of the channels' own gains, and of what they take from each other, in density."""
    grey: float
    turned: float
    """Shares of tiles without colours, and of those whose colours are turned."""


ANY_STAIN: Final = Staining((0.6, 1.6), 0.15, 0.1, 0.06, 0.33)
SETTLED_STAIN: Final = Staining((0.8, 1.25), 0.05, 0.03, 0.0, 0.0)
"""As near as a session's settled map brings its frames to the reference."""


@dataclass(frozen=True, slots=True)
class Mix:
    """What tiles a network learns from."""

    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    """Of the kinds of pictures."""
    as_learned: float = 0.7
    """Share of tiles in the reference stain; the others are as their laboratory stained them."""
    settled: Mapping[str, float] = field(default_factory=dict)
    """By kind, the share of tiles in the settled stain; all others are in any."""


USUAL: Final = Mix()


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One tile and what is known of it."""

    density: NDArray[np.float32]
    """(3, TILE, TILE)."""
    cells: NDArray[np.float32]
    """(N, 3) row, col, radius, px."""
    mask: NDArray[np.uint8]
    """(TILE, TILE); see ``Shown.mask``."""
    kind: str = ""
    """Of the picture that it was cut out of."""


class TileMaker:
    """Makes tiles by their number.

    Parameters
    ----------
    shown
        All pictures.
    seed
        Of the whole training.
    mix
        Of kinds and stains.
    """

    def __init__(self, shown: Sequence[Shown], seed: int, mix: Mix = USUAL) -> None:
        self._mix = mix
        self._kinds = {kind: [one for one in shown if one.kind == kind] for kind in mix.shares}
        self._chances = {kind: _chances(pictures) for kind, pictures in self._kinds.items()}
        present = [kind for kind in mix.shares if self._kinds[kind]]
        self._names = present
        weights = np.array([mix.shares[kind] for kind in present])
        self._shares = weights / weights.sum()
        self._seed = seed

    def make(self, number: int) -> Tile:
        """The tile of that number, always the same."""
        rng = np.random.default_rng((self._seed, number))
        kind = self._names[int(rng.choice(len(self._names), p=self._shares))]
        settled = kind in self._mix.settled and rng.random() < self._mix.settled[kind]
        tile = self._cut(kind, rng)
        if kind == "cell" and len(tile.cells) and rng.random() < LAID_TOGETHER:
            for _ in range(int(rng.integers(1, NEIGHBOURS + 1))):
                tile = _laid_together(tile, self._cut("cell", rng), rng)
        density = _paler(tile, rng) if rng.random() < PALE else tile.density
        return Tile(_varied(density, SETTLED_STAIN if settled else ANY_STAIN, rng), tile.cells, tile.mask, kind)

    def _cut(self, kind: str, rng: np.random.Generator) -> Tile:
        pictures = self._kinds[kind]
        shown = pictures[int(np.searchsorted(self._chances[kind], rng.random(), side="right"))]
        to_tile = _placement(shown, rng)
        size = (TILE, TILE)
        glass = shown.glass_rgb
        image = cv2.warpAffine(
            shown.image, to_tile, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=glass
        )
        mask = np.asarray(cv2.warpAffine(shown.mask, to_tile, size, flags=cv2.INTER_NEAREST), np.uint8)
        density = densities(np.asarray(image, np.uint8), shown.glass_rgb)
        if rng.random() < self._mix.as_learned:
            density = np.asarray(cv2.transform(density, shown.stain_map.matrix), np.float32)
        return Tile(np.ascontiguousarray(density.transpose(2, 0, 1)), _moved(shown.cells, to_tile), mask)


def _chances(pictures: list[Shown]) -> NDArray[np.float64]:
    """Rising to 1: up to where each picture is drawn by a number of 0..1."""
    many = Counter(one.source for one in pictures)
    weights = np.array([many[one.source] ** -EVENLY for one in pictures])
    rising = np.cumsum(weights) / max(float(weights.sum()), 1e-9)
    rising[-1:] = 1.0
    return np.asarray(rising, np.float64)


def _placement(shown: Shown, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3): turned, mirrored, scaled, and moved so that something of interest lies in the tile."""
    height, width = shown.mask.shape
    at = np.array([width, height]) / 2 - 0.5
    if shown.kind != "cell":
        at = rng.uniform((0, 0), (width, height))
        if len(shown.cells) and rng.random() < 0.7:
            row, col, _ = shown.cells[int(rng.integers(len(shown.cells)))]
            at = np.array([col, row], np.float64)
        # No more than a corner of the tile lies beyond a field.
        reach = np.minimum(TILE / 3, np.array([width, height]) / 2)
        at = np.clip(at, reach, np.array([width, height]) - reach)
    angle, scale = rng.uniform(0, 2 * np.pi), float(np.exp(rng.uniform(*np.log(SCALES))))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    longer = np.log(STRETCHED.get(shown.kind, STRETCHED_ELSE)) / 2
    along = float(np.exp(rng.uniform(-longer, longer)))
    turn = turn @ np.diag([along if rng.random() < 0.5 else -along, 1 / along])
    middle = TILE / 2 - 0.5 + rng.uniform(-TILE / 5, TILE / 5, 2)
    return np.column_stack([turn, middle - turn @ at])


def _moved(cells: NDArray[np.float32], to_tile: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cells of a picture in the tile; those beyond it are left out."""
    scale = float(np.sqrt(abs(np.linalg.det(to_tile[:, :2]))))
    xy = cells[:, 1::-1] @ to_tile[:, :2].T + to_tile[:, 2]
    inside = ((xy > -0.5) & (xy < TILE - 0.5)).all(axis=1)
    return np.column_stack([xy[:, 1], xy[:, 0], cells[:, 2] * scale])[inside].astype(np.float32)


def _laid_together(tile: Tile, other: Tile, rng: np.random.Generator) -> Tile:
    """Two single cells side by side: at each pixel what absorbs more, which keeps both visible.

    The other one is moved so that its cell lies beside one of the tile's.
    """
    if not len(other.cells):
        return tile
    near = tile.cells[int(rng.integers(len(tile.cells)))]
    own = other.cells[0]
    apart = float(rng.uniform(CLOSEST, FURTHEST)) * float(near[2] + own[2])
    angle = float(rng.uniform(0, 2 * np.pi))
    row, col = (round(float(near[i] + apart * f(angle) - own[i])) for i, f in enumerate((np.sin, np.cos)))
    moved = own + np.array([row, col, 0], np.float32)
    gaps = np.hypot(*(tile.cells[:, :2] - moved[:2]).T)
    if (gaps < CLOSEST * (tile.cells[:, 2] + moved[2])).any():
        return tile
    move = np.array([[1.0, 0, col], [0, 1, row]])
    planes = [cv2.warpAffine(plane, move, (TILE, TILE), flags=cv2.INTER_NEAREST) for plane in other.density]
    density = np.maximum(tile.density, np.asarray(planes, np.float32))
    mask = np.asarray(cv2.warpAffine(other.mask, move, (TILE, TILE), flags=cv2.INTER_NEAREST), np.uint8)
    cells = _moved(other.cells, move)
    return Tile(density, np.concatenate([tile.cells, cells]), np.maximum(tile.mask, mask))


def _paler(tile: Tile, rng: np.random.Generator) -> NDArray[np.float32]:
    """The tile with some of its nuclei's density taken."""
    nucleus = cv2.GaussianBlur((tile.mask == 1).astype(np.float32), (0, 0), 1.0)
    return np.asarray(tile.density * (1 - np.float32(rng.uniform(0.1, MOST_PALE)) * nucleus), np.float32)


def _varied(density: NDArray[np.float32], stain: Staining, rng: np.random.Generator) -> NDArray[np.float32]:
    """Stained, lit, blurred and photographed otherwise."""
    if rng.random() < TISSUE:
        density = _in_tissue(density, rng)
    gains = np.exp(rng.uniform(*np.log(stain.gain))), np.exp(rng.normal(0, stain.channel_gain, 3))[:, None]
    matrix = np.eye(3) * gains[0] * gains[1]
    matrix += rng.normal(0, stain.mixing, (3, 3)) * (1 - np.eye(3))
    if rng.random() < stain.grey:
        matrix = np.tile(matrix[1], (3, 1))
    varied = np.tensordot(matrix.astype(np.float32), density, 1)
    if rng.random() < stain.turned:
        varied = _turned(varied, rng)
    if rng.random() < DUSTY:
        _dust(varied, rng)
    if rng.random() < SHADED:
        rows, cols = np.mgrid[-1 : 1 : TILE * 1j, -1 : 1 : TILE * 1j].astype(np.float32)
        down, right = rng.normal(0, 0.07, 2).astype(np.float32)
        varied += down * rows + right * cols
    varied = _focused(varied, rng)
    varied += rng.normal(0, GLASS_OFF, (3, 1, 1)).astype(np.float32)
    varied += rng.standard_normal(varied.shape, np.float32) * np.float32(np.exp(rng.uniform(*np.log(NOISE))))
    return np.asarray(np.clip(varied, -MOST_DENSITY, MOST_DENSITY), np.float32)


def _in_tissue(density: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Something pale behind it all, thicker here and thinner there; what absorbs more is seen."""
    grain = rng.standard_normal((TILE, TILE), np.float32)
    thick = cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(1.5, 8.0)))
    thick = rng.uniform(0.3, MOST_TISSUE) * np.clip(1 + 0.5 * thick / thick.std(), 0, 2)
    rest = np.asarray(REFERENCE_REST, np.float32)[:, None, None]
    return np.asarray(np.maximum(density, thick * rest), np.float32)


def _turned(density: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Hue turned about the grey axis, and more or less saturated, in light."""
    angle = np.radians(rng.uniform(-HUE_DEGREES, HUE_DEGREES))
    axis = np.ones((3, 3)) / 3
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = axis + np.cos(angle) * (np.eye(3) - axis) + np.sin(angle) * cross
    colour = axis + rng.uniform(*SATURATION) * (np.eye(3) - axis)
    light = np.tensordot((colour @ turn).astype(np.float32), np.exp(-density), 1)
    return np.asarray(-np.log(np.clip(light, 0.02, 1.3)), np.float32)


def _dust(density: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Specks that dim all colours alike."""
    plane = np.zeros((TILE, TILE), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        col, row, radius = (int(v) for v in rng.uniform((0, 0, 1), (TILE, TILE, 10)))
        cv2.circle(plane, (col, row), radius, float(rng.uniform(0.15, 0.9)), -1, cv2.LINE_AA)
    density += cv2.GaussianBlur(plane, (0, 0), float(rng.uniform(0.5, 2.0)))


def _focused(density: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    chance = rng.random()
    if chance > BLURRED + SHARPENED:
        return density
    sigma = float(rng.uniform(0.4, MOST_BLUR_PX)) if chance < BLURRED else float(rng.uniform(0.6, 1.5))
    smooth = np.array([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in density], np.float32)
    if chance < BLURRED:
        return smooth
    return np.asarray(density + float(rng.uniform(0.3, 1.0)) * (density - smooth), np.float32)


def known(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where something may be learned."""
    return np.asarray(mask != UNKNOWN)
