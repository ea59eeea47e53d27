"""Which network counts: every way an engine can fail ends in a proved network or in none, and is said."""

import json
import logging
import sys
import time
from contextlib import closing

import numpy as np
import pytest

from fnrbc_device.errors import EngineError
from fnrbc_device.inference import choose as opening
from fnrbc_device.inference.choose import EngineSettings, open_classifier
from fnrbc_device.inference.engines import EngineCache, fit_for
from fnrbc_device.inference.machine import look_at_machine
from fnrbc_device.model.bundle import load_bundle
from fnrbc_export.graphs import classifying
from fnrbc_export.to_engine import make_engine


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None)


@pytest.fixture
def cache(tmp_path, bundle):
    return EngineCache(tmp_path / "engines", bundle.id)


@pytest.fixture
def build(fake_gpu, cache, bundle):
    """Build an engine here, as the builder's process would."""

    def make():
        with cache.alone(1):
            fit = fit_for(bundle, look_at_machine(fake_gpu.trt, fake_gpu.cuda))
            return make_engine(classifying(bundle), cache, fit, fake_gpu.trt, fake_gpu.cuda, lambda *_: None)

    return make


@pytest.fixture
def settings(tmp_path):
    def make(fallback="onnxruntime", build_timeout_s=60.0):
        return EngineSettings(None, tmp_path / "engines", fallback, build_timeout_s)

    return make


def opened_with(bundle, settings, go_on=lambda: True):
    """What was opened, once it has proved that it computes the network."""
    opened = open_classifier(bundle, settings, go_on)
    with closing(opened.classifier):
        assert np.abs(opened.classifier.probabilities(bundle.golden_crops) - bundle.golden_probabilities).max() < 1e-3
    return opened


@pytest.fixture
def no_builder(monkeypatch):
    """The builder's process ends with a sentence at once."""
    fails = "import sys; sys.exit('error: the builder is broken today')"
    real = opening.subprocess.Popen
    monkeypatch.setattr(
        opening.subprocess, "Popen", lambda _command, **rest: real([sys.executable, "-c", fails], **rest)
    )


def test_without_engine_settings_the_processor_counts(bundle):
    opened = opened_with(bundle, None)
    assert (opened.runtime, opened.fault) == ("onnxruntime", "")


def test_the_newest_engine_counts(bundle, build, settings):
    build()
    newest = build()
    opened = opened_with(bundle, settings())
    assert opened.runtime == f"TensorRT 10.3.0, {newest.plan_path.name}"
    assert opened.fault == ""


def test_where_there_is_none_one_is_built_and_the_wait_is_told(fake_gpu, bundle, cache, settings, monkeypatch):
    monkeypatch.setenv("FAKE_TENSORRT_BUILD_S", "1")
    looks = []
    opened = opened_with(bundle, settings(), lambda: looks.append(time.monotonic()) is None)
    assert opened.fault == ""
    assert len(cache.engines()) == 1
    assert len(looks) >= 2


@pytest.mark.parametrize("field", ["onnx_sha256", "precision", "tensorrt", "compute_capability", "device_model",
                                   "l4t_release", "profile", "flags", "bundle_id"])  # fmt: skip
def test_every_field_of_the_sidecar_that_differs_makes_a_new_engine_and_is_named(
    bundle, build, cache, settings, field, caplog, monkeypatch
):
    sidecar_path = build().plan_path.with_suffix(".json")
    sidecar = json.loads(sidecar_path.read_text())
    sidecar[field] = {"profile": [1, 8, 64], "flags": ["REFIT"]}.get(field, "0" * 64)
    sidecar_path.write_text(json.dumps(sidecar))
    monkeypatch.setattr(opening, "build", lambda *_: build())

    with caplog.at_level(logging.WARNING):
        opened = opened_with(bundle, settings())

    assert opened.fault == ""
    assert opened.runtime.endswith("engine-2.plan")
    assert f"{field} was " in caplog.text


def flip(engine):
    content = bytearray(engine.plan_path.read_bytes())
    content[len(content) // 2] ^= 1
    engine.plan_path.write_bytes(content)


def test_a_plan_with_a_flipped_byte_is_never_loaded_and_the_last_good_one_counts(
    fake_gpu, bundle, build, settings, no_builder, caplog, monkeypatch
):
    good, broken = build(), build()
    flip(broken)
    loaded = []
    real = fake_gpu.trt.Runtime.deserialize_cuda_engine
    monkeypatch.setattr(fake_gpu.trt.Runtime, "deserialize_cuda_engine", lambda s, p: loaded.append(p) or real(s, p))

    opened = opened_with(bundle, settings("last_good"))

    assert opened.runtime.endswith(good.plan_path.name)
    assert opened.fault == "the builder is broken today"
    assert broken.plan_path.read_bytes() not in loaded
    assert "has sha256" in caplog.text
    assert "engine_parity_failed: the builder is broken today" in caplog.text


def test_a_plan_with_a_flipped_byte_leaves_the_processor_to_count_where_that_is_configured(
    bundle, build, settings, no_builder
):
    build()
    flip(build())
    opened = opened_with(bundle, settings("onnxruntime"))
    assert (opened.runtime, opened.fault) == ("onnxruntime", "the builder is broken today")


def test_an_engine_that_computes_something_else_does_not_count(
    fake_gpu, bundle, build, cache, settings, caplog, monkeypatch
):
    build()
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "channels")
    opened = opened_with(bundle, settings())
    assert opened.runtime == "onnxruntime"
    assert "a probability of the golden crops is off by" in opened.fault
    assert "engine_parity_failed" in caplog.text
    assert len(cache.engines()) == 1  # the builder did not keep the new one, for it failed its proof


def test_with_no_good_engine_and_no_leave_to_use_the_processor_nothing_counts(fake_gpu, bundle, settings, monkeypatch):
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "no_build")
    with pytest.raises(EngineError, match=r"Could not find any implementation.*nor is there a last good engine"):
        open_classifier(bundle, settings("last_good"), lambda: True)


def test_a_machine_without_tensorrt_says_so_and_the_processor_counts(bundle, settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    opened = opened_with(bundle, settings())
    assert opened.runtime == "onnxruntime"
    assert "TensorRT cannot be used" in opened.fault


def test_a_stop_ends_the_building(fake_gpu, bundle, settings, monkeypatch):
    monkeypatch.setenv("FAKE_TENSORRT_BUILD_S", "60")
    began = time.monotonic()
    with pytest.raises(EngineError, match="building the engine was ended"):
        open_classifier(bundle, settings("last_good"), lambda: False)
    assert time.monotonic() - began < 20
