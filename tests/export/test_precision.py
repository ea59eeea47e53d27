"""One network in three precisions: what each graph says, and what the proof says of it."""

import copy
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fnrbc_device.errors import BundleError, ParityError, UsageError
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_export import to_onnx
from fnrbc_export.proof import ProofSet, Rates, prove_model
from fnrbc_export.quantise import to_half, to_int8
from fnrbc_export.to_onnx import convert, export_bundle
from fnrbc_export.verify import verify

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def model(trained_checkpoint):
    return convert(trained_checkpoint.network())


@pytest.fixture(scope="module")
def int8(exported):
    return exported["int8"][1].model


def nodes(model, *operators):
    return [node for node in onnx.load_from_string(model).graph.node if node.op_type in operators]


def types_of_weights(model):
    return {weight.data_type for weight in onnx.load_from_string(model).graph.initializer if len(weight.dims) > 1}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_proved_and_says_what_it_is(exported, precision):
    path, bundle, proof = exported[precision]

    assert bundle.manifest.precision == proof.precision == precision
    assert verify(path)[1] <= bundle.manifest.parity.tolerance
    report = json.loads((path / "proof.json").read_text())
    assert report["passed"]
    assert report["failures"] == []
    assert report["largest_difference"] == proof.largest_difference == bundle.manifest.parity.largest_difference
    assert proof.as_table() in bundle.model_card


def test_lower_precision_is_smaller_and_further_off(exported):
    proofs = [exported[precision][2] for precision in PRECISIONS]
    # In int8 only the layers that bear it are: the file may be larger than with half floats throughout.
    assert max(p.model_bytes for p in proofs[1:]) < 0.6 * proofs[0].model_bytes
    assert [p.largest_difference for p in proofs] == sorted(p.largest_difference for p in proofs)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_crops_are_bytes_and_probabilities_floats_in_every_precision(exported, precision):
    bundle = exported[precision][1]
    found = OnnxClassifier(bundle).probabilities(bundle.golden_crops[:5])
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-6)


def test_half_floats_hold_all_weights_and_the_calibration_stays_whole(model):
    halved = to_half(model)
    assert types_of_weights(halved) == {onnx.TensorProto.FLOAT16}
    (division,) = nodes(halved, "Div")
    assert division.input[0] == "logits"
    assert [node.attribute[0].i for node in nodes(halved, "Cast")] == [
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.FLOAT,
    ]


def test_whole_numbers_are_symmetric_signed_and_without_a_whole_numbered_bias(int8):
    proto = onnx.load_from_string(int8)
    weights = {w.name: w for w in proto.graph.initializer}
    for node in nodes(int8, "QuantizeLinear", "DequantizeLinear"):
        zero = onnx.numpy_helper.to_array(weights[node.input[2]])
        assert zero.dtype == np.int8
        assert not zero.any()
    assert onnx.TensorProto.INT32 not in {w.data_type for w in proto.graph.initializer}


def test_the_layers_with_most_weights_are_in_whole_numbers(int8):
    weights = {w.name: w for w in onnx.load_from_string(int8).graph.initializer}
    whole = sum(int(np.prod(w.dims)) for w in weights.values() if w.data_type == onnx.TensorProto.INT8)
    assert whole > 0.5 * sum(int(np.prod(w.dims)) for w in weights.values())


def test_nothing_in_a_lowered_model_tells_where_it_was_made(model, int8):
    for lowered in (to_half(model), int8):
        found = onnx.load_from_string(lowered)
        for weight in found.graph.initializer:
            weight.ClearField("raw_data")
        assert not [t for t in (b".py", b"/tmp", b"/home", b"fnrbc-int8") if t in found.SerializeToString()]


def test_too_few_crops_to_calibrate_with_are_refused(model, trained_checkpoint):
    with pytest.raises(UsageError, match="199 real crops are there to calibrate int8 with, 200 are needed"):
        to_int8(model, trained_checkpoint.calibration_crops[:199])


def test_a_graph_of_another_build_is_not_halved(int8):
    without = onnx.load_from_string(int8)
    for node in [n for n in without.graph.node if n.op_type == "Div"]:
        node.op_type = "Mul"
    with pytest.raises(BundleError, match="0 Div nodes, one is needed for fp16"):
        to_half(without.SerializeToString())


def proof_set(crops, wanted, labels, heldout=None):
    heldout = np.ones(len(crops), bool) if heldout is None else heldout
    return ProofSet(crops, wanted, np.asarray(labels), heldout, 0, (0.4, 0.6), 1.0)


def test_the_proof_counts_changed_decisions_and_lost_sensitivity_on_held_out_crops_only(model, trained_checkpoint):
    crops = trained_checkpoint.proof_crops[:40]
    found = prove_model(model, "int8", proof_set(crops, probabilities(model, crops), np.zeros(40, int)))
    truth = np.tile(np.array([[0.97, 0.02, 0.01]], np.float32), (40, 1))  # a checkpoint that found every cell
    heldout = np.arange(40) < 30

    proof = prove_model(model, "int8", proof_set(crops, truth, np.zeros(40, int), heldout))

    missed = int((probabilities(model, crops)[:30, 0] < 0.6).sum())
    assert found.changed_decisions == 0
    assert proof.changed_decisions == missed > 0
    assert proof.checkpoint == Rates(1.0, 1.0)
    assert proof.model.sensitivity == pytest.approx(1 - missed / 30)
    assert any("sensitivity is" in failure for failure in proof.failures)
    assert any(f"{missed} of 30 held-out crops are decided otherwise" in failure for failure in proof.failures)


def probabilities(model, crops):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"crops": crops})[0]


def test_without_a_held_out_crop_nothing_is_proved(model, trained_checkpoint):
    crops = trained_checkpoint.proof_crops[:4]
    nobody = proof_set(crops, probabilities(model, crops), np.zeros(4, int), np.zeros(4, bool))
    with pytest.raises(BundleError, match="none of the proof's 4 crops is held out"):
        prove_model(model, "fp32", nobody)


def test_a_model_for_one_batch_size_only_is_refused(model, trained_checkpoint):
    fixed = onnx.load_from_string(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 64
    crops = trained_checkpoint.proof_crops[:4]
    with pytest.raises(BundleError, match="batches of 64 only"):
        prove_model(fixed.SerializeToString(), "fp32", proof_set(crops, probabilities(model, crops), np.zeros(4, int)))


class Broken(torch.nn.Module):
    """The trained network with one step of its way changed."""

    def __init__(self, network, before=lambda crops: crops, after=lambda p: p):
        super().__init__()
        self.network, self._before, self._after = network, before, after

    def forward(self, crops):
        return self._after(self.network(self._before(crops)))


class WithoutNormalisation(torch.nn.Module):
    """The trained network fed with bytes as they are: its first layer then sees 255 times as much."""

    def __init__(self, network):
        super().__init__()
        self.network = copy.deepcopy(network)
        self.network.network.block1.convolution.weight.data *= 255.0
        self.network.network.back2.convolution.weight.data *= 255.0
        self.network.network.back3.convolution.weight.data *= 255.0

    def forward(self, crops):
        return self.network(crops)


def with_one_weight_changed(network):
    changed = copy.deepcopy(network)
    changed.network.block2.convolution.weight.data[0, 0, 0, 0] += 2.0
    return changed


SABOTAGE = {
    "its colour channels are swapped": lambda n: Broken(n, before=lambda c: c.flip(3)),
    "its normalisation is left out": WithoutNormalisation,
    "its classes are in another order (1, 0, 2)": lambda n: Broken(n, after=lambda p: p[:, [1, 0, 2]]),
    "its calibration is left out": lambda n: type(n)(n.network, 1.0),
    "its weights were changed": with_one_weight_changed,
}


@pytest.mark.parametrize("fault", SABOTAGE)
def test_sabotage_between_checkpoint_and_model_stops_the_export(trained_checkpoint, tmp_path, monkeypatch, fault):
    real = to_onnx.convert
    monkeypatch.setattr(to_onnx, "convert", lambda network: real(SABOTAGE[fault](network).eval()))
    with pytest.raises(ParityError, match=r"a probability is off by .*: " + re.escape(fault)):
        export_bundle(trained_checkpoint, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_int8_that_decides_otherwise_is_not_proved(model, int8, trained_checkpoint):
    crops = trained_checkpoint.proof_crops
    whole, rounded = probabilities(model, crops), probabilities(int8, crops)
    off = int(np.abs(whole - rounded)[:, 0].argmax())
    edge = float(whole[off, 0] + rounded[off, 0]) / 2  # a threshold that the rounding crosses
    against = ProofSet(crops, whole, np.zeros(len(crops), int), np.ones(len(crops), bool), 0, (edge, edge), 1.0)

    proof = prove_model(int8, "int8", against)

    assert proof.changed_decisions >= 1
    assert any("held-out crops are decided otherwise, 0 are allowed" in failure for failure in proof.failures)
