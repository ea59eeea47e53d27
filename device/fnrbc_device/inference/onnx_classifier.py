"""P-net through onnxruntime, on the processor: the reference that every other runtime is held against."""

from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError
from fnrbc_device.inference.classifier import require_crops
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PX

CHUNK: Final = 64
"""Crops in one call. More gains nothing on a CPU, and memory stays bounded whatever comes."""

INPUT: Final = "crops"
OUTPUT: Final = "probabilities"

_ERRORS_ONLY: Final = 3


class OnnxClassifier:
    """Implements ``Classifier``. Use it in the thread that made it.

    Parameters
    ----------
    bundle
        Proved whole by ``load_bundle``.
    threads
        Threads within one call, >= 1. One leaves the other cores to the camera and to the pictures.

    Raises
    ------
    BundleError
        onnxruntime does not take the model, or the model is no P-net.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.classes = bundle.classes
        self._session: onnxruntime.InferenceSession | None = open_session(bundle.model, len(self.classes), threads)

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        """Classify crops.

        Parameters
        ----------
        crops
            (N, 120, 120, 3) uint8 RGB, N >= 0.

        Returns
        -------
        NDArray[np.float32]
            (N, classes), each row sums to 1.

        Raises
        ------
        ValueError
            The array is of another shape or type, or the classifier is closed.
        """
        require_crops(crops)
        if self._session is None:
            raise ValueError("the classifier is closed; make a new one")
        result = np.empty((len(crops), len(self.classes)), np.float32)
        for start in range(0, len(crops), CHUNK):
            chunk = np.ascontiguousarray(crops[start : start + CHUNK])
            (result[start : start + CHUNK],) = self._session.run([OUTPUT], {INPUT: chunk})
        return result

    def close(self) -> None:
        """Give back what the network holds. Safe to call twice."""
        self._session = None


def open_session(model: bytes, classes: int, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a model in onnxruntime, and refuse it unless it is a P-net.

    Parameters
    ----------
    model
        ONNX.
    classes
        Columns that the probabilities must have.
    threads
        Within one call, >= 1.

    Raises
    ------
    BundleError
        onnxruntime does not take it, or its names, types or shapes are others.
    """
    session = new_session(model, threads)
    _require_interface(session, classes)
    return session


def new_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Open any model in onnxruntime, on the processor.

    Raises
    ------
    BundleError
        onnxruntime does not take it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Waiting threads that spin would take the cores that segmentation needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no narrower base
        raise BundleError(f"onnxruntime refuses the bundle's model ({error}); export it again") from error


def _require_interface(session: onnxruntime.InferenceSession, classes: int) -> None:
    taken = [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()]
    given = [(o.name, o.type, o.shape[1:]) for o in session.get_outputs()]
    fixed = [one.shape[0] for one in (*session.get_inputs(), *session.get_outputs()) if isinstance(one.shape[0], int)]
    if fixed:
        raise BundleError(f"the model takes batches of {fixed[0]} only, any number is needed; export it again")
    if taken != [(INPUT, "tensor(uint8)", [CROP_PX, CROP_PX, 3])]:
        raise BundleError(
            f"the model takes {taken}; uint8 {INPUT} (N, {CROP_PX}, {CROP_PX}, 3) are needed, export it again"
        )
    if given != [(OUTPUT, "tensor(float)", [classes])]:
        raise BundleError(f"the model gives {given}; float {OUTPUT} (N, {classes}) are needed, export it again")
