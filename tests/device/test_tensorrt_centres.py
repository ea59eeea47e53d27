"""The network that sees on a GPU: against names that keep TensorRT's and CUDA's rules and compute with onnxruntime."""

from contextlib import closing

import numpy as np
import pytest

from fnrbc_device.errors import EngineError
from fnrbc_device.inference import centre_network
from fnrbc_device.inference.centre_network import OnnxCentreNetwork, open_centres, prove_seeing
from fnrbc_device.inference.choose import EngineSettings
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.engines import EngineCache, fit_for_seeing
from fnrbc_device.inference.machine import look_at_machine
from fnrbc_device.inference.tensorrt_centres import PICTURES, TensorrtCentreNetwork
from fnrbc_device.inference.tensorrt_classifier import TensorrtClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_export.graphs import seeing
from fnrbc_export.to_engine import build_plan, make_engine


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None)


@pytest.fixture
def plan(fake_gpu, bundle):
    graph = seeing(bundle)
    return build_plan(fake_gpu.trt, graph.model, lambda *_: None, graph.profile)


@pytest.fixture
def settings(tmp_path):
    return EngineSettings(None, tmp_path / "engines", "onnxruntime", 60.0)


@pytest.fixture
def build(fake_gpu, settings, bundle):
    """Build an engine here, as the builder's process would."""
    cache = EngineCache(settings.cache, bundle.id, "see")

    def make(*_):
        with cache.alone(1):
            fit = fit_for_seeing(bundle, look_at_machine(fake_gpu.trt, fake_gpu.cuda))
            return make_engine(seeing(bundle), cache, fit, fake_gpu.trt, fake_gpu.cuda, lambda *_: None)

    return make


def picture(rows, cols):
    return np.random.default_rng(rows).normal(0.5, 0.5, (1, 3, rows, cols)).astype(np.float32)


def test_pictures_of_any_size_give_what_onnxruntime_gives(fake_gpu, plan, bundle):
    with (
        closing(TensorrtCentreNetwork(plan, fake_gpu.trt, PycudaMemory(fake_gpu.cuda))) as network,
        closing(OnnxCentreNetwork(bundle.seeing.model)) as processor,
    ):
        assert prove_seeing(network, bundle) < 1e-3
        for rows, cols in ((16, 16), (352, 464), (112, 208)):
            one = picture(rows, cols)
            assert np.abs(network.maps(one) - processor.maps(one)).max() < 1e-4
        mirrored = one[..., ::-1]
        assert np.array_equal(network.maps(mirrored), network.maps(mirrored.copy()))
        with pytest.raises(EngineError, match="the engine takes no picture of 2064 x 16"):
            network.maps(picture(16, 2064))
    with pytest.raises(ValueError, match="the network is closed"):
        network.maps(picture(16, 16))


def test_a_plan_of_the_other_graph_is_refused(fake_gpu, plan, bundle):
    with pytest.raises(EngineError, match="is needed; build it again"):
        TensorrtClassifier(plan, bundle.classes, fake_gpu.trt, PycudaMemory(fake_gpu.cuda))


def test_the_newest_engine_sees_and_what_is_too_large_for_it_is_looked_at_on_the_processor(bundle, build, settings):
    build()
    newest = build()
    with closing(open_centres(bundle, "both", 1, settings)) as opened:
        assert (opened.runtime, opened.engine_fault) == (f"TensorRT 10.3.0, {newest.plan_path.name}", "")
        wide = PICTURES[-1][1] + 16
        assert opened.model.network.maps(picture(16, wide)).shape == (5, 4, wide // 4)


def test_where_there_is_no_engine_one_is_built(bundle, build, settings, monkeypatch):
    monkeypatch.setattr(centre_network, "build", build)
    with closing(open_centres(bundle, "network", 1, settings)) as opened:
        assert opened.runtime == "TensorRT 10.3.0, engine-1.plan"


@pytest.mark.parametrize("damage", ["flipped", "computes something else"])
def test_an_engine_that_is_not_the_one_that_was_built_leaves_the_processor_to_see(
    fake_gpu, bundle, build, settings, monkeypatch, damage
):
    engine = build()
    if damage == "flipped":
        content = bytearray(engine.plan_path.read_bytes())
        content[-1] ^= 1
        engine.plan_path.write_bytes(content)
    else:
        monkeypatch.setenv("FAKE_TENSORRT_FAULT", "see:channels")
    monkeypatch.setattr(centre_network, "build", lambda *_: None)
    with closing(open_centres(bundle, "both", 1, settings)) as opened:
        assert opened.runtime == "onnxruntime"
        assert ("has sha256" if damage == "flipped" else "a map of the golden frames is off by") in opened.engine_fault
        assert opened.fault == ""
        assert prove_seeing(opened.model.network, bundle) < 1e-3
