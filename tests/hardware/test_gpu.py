"""On a machine with an NVIDIA GPU: pycuda's memory for real, and an engine built, proved and used."""

from contextlib import closing

import numpy as np
import pytest

from fnrbc_device.errors import EngineError
from fnrbc_device.inference.centre_network import open_centres, prove_seeing
from fnrbc_device.inference.choose import EngineSettings, open_classifier
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.engines import EngineCache
from fnrbc_device.model.bundle import load_bundle


@pytest.fixture
def cuda():
    driver = pytest.importorskip("pycuda.driver", reason="pycuda and an NVIDIA GPU are needed", exc_type=ImportError)
    try:
        driver.init()
        driver.Device(0)
    except driver.Error as error:
        pytest.skip(f"an NVIDIA GPU is needed ({error})")
    return driver


def test_what_is_copied_to_the_gpu_comes_back(cuda):
    memory = PycudaMemory(cuda)
    sent = np.random.default_rng(0).integers(0, 256, (64, 120, 120, 3), np.uint8)
    received = np.zeros_like(sent)
    address = memory.allocate(sent.nbytes)
    memory.copy_in(address, sent)
    memory.copy_out(received, address)
    memory.wait(5.0)
    memory.close()
    memory.close()
    assert np.array_equal(sent, received)


def test_more_than_the_gpu_has_is_refused_in_our_words(cuda):
    memory = PycudaMemory(cuda)
    with pytest.raises(EngineError, match="bytes of GPU memory are not to be had"):
        memory.allocate(2**50)
    memory.close()


def test_the_shipped_bundle_counts_on_the_gpu(cuda, tmp_path):
    pytest.importorskip("tensorrt", reason="TensorRT 10.3 or newer is needed")
    bundle = load_bundle(None)
    opened = open_classifier(bundle, EngineSettings(None, tmp_path, "last_good", 1800.0), lambda: True)
    found = opened.classifier.probabilities(bundle.golden_crops)
    opened.classifier.close()
    assert opened.fault == ""
    assert np.abs(found - bundle.golden_probabilities).max() <= bundle.manifest.parity.tolerance
    assert len(EngineCache(tmp_path, bundle.id).engines()) == 1


def test_the_shipped_network_that_sees_runs_on_the_gpu(cuda, tmp_path):
    pytest.importorskip("tensorrt", reason="TensorRT 10.3 or newer is needed")
    bundle = load_bundle(None)
    assert bundle.manifest.seeing is not None
    opened = open_centres(bundle, "both", 1, EngineSettings(None, tmp_path, "last_good", 1800.0))
    with closing(opened):
        assert opened.engine_fault == ""
        assert opened.runtime.startswith("TensorRT")
        assert prove_seeing(opened.model.network, bundle) <= bundle.manifest.seeing.tolerance
    assert len(EngineCache(tmp_path, bundle.id, "see").engines()) == 1
