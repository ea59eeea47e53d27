"""Lower precision, written into the graph itself: half floats, or 8-bit whole numbers.

TensorRT 11 has no switches for precision any more: what the graph says is computed. So the same file means
the same in every version of TensorRT, and in onnxruntime, which proves it before it is shipped. The network's
crops stay uint8 and its probabilities float32 in all of them.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT
from fnrbc_device.records import Image

CALIBRATION_CROPS: Final = 200
"""Fewer real crops leave a layer's range to chance."""

INT8_BUDGET: Final = 0.03
"""How far int8 may move a probability of a calibration crop. With every layer in int8 the shipped network was off
by 0.14 and decided otherwise on 2 of 830 held-out crops; with this, by 0.04, and on none."""

SMALLEST_LAYER: Final = 1000
"""Weights. Smaller layers (the first convolution, the input brought back, the last one) hold 0.4 % of the shipped
network's weights and most of what 8 bits cost it."""

_CALIBRATION_BATCH: Final = 32

_SYMMETRIC: Final = {
    # TensorRT takes whole numbers round zero only, and no bias in whole numbers.
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    # What a layer gives is rounded once, where the next one takes it: rounding it twice moved a probability of 1,033
    # crops by 0.17 at most with all large layers in int8, 0.12 without; and of the two that hold 69 % of the weights by
    # 0.044 and 0.035, where it had changed a decision and then changed none.
    "OpTypesToExcludeOutputQuantization": ["Conv", "Gemm"],
}


def to_half(model: bytes) -> bytes:
    """Compute in half floats from the cast of the crops up to the logits; calibration and softmax stay float32.

    Parameters
    ----------
    model
        ONNX in fp32, as ``convert`` gives it.

    Raises
    ------
    BundleError
        The graph does not cast the crops once and divide the logits once.
    """
    proto = onnx.load_from_string(model)
    graph = proto.graph
    cast, division = _only(graph, "Cast"), _only(graph, "Div")
    cast.attribute[0].i = TensorProto.FLOAT16
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT and weight.name not in division.input:
            halved = numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(halved, weight.name))
    logits = helper.make_node("Cast", [division.input[0]], ["logits"], name="node_logits", to=TensorProto.FLOAT)
    graph.node.insert(list(graph.node).index(division), logits)
    division.input[0] = "logits"
    return _checked(proto)


def to_int8(model: bytes, crops: Image) -> bytes:
    """Compute the layers that bear it in 8-bit whole numbers: symmetric, weights per channel.

    Layers are taken in the order of their weights, the largest first; one that would move a probability of a
    calibration crop by more than ``INT8_BUDGET`` in all stays in float32.

    Parameters
    ----------
    model
        ONNX in fp32.
    crops
        (C, 120, 120, 3) uint8 RGB, real; at least ``CALIBRATION_CROPS``.

    Raises
    ------
    UsageError
        Too few crops.
    BundleError
        No layer bears it.
    """
    if len(crops) < CALIBRATION_CROPS:
        raise UsageError(
            f"{len(crops)} real crops are there to calibrate int8 with, {CALIBRATION_CROPS} are needed; "
            "train on more, or export with --precision fp16"
        )
    wanted = _probabilities(model, crops)
    chosen: list[str] = []
    best = model
    for layer in _layers(model):
        candidate = _quantised(model, crops, [*chosen, layer])
        if np.abs(_probabilities(candidate, crops) - wanted).max() <= INT8_BUDGET:
            chosen.append(layer)
            best = candidate
    if not chosen:
        raise BundleError(
            f"no layer computes in int8 without moving a probability by more than {INT8_BUDGET}; "
            "export with --precision fp16"
        )
    return best


def _only(graph: onnx.GraphProto, operator: str) -> onnx.NodeProto:
    found: list[onnx.NodeProto] = [node for node in graph.node if node.op_type == operator]
    if len(found) != 1:
        raise BundleError(f"the graph has {len(found)} {operator} nodes, one is needed for fp16; export it as fp32")
    return found[0]


def _layers(model: bytes) -> list[str]:
    """Names of the layers that are worth it, the largest first."""
    graph = onnx.load_from_string(model).graph
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in graph.initializer}
    layers = {n.name: sizes.get(n.input[1], 0) for n in graph.node if n.op_type in ("Conv", "Gemm")}
    return [name for name in sorted(layers, key=lambda name: -layers[name]) if layers[name] >= SMALLEST_LAYER]


def _quantised(model: bytes, crops: Image, layers: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="fnrbc-int8-") as scratch, _silence():
        out = Path(scratch) / "model.onnx"
        quantize_static(
            onnx.load_from_string(model),
            str(out),
            _Crops(crops),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=list(layers),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options=_SYMMETRIC,
        )
        return _checked(onnx.load(out))


class _Crops(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Hands calibration crops to onnxruntime, a batch at a time."""

    def __init__(self, crops: Image) -> None:
        self._batches: Iterator[Image] = (
            crops[start : start + _CALIBRATION_BATCH] for start in range(0, len(crops), _CALIBRATION_BATCH)
        )

    def get_next(self) -> dict[str, Image] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def _probabilities(model: bytes, crops: Image) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    parts: list[Any] = [session.run([OUTPUT], {INPUT: crops[i : i + 64]})[0] for i in range(0, len(crops), 64)]
    return np.concatenate(parts)


def _checked(proto: onnx.ModelProto) -> bytes:
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString()
    return content


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the quantiser's advice to preprocess from the terminal: the graph is folded already."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
