"""The graphs of a bundle that engines are built of: what each takes, and how its plan is proved here. Torch-free."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fnrbc_device.errors import ParityError
from fnrbc_device.inference.centre_network import OnnxCentreNetwork, prove_seeing
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.onnx_classifier import INPUT
from fnrbc_device.inference.selftest import prove
from fnrbc_device.inference.tensorrt_centres import PICTURE, PICTURES, TensorrtCentreNetwork
from fnrbc_device.inference.tensorrt_classifier import BATCHES, TensorrtClassifier
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.vision.centre_picture import DEEPEST, centre_picture
from fnrbc_device.vision.preprocessing import CROP_PX
from fnrbc_device.vision.stain import IDENTITY

PROOF_BATCHES: Final = (1, 7, 16, 33, 64, 65)
"""The profile's corners, odd sizes, and one more than a chunk holds."""

PROOF_PICTURES: Final = ((DEEPEST, DEEPEST), (208, 336), PICTURES[1], (496, 720))
"""Rows and columns: the smallest, the usual, and others."""

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """Of a graph's one input."""

    tensor: str
    shapes: tuple[Shape, Shape, Shape]
    """Least, usual, most."""
    in_words: str


@dataclass(frozen=True, slots=True)
class Graph:
    """What an engine is built of."""

    model: bytes
    """ONNX."""
    profile: Profile
    prove: Callable[[bytes, Any, Any], float]
    """Takes a plan and the modules ``tensorrt`` and ``pycuda.driver``; gives the largest difference from what was
    trained. Raises ``EngineError`` if the plan does not run here, ``ParityError`` if it computes something else."""


def crops_profile(batches: tuple[int, int, int] = BATCHES) -> Profile:
    """Of P-net's input: fewest, usual and most crops in one call."""
    least, usual, most = ((batch, CROP_PX, CROP_PX, 3) for batch in batches)
    return Profile(INPUT, (least, usual, most), str(batches))


def classifying(bundle: Bundle) -> Graph:
    """The bundle's P-net."""
    return Graph(bundle.model, crops_profile(), lambda plan, trt, cuda: _prove_classifying(plan, bundle, trt, cuda))


def seeing(bundle: Bundle) -> Graph:
    """The bundle's centre network. The bundle has one."""
    assert bundle.seeing is not None
    least, usual, most = ((1, 3, rows, cols) for rows, cols in PICTURES)
    profile = Profile(PICTURE, (least, usual, most), str(PICTURES))
    return Graph(bundle.seeing.model, profile, lambda plan, trt, cuda: _prove_seeing(plan, bundle, trt, cuda))


def _prove_classifying(plan: bytes, bundle: Bundle, trt: Any, cuda: Any) -> float:
    """On the golden crops, in batches of every kind."""
    with closing(TensorrtClassifier(plan, bundle.classes, trt, PycudaMemory(cuda))) as classifier:
        worst = prove(classifier, bundle)
        for batch in PROOF_BATCHES:
            rows = np.arange(batch) % len(bundle.golden_crops)
            found = classifier.probabilities(bundle.golden_crops[rows])
            difference = float(np.abs(found - bundle.golden_probabilities[rows]).max())
            if not difference <= bundle.manifest.parity.tolerance:
                raise ParityError(
                    f"in a batch of {batch} a probability of the golden crops is off by {difference:.2g}, "
                    f"{bundle.manifest.parity.tolerance:.2g} is allowed; the engine was not kept"
                )
            worst = max(worst, difference)
    return worst


def _prove_seeing(plan: bytes, bundle: Bundle, trt: Any, cuda: Any) -> float:
    """On the golden frames, and on pictures of every size made of them, against onnxruntime on the processor."""
    known, entry = bundle.seeing, bundle.manifest.seeing
    assert known is not None
    assert entry is not None
    with (
        closing(TensorrtCentreNetwork(plan, trt, PycudaMemory(cuda))) as network,
        closing(OnnxCentreNetwork(known.model)) as reference,
    ):
        worst = prove_seeing(network, bundle)
        red, green, blue = (float(level) for level in known.golden_glass[0])
        for rows, cols in PROOF_PICTURES:
            frame = known.golden_frames[0]
            times = -(-rows // frame.shape[0]), -(-cols // frame.shape[1]), 1
            picture = centre_picture(np.tile(frame, times)[:rows, :cols], (red, green, blue), IDENTITY)
            difference = float(np.abs(network.maps(picture) - reference.maps(picture)).max())
            if not difference <= entry.tolerance:
                raise ParityError(
                    f"in a picture of {cols} x {rows} a map is off by {difference:.2g}, {entry.tolerance:.2g} is "
                    "allowed; the engine was not kept"
                )
            worst = max(worst, difference)
    return worst
