"""The TensorRT classifier, against names that keep TensorRT's and CUDA's rules and compute with onnxruntime."""

import json
import threading

import numpy as np
import pytest

from fnrbc_device.errors import EngineError
from fnrbc_device.inference import tensorrt_graph
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.inference.tensorrt_classifier import TensorrtClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_export.graphs import crops_profile
from fnrbc_export.to_engine import build_plan

CLASSES = ("fnrbc", "leukocyte", "other")


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None)


@pytest.fixture
def plan(fake_gpu, bundle):
    return build_plan(fake_gpu.trt, bundle.model, lambda *_: None, crops_profile())


@pytest.fixture
def open_engine(fake_gpu):
    """Open engines, and close what the test leaves open."""
    opened = []

    def make(plan, classes=CLASSES):
        opened.append(TensorrtClassifier(plan, classes, fake_gpu.trt, PycudaMemory(fake_gpu.cuda)))
        return opened[-1]

    yield make
    for classifier in opened:
        classifier.close()


@pytest.mark.parametrize("count", [0, 1, 16, 63, 64, 65, 130])
def test_any_number_of_crops_gives_what_onnxruntime_gives(open_engine, plan, bundle, count):
    crops = np.random.default_rng(count).integers(0, 256, (count, 120, 120, 3), np.uint8)
    found = open_engine(plan).probabilities(crops)
    assert np.abs(found - OnnxClassifier(bundle).probabilities(crops)).max(initial=0) < 1e-6


def test_the_golden_crops_are_reproduced_time_after_time(open_engine, plan, bundle):
    classifier = open_engine(plan)
    assert {prove(classifier, bundle) < 1e-5 for _ in range(3)} == {True}


def test_crops_need_not_lie_in_one_piece(open_engine, plan, bundle):
    classifier = open_engine(plan)
    mirrored = bundle.golden_crops[:, :, ::-1]
    assert np.array_equal(classifier.probabilities(mirrored), classifier.probabilities(mirrored.copy()))


def test_closing_frees_all_memory_and_the_context_and_may_be_done_twice(fake_gpu, open_engine, plan):
    classifier = open_engine(plan)
    assert fake_gpu.cuda._leaked() != []
    classifier.close()
    classifier.close()
    assert fake_gpu.cuda._leaked() == []
    with pytest.raises(ValueError, match="closed"):
        classifier.probabilities(np.zeros((1, 120, 120, 3), np.uint8))


def test_another_thread_is_refused_before_cuda_says_something_worse(open_engine, plan, bundle):
    classifier = open_engine(plan)
    said = []

    def use():
        try:
            classifier.probabilities(bundle.golden_crops)
        except ValueError as error:
            said.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    assert said == ["the classifier is used in another thread than its own, where CUDA has no context"]


@pytest.mark.parametrize("damage", [lambda p: b"", lambda p: b"no plan", lambda p: p[:-1] + bytes([p[-1] ^ 1])])
def test_none_from_deserialize_is_an_error_with_tensorrts_words_and_a_cure(fake_gpu, open_engine, plan, damage):
    with pytest.raises(EngineError, match=r"Magic tag does not match.*build it again with fnrbc-export engine"):
        open_engine(damage(plan))
    assert fake_gpu.cuda._leaked() == []  # what failed half-way holds nothing


def test_an_engine_with_other_classes_is_refused(fake_gpu, open_engine, plan):
    with pytest.raises(EngineError, match="is needed; build it again"):
        open_engine(plan, classes=("fnrbc", "other"))
    assert fake_gpu.cuda._leaked() == []


def test_an_engine_of_another_profile_says_how_many_crops_it_does_not_take(open_engine, plan, bundle):
    magic, head, model = plan.split(b"\n", 2)
    fields = json.loads(head)
    fields["profile"][2][0] = 16
    narrow = b"\n".join([magic, json.dumps(fields).encode(), model])
    with pytest.raises(EngineError, match="the engine takes no 32 crops"):
        open_engine(narrow).probabilities(bundle.golden_crops)


def test_a_gpu_that_hangs_is_an_error_and_no_wait_for_ever(open_engine, plan, bundle, monkeypatch):
    classifier = open_engine(plan)
    monkeypatch.setattr(tensorrt_graph, "TIMEOUT_S", 0.05)
    monkeypatch.setenv("FAKE_CUDA_FAULT", "hangs")
    with pytest.raises(EngineError, match=r"more than 0\.05 s for a batch"):
        classifier.probabilities(bundle.golden_crops)


def test_no_memory_and_no_gpu_are_said_in_our_words(fake_gpu, open_engine, plan, monkeypatch):
    monkeypatch.setattr(fake_gpu.cuda, "TOTAL_BYTES", 1000)
    with pytest.raises(EngineError, match=r"bytes of GPU memory are not to be had \(cuMemAlloc failed: out of memory"):
        open_engine(plan)
    monkeypatch.setenv("FAKE_CUDA_FAULT", "no_device")
    with pytest.raises(EngineError, match=r"no CUDA-capable device is detected.*set inference\.runtime to onnxruntime"):
        PycudaMemory(fake_gpu.cuda)


def test_the_fake_catches_memory_used_after_it_was_freed(fake_gpu):
    memory = PycudaMemory(fake_gpu.cuda)
    address = memory.allocate(8)
    memory.close()
    fake_gpu.cuda.Device(0).retain_primary_context().push()
    stream = fake_gpu.cuda.Stream()
    with pytest.raises(fake_gpu.cuda.LogicError, match="nothing is allocated"):
        fake_gpu.cuda.memcpy_htod_async(address, np.zeros(8, np.uint8), stream)
    fake_gpu.cuda.Context.pop()
