"""Painted cells for the training's tests: easy to tell apart, and easy to find."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_training.dataset import CLASSES, CropSet, Source, part_of

PIXEL_SIZE_UM = 0.1
SIDE = 300

DESCRIPTION = """
pixel_size_um = 0.1
stain = "painted"
source = "painted by the tests"

[classes]
red = "fnrbc"
white = "leukocyte"
crumb = "other"
"""

LOOKS: dict[str, tuple[float, tuple[int, int, int]]] = {
    "red": (3.0, (60, 20, 110)),
    "white": (5.5, (90, 40, 140)),
    "crumb": (1.6, (110, 60, 150)),
}
"""Radius of the nucleus, um, and its colour."""


def paint(look: str, seed: int) -> NDArray[np.uint8]:
    """One cell in the middle of a picture, never the same twice."""
    rng = np.random.default_rng((seed, sorted(LOOKS).index(look)))
    radius_um, colour = LOOKS[look]
    picture = np.full((SIDE, SIDE, 3), (250, 235, 220), np.uint8)
    radius = int(radius_um * rng.uniform(0.9, 1.1) / PIXEL_SIZE_UM)
    centre = (SIDE // 2 + int(rng.integers(-5, 6)), SIDE // 2 + int(rng.integers(-5, 6)))
    cv2.circle(picture, centre, int(1.5 * radius), (225, 180, 190), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, radius, colour, -1, cv2.LINE_AA)
    noisy = picture + rng.normal(0, 3, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a dataset with so many pictures of each class."""

    def make(name: str = "painted", each: int = 3, first: int = 0) -> Path:
        folder = tmp_path / name
        for look in LOOKS:
            for number in range(first, first + each):
                write(folder / look / f"{look}_{number}.png", paint(look, number))
        (folder / "dataset.toml").write_text(DESCRIPTION)
        return folder

    return make


@pytest.fixture(scope="session")
def painted() -> CropSet:
    """A set of 120 crops, ready to be learned, without the way through files."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(3), 40)
    blocks = np.tile(np.arange(40) // 2, 3)
    crops = np.full((120, 120, 120, 3), 240, np.uint8)
    for crop, label in zip(crops, labels, strict=True):
        radius, colour = (15, 27, 8)[label], ((60, 20, 110), (90, 40, 140), (110, 60, 150))[label]
        cv2.circle(crop, (60, 60), radius + int(rng.integers(-2, 3)), colour, -1, cv2.LINE_AA)
    crops = np.clip(crops + rng.normal(0, 3, crops.shape), 0, 255).astype(np.uint8)
    names = [CLASSES[label] for label in labels]
    return CropSet(
        crops=crops,
        labels=labels.astype(np.int64),
        originals=np.array(names),
        names=np.array([f"painted/{name}/{i}" for i, name in enumerate(names)]),
        groups=np.array([f"painted/{name}/{b:02d}" for name, b in zip(names, blocks, strict=True)]),
        parts=np.array([part_of(int(b), simulated=False) for b in blocks]),
        digests=np.arange(120, dtype=np.uint64),
        rings=rng.random((120, 6)).astype(np.float32),
        simulated=np.zeros(120, bool),
        looks=rng.integers(0, 256, (120, 2, 16, 16, 3), np.uint8),
        sources=(Source("painted", "the tests", "paint", 0.2, False, 120, 0, {}),),
    )
