"""Checkpoints to export: an untrained network, and the shipped one taken back out of its bundle."""

import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch

from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_export import quantise, to_onnx
from fnrbc_export.to_onnx import export_bundle
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.pnet import PNet, build

CERTAIN = 0.95
"""Crops that a rounding cannot turn: what the shipped network is proved with here must pass in every precision."""


def settled_fields():
    """The shipped manifest's fields that a training settles."""
    fields = json.loads(load_bundle(None).manifest.canonical())
    settled_by_export = (
        "format", "bundle_id", "files", "created", "software_version", "parity", "precision", "seeing",
    )  # fmt: skip
    return {name: value for name, value in fields.items() if name not in settled_by_export}


@pytest.fixture(scope="session")
def turned_crops():
    """(256, 120, 120, 3): the shipped golden crops, turned and mirrored."""
    crops = load_bundle(None).golden_crops
    turned = [np.rot90(side, k, axes=(1, 2)) for side in (crops, crops[:, :, ::-1]) for k in range(4)]
    return np.ascontiguousarray(np.concatenate(turned))


@pytest.fixture(scope="session")
def make_checkpoint(turned_crops) -> Callable[..., Checkpoint]:
    """Make a finished checkpoint of a network with random weights."""
    crops = load_bundle(None).golden_crops

    def make(net="pnet", seed: int = 0, temperature: float = 0.7) -> Checkpoint:
        torch.manual_seed(seed)
        network = build(net, 3, normalisation="batch")
        with torch.no_grad():  # statistics as after a training, so that folding them is put to the proof
            for block in network.blocks:
                block.normalisation.running_mean.normal_(0, 0.1)
                block.normalisation.running_var.uniform_(0.2, 2.0)
        return Checkpoint(
            net=net,
            state=network.state_dict(),
            about={**settled_fields(), "temperature": temperature},
            card="# A card\n",
            proof_crops=crops,
            proof_labels=np.arange(len(crops)) % 3,
            proof_heldout=np.ones(len(crops), bool),
            calibration_crops=turned_crops,
            replay_crops=turned_crops[:6],
            replay_labels=np.arange(6) % 3,
            proof_names=np.array([f"painted/{i % 3}" for i in range(len(crops))]),
            seen=np.array([3, 2**63 + 5], np.uint64),
        )

    return make


@pytest.fixture(scope="session")
def trained_checkpoint(turned_crops) -> Checkpoint:
    """The shipped network as a checkpoint again, proved on crops that it is certain of."""
    bundle = load_bundle(None)
    probabilities = OnnxClassifier(bundle).probabilities(turned_crops)
    certain = np.flatnonzero(probabilities.max(axis=1) > CERTAIN)[::3]
    return Checkpoint(
        net="pnet",
        state=weights_of(bundle.model),
        about=settled_fields(),
        card="# A card\n",
        proof_crops=turned_crops[certain],
        proof_labels=probabilities[certain].argmax(axis=1),
        proof_heldout=np.arange(len(certain)) % 8 > 0,
        calibration_crops=turned_crops,
        replay_crops=turned_crops[:6],
        replay_labels=np.arange(6) % 3,
        proof_names=np.array([f"turned/{i}" for i in probabilities[certain].argmax(axis=1)]),
        seen=bundle.seen,
    )


@pytest.fixture(scope="session")
def exported(trained_checkpoint, tmp_path_factory):
    """The shipped network in each precision: folder, bundle and proof."""
    folder = tmp_path_factory.mktemp("bundles")
    model = to_onnx.convert(trained_checkpoint.network())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(to_onnx, "convert", lambda network: model)  # once is enough for all three
        # The crops here are mostly those that a network is least sure of; whatever ships next, some layer bears this.
        patched.setattr(quantise, "INT8_BUDGET", 0.06)
        return _in_each_precision(trained_checkpoint, folder)


def _in_each_precision(trained_checkpoint, folder):
    found = {}
    for precision in ("fp32", "fp16", "int8"):
        proofs = []
        bundle = export_bundle(trained_checkpoint, folder / precision, precision, proofs.append)
        found[precision] = (folder / precision, bundle, proofs[0])
    return found


def weights_of(model: bytes) -> dict[str, torch.Tensor]:
    """A P-net's weights out of its ONNX file."""
    found = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load_from_string(model).graph.initializer}
    return {name: torch.from_numpy(found[f"network.{name}"].copy()) for name in PNet(3).state_dict()}
