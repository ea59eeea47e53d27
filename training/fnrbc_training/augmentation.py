"""How a crop may vary and still show the same cell: the paper's eight symmetries, and, by name, appearance.

Applied to the training part only, after the split. All that is drawn depends on the seed, the crop and the
epoch alone, so that one seed gives one result.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_training.styling import STYLED, Styling
from fnrbc_training.variation import WITHIN, varied

Augmentation = Literal["none", "symmetries", "appearance", "wide", "styles"]
"""On top of the symmetries: ``appearance`` varies within one laboratory, ``wide`` beyond it, and ``styles`` lays the
styles of other laboratories on before."""

SYMMETRIES: Final = 8
"""Of the square: rotations by 0, 90, 180 and 270 degrees, each as it is and mirrored."""

PLAIN: Final = 0.4
"""Share of crops shown as they are for ``appearance``. With none, of 821 real cells held back from the training part
9 were wrong after 40 epochs, against 4 with symmetries alone."""


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
        return turned if rng.random() < PLAIN else varied(turned, rng, WITHIN)
    if rng.random() < PLAIN_AMONG_LABORATORIES:
        return turned
    if styling is not None and rng.random() < STYLED:
        turned = styling.lay(turned, index, rng)
    return varied(turned, rng)
