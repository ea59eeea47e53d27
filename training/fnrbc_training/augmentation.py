"""How a crop may vary and still show the same cell: the paper's eight symmetries, and, by name, appearance.

Applied to the training part only, after the split. All that is drawn depends on the seed, the crop and the
epoch alone, so that one seed gives one result.
"""

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import GLASS
from fnrbc_training.styling import STYLED, Styling
from fnrbc_training.variation import varied

Augmentation = Literal["none", "symmetries", "appearance", "wide", "styles"]
"""On top of the symmetries: ``appearance`` varies within one laboratory, ``wide`` beyond it, and ``styles`` lays the
styles of other laboratories on before."""

SYMMETRIES: Final = 8
"""Of the square: rotations by 0, 90, 180 and 270 degrees, each as it is and mirrored."""

# How far appearance may go: wider than the perturbations that a network has to stand, which are light by
# 15 %, a blur of 1 px, JPEG of quality 50, noise with sigma 5.
LIGHT: Final = 0.2
TINT: Final = 0.05
STAIN: Final = 0.15
HUE_DEGREES: Final = 14.0
BLUR_PX: Final = 1.4
NOISE: Final = 8.0
JPEG_QUALITY: Final = (35, 95)
SCALE: Final = 0.08
SHIFT_PX: Final = 3.0
OFTEN: Final = 0.4
"""Share of the changed crops that each kind of change is applied to."""

COLOURED: Final = 0.8
"""The same for the stain's strength and hue, which differ most between laboratories. With ``OFTEN``, and more crops
shown as they are, a hue turned by 8 degrees cost 2.4 points of accuracy."""

PLAIN: Final = 0.4
"""Share of crops shown as they are. With none, of 821 real cells held back from the training part 9 were wrong
after 40 epochs, against 4 with symmetries alone."""


def symmetry(crop: Image, which: int) -> Image:
    """Turn and mirror a crop by one of the eight symmetries of the square.

    Parameters
    ----------
    crop
        (S, S, 3) uint8 RGB.
    which
        0..7; 0 leaves it as it is, from 4 on it is mirrored.
    """
    turned = np.rot90(crop, which % 4)
    return turned[:, ::-1] if which >= 4 else turned


PLAIN_AMONG_LABORATORIES: Final = 0.2
"""The same for ``wide`` and ``styles``."""


def augment(
    crops: Image,
    indices: NDArray[np.int64],
    kind: Augmentation,
    epoch: int,
    seed: int,
    styling: Styling | None = None,
) -> Image:
    """Vary crops for one epoch.

    Over any eight consecutive epochs that start at a multiple of eight, a crop is shown in each of its eight
    symmetries exactly once.

    Parameters
    ----------
    crops
        (N, 120, 120, 3) uint8 RGB.
    indices
        (N,) rows of the crops in the training part: what happens to a crop depends on it, the epoch and the
        seed only, not on the order or the batch.
    kind
        What may vary.
    epoch
        From 0.
    seed
        Of the whole training.
    styling
        Needed for ``styles``.
    """
    if kind == "none":
        return crops
    return np.stack([
        _augmented(crop, int(index), kind, epoch, seed, styling) for crop, index in zip(crops, indices, strict=True)
    ])  # fmt: skip


def _augmented(crop: Image, index: int, kind: Augmentation, epoch: int, seed: int, styling: Styling | None) -> Image:
    order = np.random.default_rng((seed, index, epoch // SYMMETRIES)).permutation(SYMMETRIES)
    turned = symmetry(crop, int(order[epoch % SYMMETRIES]))
    if kind == "symmetries":
        return turned
    rng = np.random.default_rng((seed, index, epoch, SYMMETRIES))  # four numbers: a stream of its own
    turned = np.ascontiguousarray(turned)
    if kind == "appearance":
        return turned if rng.random() < PLAIN else appearance(turned, rng)
    if rng.random() < PLAIN_AMONG_LABORATORIES:
        return turned
    if styling is not None and rng.random() < STYLED:
        turned = styling.lay(turned, index, rng)
    return varied(turned, rng)


def appearance(crop: Image, rng: np.random.Generator) -> Image:
    """Show a crop as another stain, lamp, lens or camera would have.

    Parameters
    ----------
    crop
        (S, S, 3) uint8 RGB.
    rng
        What is drawn is drawn from here.
    """
    picture = crop.astype(np.float32)
    for change in (_moved, _stained, _turned_hue, _lit, _blurred, _noisy):
        if rng.random() < (COLOURED if change in (_stained, _turned_hue) else OFTEN):
            picture = change(picture, rng)
    bytes_ = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return _compressed(bytes_, rng) if rng.random() < OFTEN else bytes_


def _moved(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another pixel size than was stated, and a centre that is off a little."""
    side = picture.shape[0]
    scale = float(np.exp(rng.uniform(-SCALE, SCALE)))
    shift = rng.uniform(-SHIFT_PX, SHIFT_PX, 2) + (1 - scale) * (side - 1) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    glass = (GLASS,) * 3
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), borderValue=glass), np.float32)


def _stained(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Stain more or less: optical density, and that of each colour, scaled."""
    density = np.log(np.maximum(picture, 1.0) / GLASS)
    strength = rng.uniform(-STAIN, STAIN) + rng.uniform(-STAIN, STAIN, 3) / 2
    return np.asarray(GLASS * np.exp(density * np.exp(strength)), np.float32)


def _turned_hue(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another hue and saturation, as between two scanners: a turn about the grey axis."""
    angle = np.deg2rad(rng.uniform(-HUE_DEGREES, HUE_DEGREES))
    stretch = np.exp(rng.uniform(-STAIN, STAIN))
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + stretch * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)
    return np.asarray(picture @ turn.T.astype(np.float32), np.float32)


def _lit(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another lamp: brighter or darker, and tinted."""
    gain = (1 + rng.uniform(-LIGHT, LIGHT)) * (1 + rng.uniform(-TINT, TINT, 3))
    return np.asarray(picture * gain, np.float32)


def _blurred(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Out of focus, or moved while exposed: not equally in both directions."""
    sigma = np.maximum(rng.uniform(0, BLUR_PX) * rng.uniform(0.5, 1, 2), 0.05)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma[0], sigmaY=sigma[1]), np.float32)


def _noisy(picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    sigma = np.float32(rng.uniform(0, NOISE))
    return picture + sigma * rng.standard_normal(picture.shape, np.float32)


def _compressed(crop: Image, rng: np.random.Generator) -> Image:
    quality = int(rng.integers(*JPEG_QUALITY))
    _, content = cv2.imencode(".jpg", crop, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
