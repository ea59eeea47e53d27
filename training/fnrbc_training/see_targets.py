"""What the centre network's maps should say of a tile, and how wrong they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fnrbc_device.vision.centre_picture import STRIDE
from fnrbc_training.see_tiles import TILE, Tile, known

SIDE: Final = TILE // STRIDE

SPREAD: Final = 0.35
"""Standard deviation of the heat round a centre, in radii of the nucleus: what lies near is less wrong."""

LEAST_SPREAD: Final = 0.7
"""The same at least, pixels of the map."""

SHARPNESS: Final = 2.0
NEARNESS: Final = 4.0
"""Exponents of the focal loss for centres [1]_."""

PLACE_WEIGHT: Final = 0.5
SIZE_WEIGHT: Final = 0.5
MASK_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Of a batch; maps are (N, SIDE, SIDE)."""

    heat: Tensor
    """1 at a centre, falling round it."""
    weight: Tensor
    """0 where nobody says whether a cell is there."""
    centre: Tensor
    """1 at the pixel of a centre."""
    down: Tensor
    right: Tensor
    """How far the centre lies from the pixel's middle, map pixels."""
    size: Tensor
    """Logarithm of the radius, px."""
    mask: Tensor
    """Share of the pixel that is nucleus."""
    mask_known: Tensor
    """Share of the pixel of which that is known."""


def targets_of(tiles: Sequence[Tile]) -> Targets:
    """Lay out what the maps should say."""
    planes = [_planes(tile) for tile in tiles]
    return Targets(*(torch.from_numpy(np.stack(column)) for column in zip(*planes, strict=True)))


def loss_of(maps: Tensor, wanted: Targets) -> Tensor:
    """Focal loss of the heat, absolute errors of place and size at centres, cross-entropy of the mask.

    References
    ----------
    .. [1] H. Law, J. Deng, "CornerNet: detecting objects as paired keypoints", ECCV 2018, equation 1.
    """
    heat, down, right, size, mask = maps.unbind(1)
    at = wanted.centre
    count = at.sum().clamp(min=1.0)
    place = at * ((down - wanted.down).abs() + (right - wanted.right).abs())
    sizes = at * (size - wanted.size).abs()
    masks = functional.binary_cross_entropy_with_logits(mask, wanted.mask, wanted.mask_known, reduction="sum")
    return (
        _focal(heat, wanted) / count
        + PLACE_WEIGHT * place.sum() / count
        + SIZE_WEIGHT * sizes.sum() / count
        + MASK_WEIGHT * masks / wanted.mask_known.sum().clamp(min=1.0)
    )


def _focal(logit: Tensor, wanted: Targets) -> Tensor:
    sure, unsure = functional.logsigmoid(logit), functional.logsigmoid(-logit)
    heat = torch.sigmoid(logit)
    at_centre = wanted.centre * (1 - heat) ** SHARPNESS * sure
    elsewhere = (1 - wanted.centre) * wanted.weight * (1 - wanted.heat) ** NEARNESS * heat**SHARPNESS * unsure
    return -(at_centre + elsewhere).sum()


def _planes(tile: Tile) -> tuple[NDArray[np.float32], ...]:
    shape = (SIDE, SIDE)
    heat, centre, down, right, size = (np.zeros(shape, np.float32) for _ in range(5))
    rows, cols = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    near_known = np.zeros(shape, np.float32)
    for row, col, radius in tile.cells.tolist():
        at_row, at_col = (row + 0.5) / STRIDE - 0.5, (col + 0.5) / STRIDE - 0.5
        spread = max(LEAST_SPREAD, SPREAD * radius / STRIDE)
        near = np.exp(-((rows - at_row) ** 2 + (cols - at_col) ** 2) / (2 * spread**2))
        heat, near_known = np.maximum(heat, near), np.maximum(near_known, near > 0.1)
        pixel = (min(max(round(at_row), 0), SIDE - 1), min(max(round(at_col), 0), SIDE - 1))
        centre[pixel], size[pixel] = 1.0, np.log(max(radius, 1.0))
        down[pixel], right[pixel] = at_row - pixel[0], at_col - pixel[1]
    heat[centre > 0] = 1.0
    told = _shrunk(known(tile.mask))
    nucleus = _shrunk(tile.mask == 1) / np.maximum(told, 1e-6)
    # Round a labelled centre the heat is known even where the outline is not.
    weight = np.maximum((told > 0.5).astype(np.float32), near_known)
    return heat, weight, centre, down, right, size, np.minimum(nucleus, 1.0).astype(np.float32), told


def _shrunk(plane: NDArray[np.bool_]) -> NDArray[np.float32]:
    blocks = plane.reshape(SIDE, STRIDE, SIDE, STRIDE)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
