"""How a cell's look may vary: stain, lamp, lens, camera, and where it was cut; within a laboratory, or beyond it.

Beyond one laboratory it goes further than any one shows. Of what a network is told by colour alone little is left, so
it has to learn the nucleus' shape and texture, and how nucleus and cytoplasm differ.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, GLASS
from fnrbc_training.colours import hue_and_saturation
from fnrbc_training.styles import DENSITY, densities, nucleus_and_cytoplasm, shown

Picture = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far each kind of change may go, and what share of the crops each is made on."""

    strength: tuple[float, float]
    """Factor of all optical density."""
    bleed: float
    """Of one colour's density into another's, and of its own gain: a 3 x 3 map near the identity."""
    gamma: tuple[float, float]
    """Exponent of optical density."""
    hue_degrees: float
    saturation: tuple[float, float]
    grey: float
    """Share of the crops of another hue that are shown without any colour."""
    light: float
    tint: float
    blur_px: tuple[float, float]
    sharpened: float
    """Share of the crops out of focus that are sharpened instead, as a camera does."""
    noise: float
    scale: float
    turned: bool
    """By any angle, beside the eight symmetries."""
    coloured: float
    """Share of the crops that stain and hue are changed of, which differ most between laboratories."""
    often: float
    """The same for each other kind of change."""
    coarser: float
    """For a camera with larger pixels."""
    closer: float
    """For a cut nearer to the nucleus."""


WITHIN: Final = Reach(
    strength=(0.86, 1.16), bleed=0.05, gamma=(1.0, 1.0), hue_degrees=14.0, saturation=(0.86, 1.16), grey=0.0,
    light=0.2, tint=0.05, blur_px=(0.05, 1.4), sharpened=0.0, noise=8.0, scale=0.08, turned=False,
    coloured=0.8, often=0.4, coarser=0.0, closer=0.0,
)  # fmt: skip
"""One laboratory: wider than the perturbations that a network has to stand: light by 15 %, a blur of 1 px, JPEG of
quality 50, noise with sigma 5. With colours changed on fewer crops a hue turned by 8 degrees cost 2.4 points."""

BEYOND: Final = Reach(
    strength=(0.6, 1.6), bleed=0.12, gamma=(0.75, 1.35), hue_degrees=24.0, saturation=(0.4, 1.6), grey=0.05,
    light=0.15, tint=0.06, blur_px=(0.3, 1.5), sharpened=0.4, noise=7.0, scale=0.15, turned=True,
    coloured=0.7, often=0.3, coarser=0.3, closer=0.15,
)  # fmt: skip
"""From one laboratory to another."""

TURNED: Final = 0.5
"""Share of the crops that are moved where they may be turned: a cell lies at any angle."""
SHARPEN: Final = 1.5
RESOLUTION: Final = (0.45, 0.85)
"""Of a camera with larger pixels, over that of a crop."""
JPEG_QUALITY: Final = (35, 95)
SHIFT_PX: Final = 3.0
BORDER_UM: Final = 1.6
"""How much less of the surroundings a mask may keep."""


def varied(crop: Image, rng: np.random.Generator, reach: Reach = BEYOND) -> Image:
    """Show a crop as another stain, lamp, lens or camera would have.

    Parameters
    ----------
    crop
        (S, S, 3) uint8 RGB.
    rng
        What is drawn is drawn from here.
    reach
        How far it may go.
    """
    cut = _closer(crop, rng) if rng.random() < reach.closer else crop
    picture = cut.astype(np.float32)
    for change, share in (
        (_moved, TURNED if reach.turned else reach.often),
        (_stained, reach.coloured),
        (_of_another_hue, reach.coloured),
        (_lit, reach.often),
        (_focused, reach.often),
        (_coarser, reach.coarser),
        (_noisy, reach.often),
    ):
        if rng.random() < share:
            picture = change(picture, rng, reach)
    bytes_ = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return _compressed(bytes_, rng) if rng.random() < reach.often else bytes_


def _closer(crop: Image, rng: np.random.Generator) -> Image:
    """Cut nearer to the nucleus, as another way of finding it would."""
    density = densities(crop)
    _, nucleus = nucleus_and_cytoplasm(density)
    if not (nucleus > 0.5).any():
        return crop
    reach_px = round(rng.uniform(3.0 - BORDER_UM, 3.0) / CROP_PIXEL_SIZE_UM)
    kept = _central(nucleus > 0.5)
    hull = cv2.convexHull(cv2.findNonZero(kept))
    mask = np.zeros(kept.shape, np.uint8)
    cv2.fillConvexPoly(mask, hull, 255)
    cv2.polylines(mask, [hull], True, 255, thickness=2 * reach_px + 1)
    alpha = cv2.GaussianBlur(mask, (0, 0), 1.0).astype(np.float32) / 255
    return shown(np.asarray(density * alpha[..., None], np.float32))


def _central(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """All parts of a nucleus near the middle; of others, none."""
    side = mask.shape[0]
    count, parts, figures, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    off = np.hypot(*(centres - (side - 1) / 2).T)
    near = [i for i in range(1, count) if off[i] < side / 4 and figures[i, cv2.CC_STAT_AREA] > 20]
    kept = np.isin(parts, near) if near else mask
    return kept.astype(np.uint8)


def _moved(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    """Another pixel size than was stated, a centre that is off a little, and a cell that lies otherwise."""
    side = picture.shape[0]
    scale = float(np.exp(rng.uniform(-reach.scale, reach.scale)))
    shift = rng.uniform(-SHIFT_PX, SHIFT_PX, 2)
    degrees = float(rng.uniform(0, 360)) if reach.turned else 0.0
    middle = (side - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), degrees, scale), np.float64)
    matrix[:, 2] += shift
    glass = (GLASS,) * 3
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), borderValue=glass), np.float32)


def _stained(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    """Another stain: its strength, its steepness, and how its colours mix, all in optical density."""
    strength = np.exp(rng.uniform(*np.log(reach.strength)))
    mix = np.eye(3) + rng.uniform(-reach.bleed, reach.bleed, (3, 3))
    # Of whole grey values: a table of 256 powers costs a hundredth of those of a picture.
    powers = DENSITY ** np.float32(np.exp(rng.uniform(*np.log(reach.gamma))))
    steep = cv2.LUT(cv2.convertScaleAbs(np.maximum(picture, 0)), powers)
    mixed = np.maximum(cv2.transform(steep, (strength * mix).astype(np.float32)), 0)
    return np.asarray(cv2.exp(-mixed) * np.float32(GLASS), np.float32)


def _of_another_hue(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    degrees = float(rng.uniform(-reach.hue_degrees, reach.hue_degrees))
    saturation = 0.0 if rng.random() < reach.grey else float(np.exp(rng.uniform(*np.log(reach.saturation))))
    return np.asarray(cv2.transform(picture, hue_and_saturation(degrees, saturation)), np.float32)


def _lit(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    """Another lamp: brighter or darker, and tinted."""
    gain = (1 + rng.uniform(-reach.light, reach.light)) * (1 + rng.uniform(-reach.tint, reach.tint, 3))
    return np.asarray(picture * gain.astype(np.float32), np.float32)


def _focused(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    """Out of focus, moved while exposed (not equally in both directions), or sharpened by the camera."""
    least = reach.blur_px[0]
    sigma = np.maximum(rng.uniform(*reach.blur_px) * rng.uniform(0.5, 1, 2), least)
    soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma[0], sigmaY=sigma[1]), np.float32)
    if rng.random() >= reach.sharpened:
        return soft
    return picture + np.float32(rng.uniform(0, SHARPEN)) * (picture - soft)


def _coarser(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    """From a camera with larger pixels."""
    side = picture.shape[0]
    fewer = round(side * rng.uniform(*RESOLUTION))
    small = cv2.resize(picture, (fewer, fewer), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _noisy(picture: Picture, rng: np.random.Generator, reach: Reach) -> Picture:
    sigma = np.float32(rng.uniform(0, reach.noise))
    return picture + sigma * rng.standard_normal(picture.shape, np.float32)


def _compressed(crop: Image, rng: np.random.Generator) -> Image:
    quality = int(rng.integers(*JPEG_QUALITY))
    _, content = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
