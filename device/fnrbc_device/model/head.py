"""The last two layers of P-net, as numbers: what a laboratory's own cells tune, and what is needed to do it.

The model file holds the same numbers. They are found in it byte for byte, so that a tuned head takes their place
without anything that could read or write a graph.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError
from fnrbc_device.records import Image

FEATURES_OUTPUT: Final = "features"
"""What the graph calls the head's input."""

HEAD_ARRAYS: Final = ("head_weight1", "head_bias1", "head_weight2", "head_bias2")
REPLAY_ARRAYS: Final = ("replay_features", "replay_labels", "heldout_features", "heldout_labels", "heldout_names")
"""As a bundle's ``golden.npz`` calls them, in the order of the fields below."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A fully connected layer with a ReLU, a second one, and the temperature."""

    weight1: Matrix
    """(H, F)"""
    bias1: Matrix
    """(H,)"""
    weight2: Matrix
    """(C, H)"""
    bias2: Matrix
    """(C,)"""
    temperature: float

    @property
    def arrays(self) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """All that is tuned, in the order above."""
        return self.weight1, self.bias1, self.weight2, self.bias2

    def probabilities(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, C) calibrated, of (N, F) features."""
        return self.calibrated(self.logits(features))

    def calibrated(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, C) probabilities of (N, C) logits."""
        scaled = logits / self.temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, C) of (N, F) features."""
        hidden = np.maximum(features.astype(np.float64) @ self.weight1.T + self.bias1, 0)
        return np.asarray(hidden @ self.weight2.T + self.bias2)


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """Cells of the training, as features: who tunes a head on other cells shows it these too, lest it forget them."""

    features: NDArray[np.float16]
    """(R, F) of cells that were trained on."""
    labels: NDArray[np.int64]
    """(R,) column of the class."""
    heldout_features: NDArray[np.float16]
    """(P, F) of real cells that nothing was trained on: what a tuned head must not lose."""
    heldout_labels: NDArray[np.int64]
    """(P,)"""
    heldout_names: NDArray[np.str_]
    """(P,) laboratory/class, as the data call it."""


def arrays_of(head: Head, replay: Replay) -> dict[str, NDArray[Any]]:
    """Name all arrays as a bundle keeps them."""
    kept = (
        replay.features, replay.labels, replay.heldout_features, replay.heldout_labels, replay.heldout_names,
    )  # fmt: skip
    return dict(zip((*HEAD_ARRAYS, *REPLAY_ARRAYS), (*head.arrays, *kept), strict=True))


def feature_model(model: bytes) -> bytes:
    """Make a model also give the head's input.

    Adds one output to the graph: messages of this format that follow each other are read as one, so that what is
    appended is added.
    """
    value = _field(1, FEATURES_OUTPUT.encode()) + _field(2, _field(1, _varint_field(1, _FLOAT)))
    return model + _field(_GRAPH, _field(_OUTPUT, value))


def with_head(model: bytes, old: Head, new: Head) -> bytes:
    """Put a tuned head into a model file.

    Raises
    ------
    BundleError
        The old head's numbers do not stand in the file exactly once: it computes in another precision.
    """
    for before, after in zip(old.arrays, new.arrays, strict=True):
        sought = _bytes_of(before)
        if model.count(sought) != 1:
            raise BundleError("the model does not hold the head that its bundle states; calibrate an fp32 bundle")
        model = model.replace(sought, _bytes_of(after))
    return model


def holds(model: bytes, head: Head) -> bool:
    """Say whether a model file holds a head that can be replaced."""
    return all(model.count(_bytes_of(array)) == 1 for array in head.arrays)


def features_of(model: bytes, crops: Image, chunk: int = 64) -> Matrix:
    """Compute the head's input, (N, F) of (N, 120, 120, 3) crops.

    Raises
    ------
    BundleError
        The model has no such tensor, or cannot be opened.
    """
    import onnxruntime  # heavy, and only a calibration comes here

    try:
        session = onnxruntime.InferenceSession(feature_model(model), providers=["CPUExecutionProvider"])
        parts = [
            session.run([FEATURES_OUTPUT], {"crops": np.ascontiguousarray(crops[i : i + chunk])})[0]
            for i in range(0, len(crops), chunk)
        ]
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise BundleError(f"the bundle's model gives no features ({error}); train and export it again") from error
    return np.concatenate(parts).astype(np.float32)


_GRAPH: Final = 7
_OUTPUT: Final = 12
_FLOAT: Final = 1
"""Numbers of ONNX' ModelProto.graph, GraphProto.output and TensorProto.FLOAT."""


def _bytes_of(array: Matrix) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
