"""Sets of painted cells, as folders and ready to be learned."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_training.dataset import CLASSES, CropSet, Source, part_of
from painted import DESCRIPTION, LOOKS, paint, write


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
