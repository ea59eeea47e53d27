"""The builder's real code through the real ONNX parser and builder of TensorRT-RTX, which needs no GPU to build."""

from types import SimpleNamespace

import onnx
import pytest

from fnrbc_device.errors import EngineError
from fnrbc_export.graphs import crops_profile, seeing
from fnrbc_export.to_engine import build_plan

rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed (x86-64 only)")


class ForAnAmpere:
    """A builder for a GPU that is not here. TensorRT itself builds for the one that is."""

    def __init__(self, logger):
        self._builder = rtx.Builder(logger)

    def __getattr__(self, name):
        return getattr(self._builder, name)

    def create_builder_config(self):
        config = self._builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(rtx.ComputeCapability.SM86, 0)
        return config


@pytest.fixture(scope="module")
def trt():
    """The module, as a Jetson's would be: all names are RTX's own."""
    names = {name: getattr(rtx, name) for name in dir(rtx) if not name.startswith("__")}
    return SimpleNamespace(**{**names, "Builder": ForAnAmpere})


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_builds_and_says_how_far_it_is(trt, exported, precision):
    steps = []
    plan = build_plan(trt, exported[precision][1].model, lambda *step: steps.append(step), crops_profile())
    assert len(plan) > 100_000
    assert len(steps) > 10
    assert all(0 < done <= total for _, done, total in steps)


def test_both_shipped_models_build(trt):
    from fnrbc_device.model.bundle import load_bundle

    bundle = load_bundle(None)
    assert build_plan(trt, bundle.model, lambda *_: None, crops_profile())
    sees = seeing(bundle)
    assert build_plan(trt, sees.model, lambda *_: None, sees.profile)


def refusal(trt, model, batches=(1, 16, 64)):
    with pytest.raises(EngineError) as caught:
        build_plan(trt, model, lambda *_: None, crops_profile(batches))
    return str(caught.value)


@pytest.fixture(scope="module")
def model(exported):
    return exported["fp32"][1].model


def test_a_file_cut_short_gives_the_parsers_words(trt, model):
    said = refusal(trt, model[: len(model) // 2])
    assert "Failed to parse the ONNX model" in said
    assert "export the bundle again" in said


def test_what_is_no_onnx_is_refused_though_the_parser_takes_it(trt):
    assert "it finds no network in it" in refusal(trt, b"hello")


def changed(model, operator, **fields):
    found = onnx.load_from_string(model)
    node = next(node for node in found.graph.node if node.op_type == operator)
    for name, value in fields.items():
        setattr(node, name, value)
    return found.SerializeToString()


def test_an_unsupported_operator_is_named_with_its_node(trt, model):
    assert "Det: UNSUPPORTED_NODE" in refusal(trt, changed(model, "Softmax", op_type="Det"))


def test_crops_that_are_not_cast_first_are_refused(trt, model):
    """Why the network casts before it transposes: TensorRT moves no bytes."""
    found = onnx.load_from_string(model)
    cast, transpose = found.graph.node[0], found.graph.node[1]
    assert (cast.op_type, transpose.op_type) == ("Cast", "Transpose")
    cast.input[0], transpose.input[0] = transpose.input[0], cast.input[0]
    transpose.output[0], cast.output[0] = cast.output[0], transpose.output[0]
    cast.input[0] = transpose.output[0]
    nodes = list(found.graph.node)
    del found.graph.node[:]
    found.graph.node.extend([nodes[1], nodes[0], *nodes[2:]])
    assert "UInt8" in refusal(trt, found.SerializeToString())


@pytest.mark.parametrize("batches", [(64, 16, 1), (1, 65, 64)])
def test_a_wrong_profile_gives_the_builders_words(trt, model, batches):
    said = refusal(trt, model, batches)
    assert f"TensorRT refuses the profile {batches}" in said
    assert "MIN<=OPT<=MAX" in said
