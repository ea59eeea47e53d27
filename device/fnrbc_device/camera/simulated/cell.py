"""Paints one cell as the light it lets through, with the exact measures of what was painted."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.outline import (
    Plane,
    Points,
    blob,
    centred,
    coverage,
    hull_centroid,
    nucleus_coverage,
)
from fnrbc_device.camera.simulated.stain import Density, Look, Species
from fnrbc_device.records import Image

LENS_UM: Final = 0.13
"""Standard deviation of the lens' point spread, um: a 0.65 NA objective in green light."""
TEXTURE_PX: Final = 512


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """One cell on a patch of its own."""

    light: Image
    """(H, W, 3). Share of the light that comes through, 0..255 for 0..1."""
    nucleus_rc: tuple[float, float]
    """Centroid of the nucleus' convex hull, px in the patch. The patch's centre where there is no nucleus."""
    outline: Points
    """Outline of the whole cell."""
    diameter_um: float
    """Diameter of the circle with the whole cell's area."""
    nucleus_ratio: float
    """Area of the nucleus over area of the whole cell, 0..1."""


class Textures:
    """Grain of chromatin, granules and cytoplasm: fields made once, of which each cell gets its own place.

    Parameters
    ----------
    rng
        Where the fields and the places come from.
    pixel_size_um
        um, > 0.
    """

    def __init__(self, rng: np.random.Generator, pixel_size_um: float) -> None:
        self._rng = rng
        self._chromatin = _grain(rng, 0.34 / pixel_size_um)
        self._granules = _grain(rng, 0.20 / pixel_size_um)
        self._fine = _grain(rng, 0.12 / pixel_size_um)

    def chromatin(self, side: int) -> Plane:
        """(side, side), mean 0, standard deviation 1, clumps of about 0.8 um."""
        return self._cut(self._chromatin, side)

    def granules(self, side: int) -> Plane:
        """(side, side), mean 0, standard deviation 1, spots of about 0.5 um."""
        return self._cut(self._granules, side)

    def fine(self, side: int) -> Plane:
        """(side, side), mean 0, standard deviation 1, grain of about 0.3 um."""
        return self._cut(self._fine, side)

    def _cut(self, field: Plane, side: int) -> Plane:
        field = np.tile(field, (-(-2 * side // TEXTURE_PX),) * 2) if side >= TEXTURE_PX else field
        row, col = self._rng.integers(0, len(field) - side, 2)
        return field[row : row + side, col : col + side]


def paint_nucleated(
    species: Species, look: Look, textures: Textures, rng: np.random.Generator, pixel_size_um: float
) -> Painting:
    """Paint a nucleated cell: outline, cytoplasm with its granules, nucleus with its chromatin."""
    low, mode, high = species.diameter_um
    # 0.15 um from either end: what is measured on the pixels strays from what was asked by less than that.
    radius_px = 0.5 * rng.triangular(low + 0.15, mode, high - 0.15) / pixel_size_um
    outline = blob(rng, radius_px, species.wobble)
    half = int(np.ceil(np.abs(outline).max())) + 6
    side = 2 * half + 1
    centre = half + rng.uniform(-0.5, 0.5, 2)
    outline = outline + centre
    cell = coverage([outline], side)
    nucleus = np.minimum(nucleus_coverage(species, rng, radius_px, centre, side), cell)
    area_px, nucleus_px = float(cell.sum()), float(nucleus.sum())
    density = _density(species, look, textures, rng, cell, nucleus, pixel_size_um)
    return Painting(
        light=_light(density, pixel_size_um),
        nucleus_rc=hull_centroid(nucleus),
        outline=outline,
        diameter_um=2.0 * float(np.sqrt(area_px / np.pi)) * pixel_size_um,
        nucleus_ratio=nucleus_px / area_px,
    )


def paint_red_cell(look: Look, textures: Textures, rng: np.random.Generator, pixel_size_um: float) -> Painting:
    """Paint a red cell: 7-8 um, most with a pale centre."""
    radius_px = 0.5 * rng.uniform(7.0, 8.0) / pixel_size_um
    outline = blob(rng, radius_px, 0.035)
    outline, side = centred(outline)
    cell = coverage([outline], side)
    reach = _distance_from_centre(side) / radius_px
    pallor = rng.uniform(0.2, 0.85)
    profile = 1.0 - pallor * np.exp(-((reach / rng.uniform(0.35, 0.55)) ** 4))
    profile *= 1.0 + 0.03 * textures.fine(side)
    density = (cell * profile)[..., None] * _shade(look.red_cell, rng.uniform(0.8, 1.2))
    return _plain(density, cell, outline, pixel_size_um)


def paint_platelet(look: Look, textures: Textures, rng: np.random.Generator, pixel_size_um: float) -> Painting:
    """Paint a platelet: 2-3 um, granular, ragged."""
    radius_px = 0.5 * rng.uniform(2.1, 2.9) / pixel_size_um
    outline, side = centred(blob(rng, radius_px, 0.08))
    cell = coverage([outline], side)
    grain = np.clip(0.75 + 0.35 * textures.granules(side), 0.2, 1.6)
    density = (cell * grain)[..., None] * _shade(look.platelet, rng.uniform(0.7, 1.1))
    return _plain(density, cell, outline, pixel_size_um)


def paint_debris(look: Look, textures: Textures, rng: np.random.Generator, pixel_size_um: float) -> Painting:
    """Paint debris: a dark speck of stain (up to 1.8 um), or a pale smudge (up to 7 um)."""
    speck = rng.random() < 0.6
    diameter_um = rng.uniform(0.5, 1.8) if speck else rng.uniform(3.0, 7.0)
    outline, side = centred(blob(rng, 0.5 * diameter_um / pixel_size_um, 0.12))
    cell = coverage([outline], side)
    colour = _shade(look.precipitate if speck else look.smudge, rng.uniform(0.7, 1.1))
    density = (cell * np.clip(1.0 + 0.2 * textures.fine(side), 0.3, 2.0))[..., None] * colour
    return _plain(density, cell, outline, pixel_size_um)


def _density(
    species: Species,
    look: Look,
    textures: Textures,
    rng: np.random.Generator,
    cell: Plane,
    nucleus: Plane,
    pixel_size_um: float,
) -> NDArray[np.float32]:
    """(H, W, 3) optical density: cytoplasm where there is no nucleus, nucleus where there is."""
    stain = look.stains[species.name]
    side = len(cell)
    low, high = (np.asarray(colour, np.float32) for colour in stain.cytoplasm)
    cytoplasm = (low + (high - low) * np.float32(rng.random())) * np.float32(rng.uniform(0.9, 1.1))
    body = cell * (1.0 + 0.12 * textures.fine(side)) + 0.35 * _rim(cell, 0.30 / pixel_size_um)
    density = (body * (1.0 - nucleus))[..., None] * cytoplasm
    if stain.granule_share:
        field = textures.granules(side) if stain.granules_coarse else textures.fine(side)
        spots = _granules(stain.granule_share, field)
        density += (spots * cell * (1.0 - nucleus))[..., None] * _shade(stain.granules, 1.0)
    chromatin = textures.chromatin(side)
    # Clumps are a little darker than the mean, the gaps between them clearly lighter: that is what chromatin
    # looks like on real cells, and what no plain Gaussian grain looks like.
    clumped = 1.0 + 0.09 * chromatin - 0.32 * np.clip(-chromatin - 0.7, 0.0, 1.2)
    depth = nucleus * clumped + 0.25 * _rim(nucleus, 0.30 / pixel_size_um)
    density += depth[..., None] * _shade(stain.nucleus, rng.uniform(0.92, 1.08))
    painted: NDArray[np.float32] = np.maximum(density, 0.0)
    return painted


def _light(density: NDArray[np.float32], pixel_size_um: float) -> Image:
    """Beer-Lambert, through the lens."""
    blurred = cv2.GaussianBlur(density, (0, 0), LENS_UM / pixel_size_um)
    light: Image = np.rint(255.0 * np.exp(-np.log(10.0) * blurred)).astype(np.uint8)
    return light


def _plain(density: NDArray[np.float32], cell: Plane, outline: Points, pixel_size_um: float) -> Painting:
    """Wrap up something without a nucleus."""
    area_px = max(float(cell.sum()), 1.0)
    middle = 0.5 * (len(cell) - 1)
    return Painting(
        light=_light(density.astype(np.float32), pixel_size_um),
        nucleus_rc=(middle, middle),
        outline=outline,
        diameter_um=2.0 * float(np.sqrt(area_px / np.pi)) * pixel_size_um,
        nucleus_ratio=0.0,
    )


def _rim(mask: Plane, width_px: float) -> Plane:
    """Find the inner border of a mask, where stain piles up: 0..1."""
    rim: Plane = mask * 2.0 * np.maximum(mask - cv2.GaussianBlur(mask, (0, 0), width_px), 0.0)
    return rim


def _granules(share: float, field: Plane) -> Plane:
    """Spots that cover about this share of the area, soft-edged."""
    level = np.float32(np.quantile(field, 1.0 - share))
    spots: Plane = np.clip(0.5 + (field - level), 0.0, 1.0)
    return spots


def _grain(rng: np.random.Generator, sigma_px: float) -> Plane:
    """(512, 512) smooth noise with mean 0 and standard deviation 1, without slow waves."""
    noise = rng.standard_normal((TEXTURE_PX, TEXTURE_PX), np.float32)
    border = cv2.BORDER_REFLECT
    fine, coarse = (
        cv2.GaussianBlur(noise, (0, 0), times * max(sigma_px, 0.3), borderType=border) for times in (1.0, 3.0)
    )
    grain = fine - coarse
    normed: Plane = ((grain - grain.mean()) / grain.std()).astype(np.float32)
    return normed


def _distance_from_centre(side: int) -> Plane:
    axis = np.arange(side, dtype=np.float32) - 0.5 * (side - 1)
    distance: Plane = np.hypot(axis[:, None], axis[None, :])
    return distance


def _shade(colour: Density, strength: float) -> NDArray[np.float32]:
    return np.asarray(colour, np.float32) * np.float32(strength)
