"""From a checkpoint to a bundle: the same network, proved on crops it never saw, or nothing at all."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from fnrbc_device import __version__
from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT
from fnrbc_device.inference.second_look import SYMMETRIES, turned
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.model.head import FEATURES_OUTPUT, Head, Replay, arrays_of, features_of, holds
from fnrbc_device.model.manifest import Precision
from fnrbc_device.model.seal import golden_bytes, npy_bytes, seal, write_bundle
from fnrbc_device.records import Image
from fnrbc_device.vision.appearance import FEATURES, QUANTILES, appearance
from fnrbc_device.vision.preprocessing import CROP_PX
from fnrbc_export.proof import DEVICE_TOLERANCES, Proof, ProofSet, prove_model
from fnrbc_export.quantise import to_half, to_int8
from fnrbc_export.verify import verify
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.pnet import Calibrated, head_weights

OPSET: Final = 17
"""The newest that needs no trace of the source's paths in its nodes, and that TensorRT 10.3 reads."""

IR_VERSION: Final = 8
"""What opset 17 came with: older readers refuse a newer one without need."""

GOLDEN: Final = 32
"""Crops that travel: the half of them least certain, since a certain one hardly shows a fault."""


def export_bundle(
    checkpoint: Checkpoint,
    out: Path,
    precision: Precision = "fp32",
    show: Callable[[Proof], None] = lambda _: None,
    seeing: tuple[dict[str, Any], dict[str, bytes]] | None = None,
) -> Bundle:
    """Export a checkpoint and prove what came out before it is in place.

    Parameters
    ----------
    checkpoint
        A finished training.
    out
        The bundle's folder, or zip if the name ends so.
    precision
        What the network is to compute in.
    show
        Called with the proof, passed or failed.
    seeing
        The centre network's entry and files, proved already; None for a bundle without it.

    Raises
    ------
    BundleError
        The conversion gave another opset, other names or other shapes than a device takes.
    ParityError
        The model does not reproduce the checkpoint. The report lies beside ``out``, and no bundle.
    UsageError
        The checkpoint has too few crops to calibrate int8 with.
    """
    network = checkpoint.network()
    against = proof_set(network, checkpoint)
    model = lowered(convert(network), precision, checkpoint)
    proof = prove_model(model, precision, against)
    show(proof)
    if not proof.passed:
        raise ParityError(_refused(proof, out))
    golden = golden_rows(against.wanted)
    fields = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software_version": __version__,
        "precision": precision,
        "parity": {
            "largest_difference": proof.largest_difference,
            "tolerance": DEVICE_TOLERANCES[precision],
            "crops": proof.crops,
        },
        **checkpoint.about,
    }
    contents = {
        "model.onnx": model,
        "golden.npz": golden_bytes(
            against.crops[golden], against.wanted[golden], looks_of(checkpoint), tunable_of(checkpoint, model)
        ),
        "seen.npy": npy_bytes(checkpoint.seen),
        "proof.json": proof.as_json(),
        "MODEL_CARD.md": _card(checkpoint.card, proof).encode(),
    }
    if seeing is not None:
        fields, contents = {**fields, "seeing": seeing[0]}, {**contents, **seeing[1]}
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
    model = exported(network, example, INPUT, OUTPUT, {"crops": {0: torch.export.Dim("N", min=1)}})
    _name_features(model)
    return stripped(model)


def exported(
    network: torch.nn.Module, example: torch.Tensor, taken: str, given: str, dynamic: dict[str, Any]
) -> onnx.ModelProto:
    """Convert a network of one input and one output.

    Parameters
    ----------
    example
        An input.
    taken, given
        Names of input and output in the graph.
    dynamic
        Which sides of the input may vary, by the name of the network's argument.

    Raises
    ------
    BundleError
        The converter fell back to another opset, which it does silently.
    """
    with _silence():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[taken],
            output_names=[given],
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None  # it is None only without dynamo
    _require_opset(program.model_proto)
    return program.model_proto


def stripped(model: onnx.ModelProto) -> bytes:
    """A checked model without what tells of the machine that made it."""
    model.ir_version = IR_VERSION
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def proof_set(network: Calibrated, checkpoint: Checkpoint) -> ProofSet:
    """Gather what a model is proved with, and the checkpoint's own probabilities of it."""
    about = checkpoint.about
    return ProofSet(
        crops=checkpoint.proof_crops,
        wanted=_reference(network, checkpoint.proof_crops),
        labels=checkpoint.proof_labels,
        heldout=checkpoint.proof_heldout,
        target=[entry["role"] for entry in about["classes"]].index("target"),
        indeterminate=tuple(about["indeterminate"]),
        temperature=float(about["temperature"]),
    )


def looks_of(checkpoint: Checkpoint) -> NDArray[np.float64]:
    """(classes, 5, 6) how the held-out crops of each class look: what a device's own crops are held against."""
    looks = appearance(checkpoint.proof_crops[checkpoint.proof_heldout])
    labels = checkpoint.proof_labels[checkpoint.proof_heldout]
    found = np.full((len(checkpoint.about["classes"]), len(QUANTILES), len(FEATURES)), np.nan)
    for column in np.unique(labels):
        found[column] = np.quantile(looks[labels == column], QUANTILES, axis=0)
    return found


def tunable_of(checkpoint: Checkpoint, model: bytes) -> dict[str, NDArray[Any]] | None:
    """The head, and cells as it sees them, for a site's calibration; None where the model does not hold the head as is.

    That is so in fp16 and int8, whose weights were rounded: a site calibrates the fp32 bundle.
    """
    first, bias, second, bias2 = (array.numpy() for array in head_weights(checkpoint.state))
    head = Head(first, bias, second, bias2, float(checkpoint.about["temperature"]))
    if not holds(model, head) or not len(checkpoint.replay_labels):
        return None
    kept = checkpoint.proof_heldout
    replay = Replay(
        features_of(model, checkpoint.replay_crops).astype(np.float16),
        checkpoint.replay_labels.astype(np.int64),
        _mean_features(model, checkpoint.proof_crops[kept]).astype(np.float16),
        checkpoint.proof_labels[kept].astype(np.int64),
        checkpoint.proof_names[kept],
    )
    return arrays_of(head, replay)


def _mean_features(model: bytes, crops: Image) -> NDArray[np.float32]:
    """Of a crop's eight symmetries, which is how cells that matter are looked at."""
    total = sum(features_of(model, turned(crops, which)) for which in range(SYMMETRIES))
    return np.asarray(total / SYMMETRIES, np.float32)


def lowered(model: bytes, precision: Precision, checkpoint: Checkpoint) -> bytes:
    """Bring an fp32 model to a precision; see ``quantise``."""
    if precision == "fp16":
        return to_half(model)
    if precision == "int8":
        return to_int8(model, checkpoint.calibration_crops)
    return model


def golden_rows(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose the crops that travel with the model: half the least certain, half evenly from the rest."""
    certainty = probabilities.max(axis=1)
    order = np.argsort(certainty, kind="stable")
    uncertain, rest = order[: GOLDEN // 2], np.sort(order[GOLDEN // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, min(GOLDEN // 2, len(rest))).astype(int)]
    return np.concatenate([uncertain, evenly])


def _refused(proof: Proof, out: Path) -> str:
    """Write the report beside where the bundle would be, and say what it says."""
    report = out.with_name(out.name + ".proof.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    report.write_bytes(proof.as_json())
    return (
        f"the model is not what was trained: {'; '.join(proof.failures)}; no bundle was written, the report is "
        f"{report}: mend the conversion, or choose a higher --precision"
    )


def _card(card: str, proof: Proof) -> str:
    """The training's card, with what the export measured."""
    words = (
        f"The shipped model against its checkpoint, in onnxruntime, on {proof.crops} crops that it never saw, "
        f"{proof.heldout} of them real and held out, in batches of {', '.join(map(str, proof.batches))}."
    )
    return f"{card}\n## What the export proved\n\n{words}\n\n{proof.as_table()}\n"


def _reference(network: Calibrated, crops: Image) -> NDArray[np.float32]:
    with torch.no_grad():
        parts = [network(torch.from_numpy(np.array(crops[i : i + 64]))) for i in range(0, len(crops), 64)]
    return torch.cat(parts).numpy()


def _require_opset(model: onnx.ModelProto) -> None:
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": OPSET}:
        raise BundleError(
            f"the converter gave opset {found}, {OPSET} is needed; keep to operators that it converts, "
            "such as no mean over an axis"
        )


def _name_features(model: onnx.ModelProto) -> None:
    """Call the head's input by a name that a calibration can ask for: it feeds the first fully connected layer."""
    first = next(node for node in model.graph.node if node.op_type in ("Gemm", "MatMul"))
    old = first.input[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = FEATURES_OUTPUT


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
