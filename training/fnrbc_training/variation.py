"""How far a cell's look may go from one laboratory to another: stain, lamp, lens, camera, and where it was cut.

Wider than any one laboratory shows. Of what a network is told by colour alone little is left, so it has to learn the
nucleus' shape and texture, and how nucleus and cytoplasm differ.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, GLASS
from fnrbc_training.styles import DENSITY, densities, nucleus_and_cytoplasm, shown

Picture = NDArray[np.float32]

STRENGTH: Final = (0.6, 1.6)
"""Factor of all optical density."""
BLEED: Final = 0.12
"""Of one colour's density into another's, and of its own gain: a 3 x 3 map near the identity."""
GAMMA: Final = (0.75, 1.35)
"""Exponent of optical density, about 1."""
HUE_DEGREES: Final = 24.0
SATURATION: Final = (0.4, 1.6)
GREY: Final = 0.05
"""Share of the crops shown without any colour."""
LIGHT: Final = 0.15
TINT: Final = 0.06
BLUR_PX: Final = 1.5
SHARPEN: Final = 1.5
RESOLUTION: Final = (0.45, 0.85)
"""Of a camera with larger pixels, over that of a crop."""
NOISE: Final = 7.0
JPEG_QUALITY: Final = (35, 95)
SCALE: Final = 0.15
SHIFT_PX: Final = 3.0
BORDER_UM: Final = 1.6
"""How much less of the surroundings a mask may keep."""
OFTEN: Final = 0.3
"""Share of the crops that each kind of change is applied to."""
COLOURED: Final = 0.7
"""The same for stain and hue, which differ most between laboratories."""


def varied(crop: Image, rng: np.random.Generator) -> Image:
    """Show a crop as another laboratory would have.

    Parameters
    ----------
    crop
        (S, S, 3) uint8 RGB.
    rng
        What is drawn is drawn from here.
    """
    cut = _closer(crop, rng) if rng.random() < OFTEN / 2 else crop
    picture = cut.astype(np.float32)
    for change in (_moved, _stained, _turned_hue, _lit, _focused, _coarser, _noisy):
        if rng.random() < (COLOURED if change in (_stained, _turned_hue) else OFTEN):
            picture = change(picture, rng)
    bytes_ = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return _compressed(bytes_, rng) if rng.random() < OFTEN else bytes_


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


def _moved(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another pixel size than was stated, and a centre that is off a little."""
    side = picture.shape[0]
    scale = float(np.exp(rng.uniform(-SCALE, SCALE)))
    shift = rng.uniform(-SHIFT_PX, SHIFT_PX, 2) + (1 - scale) * (side - 1) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    glass = (GLASS,) * 3
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), borderValue=glass), np.float32)


def _stained(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another stain: its strength, its steepness, and how its colours mix, all in optical density."""
    strength = np.exp(rng.uniform(*np.log(STRENGTH)))
    mix = np.eye(3) + rng.uniform(-BLEED, BLEED, (3, 3))
    # Of whole grey values: a table of 256 powers costs a hundredth of those of a picture.
    powers = DENSITY ** np.float32(np.exp(rng.uniform(*np.log(GAMMA))))
    steep = cv2.LUT(cv2.convertScaleAbs(np.maximum(picture, 0)), powers)
    mixed = np.maximum(cv2.transform(steep, (strength * mix).astype(np.float32)), 0)
    return np.asarray(cv2.exp(-mixed) * np.float32(GLASS), np.float32)


def _turned_hue(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another hue and saturation: a turn about the grey axis, and a stretch away from it."""
    angle = np.deg2rad(rng.uniform(-HUE_DEGREES, HUE_DEGREES))
    stretch = 0.0 if rng.random() < GREY else np.exp(rng.uniform(*np.log(SATURATION)))
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + stretch * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)
    return np.asarray(cv2.transform(picture, turn.astype(np.float32)), np.float32)


def _lit(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another lamp: brighter or darker, and tinted."""
    gain = (1 + rng.uniform(-LIGHT, LIGHT)) * (1 + rng.uniform(-TINT, TINT, 3))
    return np.asarray(picture * gain.astype(np.float32), np.float32)


def _focused(picture: Picture, rng: np.random.Generator) -> Picture:
    """Out of focus, moved while exposed, or sharpened by the camera."""
    sigma = np.maximum(rng.uniform(0.3, BLUR_PX) * rng.uniform(0.5, 1, 2), 0.3)
    soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma[0], sigmaY=sigma[1]), np.float32)
    return soft if rng.random() < 0.6 else picture + np.float32(rng.uniform(0, SHARPEN)) * (picture - soft)


def _coarser(picture: Picture, rng: np.random.Generator) -> Picture:
    """From a camera with larger pixels."""
    side = picture.shape[0]
    fewer = round(side * rng.uniform(*RESOLUTION))
    small = cv2.resize(picture, (fewer, fewer), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


def _noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    sigma = np.float32(rng.uniform(0, NOISE))
    return picture + sigma * rng.standard_normal(picture.shape, np.float32)


def _compressed(crop: Image, rng: np.random.Generator) -> Image:
    quality = int(rng.integers(*JPEG_QUALITY))
    _, content = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
