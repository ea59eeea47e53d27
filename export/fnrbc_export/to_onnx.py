"""From a checkpoint to a bundle: the same network, proved on crops it never saw, or nothing at all."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from fnrbc_device import __version__
from fnrbc_device.bundle import Bundle, load_bundle
from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PX
from fnrbc_export.seal import golden_bytes, npy_bytes, seal, write_bundle
from fnrbc_export.verify import verify
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.pnet import Calibrated

OPSET: Final = 17
"""The newest that needs no trace of the source's paths in its nodes, and that TensorRT 10.3 reads."""

IR_VERSION: Final = 8
"""What opset 17 came with: older readers refuse a newer one without need."""

TOLERANCE: Final = 1e-3
"""What a device is allowed on a probability. onnxruntime in fp32 needs 1e-5 on x86-64; the rest is for other
processors' order of sums, far below what any fault of the conversion makes."""

PROOF_TOLERANCE: Final = 1e-4
"""What the export itself is allowed, on the machine that trained."""

PROOF_BATCHES: Final = (1, 2, 3, 7, 16, 33, 64)
"""One crop, the runtimes' optimum and maximum, and odd ones between."""

GOLDEN: Final = 32
"""Crops that travel: the half of them least certain, since a certain one hardly shows a fault."""


def export_bundle(checkpoint: Checkpoint, out: Path) -> Bundle:
    """Export a checkpoint and prove what came out before it is in place.

    Parameters
    ----------
    checkpoint
        A finished training.
    out
        The bundle's folder, or zip if the name ends so.

    Raises
    ------
    BundleError
        The conversion gave another opset, other names or other shapes than a device takes.
    ParityError
        The model does not reproduce the checkpoint.
    """
    network = checkpoint.network()
    model = convert(network)
    wanted = _reference(network, checkpoint.proof_crops)
    difference = prove_model(model, checkpoint.proof_crops, wanted)
    golden = golden_rows(wanted)
    fields = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software_version": __version__,
        "parity": {"largest_difference": difference, "tolerance": TOLERANCE, "crops": len(wanted)},
        **checkpoint.about,
    }
    contents = {
        "model.onnx": model,
        "golden.npz": golden_bytes(checkpoint.proof_crops[golden], wanted[golden]),
        "seen.npy": npy_bytes(checkpoint.seen),
        "MODEL_CARD.md": checkpoint.card.encode(),
    }
    write_bundle(out, seal(fields, contents), prove=verify)
    return load_bundle(out)


def convert(network: Calibrated) -> bytes:
    """Convert a network to ONNX and strip it of where it was made.

    Parameters
    ----------
    network
        Takes (N, 120, 120, 3) uint8, gives (N, classes) probabilities.

    Raises
    ------
    BundleError
        The converter fell back to another opset, which it does silently.
    """
    example = torch.zeros(2, CROP_PX, CROP_PX, 3, dtype=torch.uint8)
    with _silence():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"crops": {0: torch.export.Dim("N", min=1)}},
            verbose=False,
        )
    assert program is not None  # it is None only without dynamo
    model = program.model_proto
    _require_opset(model)
    model.ir_version = IR_VERSION
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def prove_model(model: bytes, crops: Image, wanted: NDArray[np.float32]) -> float:
    """Hold a converted model against its checkpoint, at every batch size that matters.

    Parameters
    ----------
    model
        ONNX.
    crops
        (P, 120, 120, 3) uint8 RGB, none of them trained on.
    wanted
        (P, classes) the checkpoint's probabilities.

    Returns
    -------
    float
        Largest difference of a probability.

    Raises
    ------
    ParityError
        It is above ``PROOF_TOLERANCE``, or a value is no number.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    differences = [_difference(session, crops, wanted, batch) for batch in PROOF_BATCHES]
    worst = float(max(differences))
    if not worst <= PROOF_TOLERANCE:  # not >, which a value that is no number would pass
        raise ParityError(
            f"the model is off by {worst:.2g} at a batch of {PROOF_BATCHES[int(np.argmax(differences))]}, "
            f"{PROOF_TOLERANCE:.2g} is allowed; no bundle was written: the conversion is at fault"
        )
    return worst


def golden_rows(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose the crops that travel with the model: half the least certain, half evenly from the rest."""
    certainty = probabilities.max(axis=1)
    order = np.argsort(certainty, kind="stable")
    uncertain, rest = order[: GOLDEN // 2], np.sort(order[GOLDEN // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, min(GOLDEN // 2, len(rest))).astype(int)]
    return np.concatenate([uncertain, evenly])


def _difference(session: onnxruntime.InferenceSession, crops: Image, wanted: NDArray[np.float32], batch: int) -> float:
    """Largest difference over all crops, in batches of one size; infinite where a value is no number."""
    worst = 0.0
    for start in range(0, len(crops), batch):
        (found,) = session.run([OUTPUT], {INPUT: crops[start : start + batch]})
        if not np.isfinite(found).all() or np.abs(found.sum(axis=1) - 1).max() > PROOF_TOLERANCE:
            return float("inf")
        worst = max(worst, float(np.abs(found - wanted[start : start + batch]).max()))
    return worst


def _reference(network: Calibrated, crops: Image) -> NDArray[np.float32]:
    with torch.no_grad():
        parts = [network(torch.from_numpy(crops[i : i + 64])) for i in range(0, len(crops), 64)]
    return torch.cat(parts).numpy()


def _require_opset(model: onnx.ModelProto) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": OPSET}:
        raise BundleError(
            f"the converter gave opset {found}, {OPSET} is needed; keep to operators that it converts, "
            "such as no mean over an axis"
        )


def _strip(model: onnx.ModelProto) -> None:
    """Take out all that tells of the machine that made it: traces with paths, and names of its files."""
    graph = model.graph
    model.ClearField("doc_string")
    del model.metadata_props[:]
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        del part.metadata_props[:]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the converter's talk about versions and missing extras from the terminal."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
