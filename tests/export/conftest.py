"""An untrained network with the shipped bundle's description: as good as a trained one to prove an export."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from fnrbc_device.bundle import load_bundle
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.pnet import NetName, build


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Checkpoint]:
    """Make a finished checkpoint of a network with random weights."""
    bundle = load_bundle(None)
    settled = json.loads(bundle.manifest.canonical())
    for name in ("format", "bundle_id", "files", "created", "software_version", "parity"):
        del settled[name]

    def make(net: NetName = "pnet", seed: int = 0, temperature: float = 0.7) -> Checkpoint:
        torch.manual_seed(seed)
        network = build(net, 3)
        with torch.no_grad():  # statistics as after a training, so that folding them is put to the proof
            for block in (network.block1, network.block2, network.block3):
                block.normalisation.running_mean.normal_(0, 0.1)
                block.normalisation.running_var.uniform_(0.2, 2.0)
        return Checkpoint(
            net=net,
            state=network.state_dict(),
            about={**settled, "temperature": temperature},
            card="# A card\n",
            proof_crops=bundle.golden_crops,
            seen=np.array([3, 2**63 + 5], np.uint64),
        )

    return make
