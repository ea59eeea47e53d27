"""Styles: how a laboratory's nuclei and cytoplasm are coloured, as numbers that are laid on cells of another.

A style is the mean and the covariance of optical density, in red, green and blue, of a cell's nucleus and of its
cytoplasm. It needs no labels and shows no picture: eighteen numbers a cell. Laid on a crop it changes colours and
contrast, and leaves the shape, the texture and the empty glass as they are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import GLASS

STAINED: Final = 0.08
"""Optical density, the mean of three colours, from which a pixel is no empty glass: twice a camera's noise."""

FEWEST_PX: Final = 60
"""Of nucleus and of cytoplasm, 2.4 um^2 each: with fewer a covariance says nothing."""

SMALLEST_VARIANCE: Final = 4e-4
"""Added to the covariances: a flat painted part must not be stretched without limit."""

STRONGEST: Final = 2.5
"""Largest stretch of a covariance's axis: beyond, noise would be shown as texture."""

SHIPPED: Final = Path(__file__).with_name("styles.json")

Densities = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """One cell's colours, or one laboratory's."""

    means: NDArray[np.float64]
    """(2, 3) optical density of nucleus and of cytoplasm, in R, G, B."""
    covariances: NDArray[np.float64]
    """(2, 3, 3)"""


@dataclass(frozen=True, slots=True, eq=False)
class Laboratory:
    """The styles of one laboratory's cells."""

    name: str
    source: str
    """Who made the pictures, and under which licence."""
    cells: tuple[Style, ...]

    @property
    def whole(self) -> Style:
        """The mean over its cells: means and, within cells, covariances."""
        return Style(
            np.mean([cell.means for cell in self.cells], axis=0),
            np.mean([cell.covariances for cell in self.cells], axis=0),
        )


def densities(crop: Image) -> Densities:
    """(S, S, 3) optical density against glass, 0 and up, of (S, S, 3) uint8 RGB."""
    return np.asarray(cv2.LUT(crop, DENSITY))


def shown(density: Densities) -> Image:
    """(S, S, 3) uint8 RGB of optical densities: the way back."""
    # Unlike numpy's, OpenCV's rounds and bounds in one step.
    return np.asarray(cv2.convertScaleAbs(cv2.exp(-density), alpha=GLASS), np.uint8)


def nucleus_and_cytoplasm(density: Densities) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Tell a cell's two parts by how dark they are.

    Returns
    -------
    tuple
        (S, S) each, 0..1: how much a pixel is stained at all, and how much of it is nucleus. The limit between the
        two is Otsu's among the stained pixels, and soft over a quarter of itself.
    """
    grey = cv2.transform(density, np.full((1, 3), 1 / 3, np.float32))
    stained = np.clip(grey / STAINED - 0.5, 0, 1)
    inside = grey[grey > STAINED]
    if inside.size < FEWEST_PX:
        return stained, np.zeros_like(grey)
    scale = 255 / float(inside.max())
    cut, _ = cv2.threshold((inside * scale).astype(np.uint8).reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)
    limit = max(float(cut) / scale, STAINED)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return stained, np.clip((smooth - limit) / (0.25 * limit) + 0.5, 0, 1).astype(np.float32)


def style_of(crop: Image) -> Style | None:
    """Measure a crop's style; None where it shows no nucleus or no cytoplasm."""
    density = densities(crop)
    stained, nucleus = nucleus_and_cytoplasm(density)
    parts = (nucleus > 0.75) & (stained >= 1), (nucleus < 0.25) & (stained >= 1)
    if min(int(part.sum()) for part in parts) < FEWEST_PX:
        return None
    pixels = [density[part].astype(np.float64) for part in parts]
    means = [of.mean(axis=0) for of in pixels]
    spread = [of - mean for of, mean in zip(pixels, means, strict=True)]
    covariances = [of.T @ of / (len(of) - 1) + SMALLEST_VARIANCE * np.eye(3) for of in spread]
    return Style(np.stack(means), np.stack(covariances))


def lay_on(crop: Image, own: Style, wanted: Style, share: float) -> Image:
    """Show a crop in another style.

    Nucleus and cytoplasm are each moved by the linear map that takes one normal distribution to another with the
    least change (Monge and Kantorovich's) [1]_; between the two parts the maps are blended, and glass stays.

    Parameters
    ----------
    crop
        (S, S, 3) uint8 RGB.
    own, wanted
        The style that it has, its own or its laboratory's, and the one that it is to have.
    share
        How far the way is gone, 0..1.

    References
    ----------
    .. [1] F. Pitie, A. Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour
       transfer", IET CVMP 2007, doi:10.1049/cp:20070055.
    """
    density = densities(crop)
    stained, nucleus = nucleus_and_cytoplasm(density)
    # Moved by affine maps with the identity taken off: what they add is weighted by how much of each part a pixel is.
    added = [cv2.transform(density, _affine(own, wanted, part)) for part in range(2)]
    styled = cv2.merge([nucleus * share * stained] * 3) * (added[0] - added[1])
    styled += cv2.merge([share * stained] * 3) * added[1]
    return shown(np.maximum(density + styled, 0))


def _affine(own: Style, wanted: Style, part: int) -> NDArray[np.float32]:
    """(3, 4) what a part's map adds to optical density."""
    matrix = transport(own.covariances[part], wanted.covariances[part])
    offset = wanted.means[part] - matrix @ own.means[part]
    return np.column_stack([matrix - np.eye(3), offset]).astype(np.float32)


def transport(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float32]:
    """(3, 3) the symmetric map that takes one covariance to another, its stretches bounded by ``STRONGEST``."""
    root = _power(source, 0.5)
    inverse = _power(source, -0.5)
    found = inverse @ _power(root @ target @ root, 0.5) @ inverse
    values, vectors = np.linalg.eigh((found + found.T) / 2)
    bounded = np.clip(values, 1 / STRONGEST, STRONGEST)
    return np.asarray((vectors * bounded) @ vectors.T, np.float32)


def measure_styles(name: str, source: str, crops: Sequence[Image], most: int) -> Laboratory:
    """Measure a laboratory's styles from crops, evenly chosen where there are more than ``most``.

    Raises
    ------
    UsageError
        No crop shows a nucleus with cytoplasm.
    """
    found = [style for style in map(style_of, crops) if style is not None]
    if not found:
        raise UsageError(f"none of {len(crops)} cells of {name} shows a nucleus with cytoplasm; give other pictures")
    rows = np.unique(np.linspace(0, len(found) - 1, most).astype(int))
    return Laboratory(name, source, tuple(found[row] for row in rows))


class _Cells(BaseModel):
    """One laboratory as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    cells: list[list[float]] = Field(min_length=1)
    """Eighteen numbers each: of nucleus, then of cytoplasm, 3 means and 6 of the covariance's upper triangle."""


_UPPER: Final = np.triu_indices(3)
_NUMBERS: Final = 18


def save(laboratories: Sequence[Laboratory], path: Path) -> None:
    """Write styles as JSON, numbers only.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    # A line a cell: it can be read, and a change of one shows as one.
    labs = [
        f'{{"name": {json.dumps(lab.name)}, "source": {json.dumps(lab.source)}, "cells": [\n'
        + ",\n".join(json.dumps(_numbers(style)) for style in lab.cells)
        + "\n]}"
        for lab in laboratories
    ]
    try:
        path.write_text("[" + ",\n".join(labs) + "]\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); choose another place") from None


def load(path: Path = SHIPPED) -> tuple[Laboratory, ...]:
    """Read styles.

    Raises
    ------
    UsageError
        The file is missing or holds something else.
    """
    try:
        raw: Any = json.loads(path.read_bytes())
        read = [_Cells.model_validate(lab) for lab in raw]
        return tuple(Laboratory(lab.name, lab.source, tuple(map(_style, lab.cells))) for lab in read)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); make it with fnrbc-train styles") from None
    except (ValueError, TypeError, ValidationError):
        raise UsageError(f"{path} holds no styles; make it with fnrbc-train styles") from None


def _numbers(style: Style) -> list[float]:
    return [
        round(float(v), 5)
        for mean, covariance in zip(style.means, style.covariances, strict=True)
        for v in (*mean, *covariance[_UPPER])
    ]


def _style(numbers: list[float]) -> Style:
    parts = np.array(numbers, np.float64).reshape(2, _NUMBERS // 2)
    covariances = np.zeros((2, 3, 3))
    for covariance, part in zip(covariances, parts, strict=True):
        covariance[_UPPER] = part[3:]
        covariance += np.triu(covariance, 1).T
    return Style(parts[:, :3], covariances)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-8) ** exponent) @ vectors.T)


DENSITY: Final = np.maximum(np.log(GLASS / np.maximum(np.arange(256), 1.0)), 0).astype(np.float32)
"""Optical density of each grey value."""
