import dataclasses
import subprocess
import sys
import time

import numpy as np
import pytest

from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import load_bundle


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None)


@pytest.fixture(scope="module")
def classifier(bundle):
    return OnnxClassifier(bundle)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_any_number_of_crops_gives_as_many_rows_that_sum_to_one(classifier, count):
    crops = np.random.default_rng(count).integers(0, 256, (count, 120, 120, 3), np.uint8)

    found = classifier.probabilities(crops)

    assert found.shape == (count, 3)
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(np.ones(count), abs=1e-5)


def test_a_crop_is_judged_alike_alone_and_in_company(classifier, bundle):
    together = classifier.probabilities(bundle.golden_crops)
    alone = np.concatenate([classifier.probabilities(crop[None]) for crop in bundle.golden_crops])
    assert np.abs(together - alone).max() < 1e-5


def test_crops_need_not_lie_in_one_piece(classifier, bundle):
    mirrored = bundle.golden_crops[:, :, ::-1]
    assert np.array_equal(
        classifier.probabilities(mirrored), classifier.probabilities(np.ascontiguousarray(mirrored))
    )


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((120, 120, 3), np.uint8),
        ((2, 3, 120, 120), np.uint8),
        ((2, 96, 96, 3), np.uint8),
        ((2, 120, 120, 3), float),
    ],
)
def test_another_shape_or_type_is_refused(classifier, shape, dtype):
    with pytest.raises(ValueError, match=r"\(N, 120, 120, 3\) uint8 is needed"):
        classifier.probabilities(np.zeros(shape, dtype))


def test_a_closed_classifier_says_so(bundle):
    classifier = OnnxClassifier(bundle)
    classifier.close()
    classifier.close()
    with pytest.raises(ValueError, match="closed"):
        classifier.probabilities(bundle.golden_crops)


def test_a_model_that_is_none_is_refused(bundle):
    with pytest.raises(BundleError, match="refuses the bundle's model"):
        OnnxClassifier(dataclasses.replace(bundle, model=b"not a model"))


def test_a_model_with_another_number_of_classes_is_refused(bundle):
    fewer = bundle.manifest.model_copy(update={"classes": bundle.manifest.classes[:2]})
    with pytest.raises(BundleError, match=r"\(N, 2\) are needed"):
        OnnxClassifier(dataclasses.replace(bundle, manifest=fewer))


def test_the_golden_crops_are_reproduced_in_under_a_second(bundle):
    began = time.process_time()
    classifier = OnnxClassifier(bundle)
    difference = prove(classifier, bundle)
    assert difference <= bundle.manifest.parity.tolerance
    assert time.process_time() - began < 1.0


class Sabotaged:
    """The real classifier, with a fault put in between."""

    def __init__(self, classifier, crops=lambda c: c, probabilities=lambda p: p):
        self.classes = classifier.classes
        self._classifier, self._crops, self._probabilities = classifier, crops, probabilities

    def probabilities(self, crops):
        return self._probabilities(self._classifier.probabilities(self._crops(crops)))

    def close(self):
        pass


def without_calibration(probabilities):
    flat = probabilities**0.8
    return flat / flat.sum(axis=1, keepdims=True)


FAULTS = {
    "channels swapped": {"crops": lambda c: c[..., ::-1]},
    "a pixel off": {"crops": lambda c: np.roll(c, 1, axis=2)},
    "too dark": {"crops": lambda c: c // 2},
    "classes in another order": {"probabilities": lambda p: p[:, [1, 0, 2]]},
    "calibration left out": {"probabilities": without_calibration},
    "not a number": {"probabilities": lambda p: np.where(p == p.max(), np.nan, p)},
    "a column too few": {"probabilities": lambda p: p[:, :2]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_between_checkpoint_and_device_is_caught(classifier, bundle, fault):
    with pytest.raises(ParityError, match="golden crops"):
        prove(Sabotaged(classifier, **FAULTS[fault]), bundle)


def uncalibrated(bundle):
    def change(probabilities):
        raised = probabilities.astype(float) ** bundle.manifest.temperature
        return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)

    return change


def test_a_likely_fault_is_named(classifier, bundle):
    faults = {
        "its colour channels are swapped": {"crops": lambda c: c[..., ::-1]},
        "its classes are in another order": {"probabilities": lambda p: p[:, [2, 0, 1]]},
        "its calibration is left out": {"probabilities": uncalibrated(bundle)},
        "its normalisation is left out": {"probabilities": lambda p: np.eye(3, dtype=np.float32)[p.argmax(axis=1)]},
        "its weights were changed": {"probabilities": lambda p: p[::-1]},
    }
    for words, fault in faults.items():
        with pytest.raises(ParityError, match=words):
            prove(Sabotaged(classifier, **fault), bundle)


def test_the_device_needs_neither_torch_nor_onnx():
    code = (
        "import sys, fnrbc_device.inference.onnx_classifier, fnrbc_export.verify, fnrbc_export.cli;"
        "sys.exit(bool({'torch', 'onnx'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
