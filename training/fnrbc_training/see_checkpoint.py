"""A finished training of the centre network on disk, with the frames that an export is proved with."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_device.vision.centre_picture import CENTRE_RECIPE
from fnrbc_training import checkpoint
from fnrbc_training.see_network import CentreNet
from fnrbc_training.see_page import Shown

FORMAT: Final = 2
"""2: it doubts platelets."""

FRAME: Final = 96
"""Side of a proof's frames, px of the network's picture: 34 um."""

PROOFS: Final = 40
"""Frames that an export is proved with, evenly from what was held out."""


@dataclass(frozen=True, slots=True, eq=False)
class SeeCheckpoint:
    """A finished training."""

    state: dict[str, Tensor]
    about: dict[str, Any]
    """The manifest's fields of ``seeing`` that the training settles, and ``card``, its part of the model card."""
    frames: Image
    """(P, 96, 96, 3) uint8 RGB, held out."""
    glass: NDArray[np.float64]
    """(P, 3) colour of empty glass in each."""

    def network(self) -> CentreNet:
        """Build the network, ready to be used."""
        network = CentreNet()
        network.load_state_dict(self.state)
        return network.eval()


def finished(
    network: CentreNet, shown: Sequence[Shown], held_out: Sequence[Shown], about: dict[str, Any]
) -> SeeCheckpoint:
    """Put a training's result together.

    Parameters
    ----------
    network
        As trained.
    shown, held_out
        Pictures that it learned from, and those that it did not.
    about
        ``network``, ``least_heat``, ``agreed_heat``, ``sources`` and ``card``.
    """
    if not held_out:
        raise UsageError("no picture is held out to prove an export with; give a folder with three pictures at least")
    rows = np.unique(np.linspace(0, len(held_out) - 1, min(PROOFS, len(held_out))).astype(int))
    frames = np.stack([_framed(held_out[int(row)]) for row in rows])
    glass = np.array([held_out[int(row)].glass_rgb for row in rows], np.float64)
    known = {"recipe": CENTRE_RECIPE, "sha256": sha256_of(shown), "pictures": len(shown)}
    return SeeCheckpoint(network.state_dict(), {**about, **known}, frames, glass)


def sha256_of(shown: Sequence[Shown]) -> str:
    """Name what a network learns from: the pictures, in order, and all that is known of them."""
    digest = hashlib.sha256()
    for one in shown:
        digest.update(f"{one.kind}\0{one.source}\0{one.image.shape}\0{one.glass_rgb}\0".encode())
        for array in (one.image, one.cells, one.mask, one.stain_map.matrix):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save(content: SeeCheckpoint, out: Path) -> None:
    """Write it, complete or not at all."""
    checkpoint.write(
        {
            "see": FORMAT,
            "state": content.state,
            "about": json.dumps(content.about),
            "frames": torch.from_numpy(content.frames),
            "glass": torch.from_numpy(content.glass),
        },
        out,
    )


def load(path: Path) -> SeeCheckpoint:
    """Read it.

    Raises
    ------
    UsageError
        It is missing, or no finished training of this kind.
    """
    content = checkpoint.read(path)
    if content is None or "see" not in content:
        raise UsageError(f"{path} is no finished training of the centre network; run fnrbc-train see to its end")
    if content["see"] != FORMAT:
        raise UsageError(
            f"{path} was trained by another version (format {content['see']}, {FORMAT} is needed); train it anew with "
            "fnrbc-train see, or go on with the bundle that was made of it"
        )
    about = json.loads(content["about"])
    return SeeCheckpoint(content["state"], about, content["frames"].numpy(), content["glass"].numpy())


def _framed(shown: Shown) -> Image:
    """The middle of a picture, glass beyond it."""
    height, width = shown.image.shape[:2]
    top, left = (FRAME - height) / 2, (FRAME - width) / 2
    move = np.array([[1.0, 0, round(left)], [0, 1, round(top)]])
    framed = cv2.warpAffine(
        shown.image, move, (FRAME, FRAME), flags=cv2.INTER_NEAREST, borderValue=shown.glass_rgb
    )
    return np.asarray(framed, np.uint8)
