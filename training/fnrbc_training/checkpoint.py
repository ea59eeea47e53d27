"""A training on disk: half-way, so that a killed run goes on, or finished, so that it can be exported.

Written complete or not at all; read without running code out of the file.
"""

import json
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_device.records import Image
from fnrbc_training.pnet import Calibrated, NetName, build, is_pooled, normalisation_of, widths_of

FORMAT: Final = 3
"""3: crops to replay when a site calibrates, and the names of the proof's crops."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A finished training: the network, and all that its bundle will say of it."""

    net: NetName
    state: dict[str, Tensor]
    """Weights of the uncalibrated network."""
    about: dict[str, Any]
    """The manifest's fields that the training settles."""
    card: str
    """The model card, Markdown."""
    proof_crops: Image
    """(P, 120, 120, 3) uint8 RGB, none of them trained on: what an export is proved with."""
    proof_labels: NDArray[np.int64]
    """(P,) column of the class that an expert, or the simulation, says."""
    proof_heldout: NDArray[np.bool_]
    """(P,) real and held out: on these, decisions and figures are compared."""
    calibration_crops: Image
    """(C, 120, 120, 3) uint8 RGB, real and not held out: they set the ranges of an int8 model."""
    replay_crops: Image
    """(R, 120, 120, 3) uint8 RGB, trained on: a site's calibration replays them."""
    replay_labels: NDArray[np.int64]
    """(R,) column of their class."""
    proof_names: NDArray[np.str_]
    """(P,) laboratory/class of each of the proof's crops."""
    seen: NDArray[np.uint64]
    """(S,) sorted digests of the pictures trained or tuned on."""

    def network(self) -> Calibrated:
        """Build the network as it is exported: ready to be used, not to be trained."""
        network = build(
            self.net,
            len(self.about["classes"]),
            widths_of(self.state),
            normalisation_of(self.state),
            is_pooled(self.state),
        )
        network.load_state_dict(self.state)
        return Calibrated(network, float(self.about["temperature"])).eval()


def save(checkpoint: Checkpoint, out: Path) -> None:
    """Write a finished training."""
    content = {
        "format": FORMAT,
        "net": checkpoint.net,
        "state": checkpoint.state,
        "about": json.dumps(checkpoint.about),
        "card": checkpoint.card,
        "proof_crops": _tensor(checkpoint.proof_crops),
        "proof_labels": _tensor(checkpoint.proof_labels),
        "proof_heldout": _tensor(checkpoint.proof_heldout),
        "calibration_crops": _tensor(checkpoint.calibration_crops),
        "replay_crops": _tensor(checkpoint.replay_crops),
        "replay_labels": _tensor(checkpoint.replay_labels),
        "proof_names": "\n".join(checkpoint.proof_names),
        "seen": _tensor(checkpoint.seen.view(np.int64)),  # torch reads no uint64 back
    }
    write(content, out)


def _tensor(array: NDArray[Any]) -> Tensor:
    """A copy: what was read from a bundle may not be written to, which torch does not know of."""
    return torch.from_numpy(np.array(array))


def load(path: Path) -> Checkpoint:
    """Read a finished training.

    Raises
    ------
    UsageError
        It is missing, or no finished training.
    """
    content = read(path)
    if content is None or content.get("format") != FORMAT or "about" not in content:
        raise UsageError(f"{path} is no finished training of format {FORMAT}; run fnrbc-train fit to its end")
    return Checkpoint(
        net=cast(NetName, content["net"]),
        state=content["state"],
        about=json.loads(content["about"]),
        card=content["card"],
        proof_crops=content["proof_crops"].numpy(),
        proof_labels=content["proof_labels"].numpy(),
        proof_heldout=content["proof_heldout"].numpy(),
        calibration_crops=content["calibration_crops"].numpy(),
        replay_crops=content["replay_crops"].numpy(),
        replay_labels=content["replay_labels"].numpy(),
        proof_names=np.array(content["proof_names"].split("\n")),
        seen=content["seen"].numpy().view(np.uint64),
    )


def write(content: dict[str, Any], out: Path) -> None:
    """Put a file in its place in one step: a full disk or a lost power leaves the last one intact.

    Raises
    ------
    FnrbcError
        It cannot be written.
    """
    partial = out.with_name(out.name + ".partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        with suppress(OSError):  # what could not be made is not there to be taken away
            partial.unlink()
        raise FnrbcError(
            f"{out} cannot be written ({error}); free some space and run fit again, it goes on where it was"
        ) from error


def read(path: Path) -> dict[str, Any] | None:
    """Read what ``write`` wrote; None if it is not there or is something else."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        return None
    return content if isinstance(content, dict) else None
