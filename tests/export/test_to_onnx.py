import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_export import to_onnx
from fnrbc_export.proof import ProofSet, prove_model
from fnrbc_export.to_onnx import convert, export_bundle, golden_rows
from fnrbc_export.verify import verify
from fnrbc_training import checkpoint as checkpoints


@pytest.fixture(scope="module")
def model(make_checkpoint):
    return convert(make_checkpoint().network())


def proof_of(model, checkpoint, wanted):
    about = checkpoint.about
    band = tuple(about["indeterminate"])
    against = ProofSet(checkpoint.proof_crops, wanted, checkpoint.proof_labels, checkpoint.proof_heldout, 0, band, 1.0)
    return prove_model(model, "fp32", against)


def reference(checkpoint, crops):
    with torch.no_grad():
        return checkpoint.network()(torch.from_numpy(np.array(crops))).numpy()


@pytest.mark.parametrize("net", ["pnet", "net1"])
def test_what_comes_out_is_what_went_in(make_checkpoint, tmp_path, net):
    checkpoint = make_checkpoint(net, seed=3)
    bundle = export_bundle(checkpoint, tmp_path / "bundle")
    crops = np.random.default_rng(1).integers(0, 256, (70, 120, 120, 3), np.uint8)

    found = OnnxClassifier(bundle).probabilities(crops)

    assert np.abs(found - reference(checkpoint, crops)).max() < 1e-5
    assert np.array_equal(bundle.seen, checkpoint.seen)
    assert bundle.manifest.parity.largest_difference < 1e-5
    assert bundle.manifest.parity.crops == len(checkpoint.proof_crops)


def test_calibration_is_inside_the_graph(make_checkpoint, tmp_path):
    crops = load_bundle(None).golden_crops
    cold, hot = (
        OnnxClassifier(export_bundle(make_checkpoint(temperature=t), tmp_path / str(t))).probabilities(crops)
        for t in (0.5, 5.0)
    )
    assert np.log(cold[:, 0] / cold[:, 1]) == pytest.approx(10 * np.log(hot[:, 0] / hot[:, 1]), rel=1e-2, abs=1e-3)


def test_opset_and_ir_are_those_that_old_readers_take(model):
    found = onnx.load_from_string(model)
    assert [(o.domain, o.version) for o in found.opset_import] == [("", 17)]
    assert found.ir_version == 8


def test_the_batch_is_free_and_all_else_is_fixed(model):
    graph = onnx.load_from_string(model).graph
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert dims == [["N", 120, 120, 3], ["N", 3]]
    assert (graph.input[0].name, graph.output[0].name) == ("crops", "probabilities")


def test_nothing_in_the_model_tells_where_it_was_made(model):
    found = onnx.load_from_string(model)
    for weight in found.graph.initializer:  # whose bytes spell anything sooner or later
        weight.ClearField("raw_data")
    rest = str(found)  # as text: among the bytes a length of 47 spells a slash
    for trace in (".py", "/", "fnrbc", "stack_trace", "namespace"):
        assert trace not in rest


def test_the_same_checkpoint_gives_the_same_model(make_checkpoint, model):
    assert convert(make_checkpoint().network()) == model


def test_a_network_that_the_converter_cannot_keep_at_the_opset_is_refused():
    class Averaging(nn.Module):
        def forward(self, crops):
            return torch.softmax(crops.to(torch.float32).mean(dim=(1, 2)), dim=1)

    with pytest.raises(BundleError, match="opset"):
        convert(Averaging())


def changed_weight(model):
    found = onnx.load_from_string(model)
    weight = next(w for w in found.graph.initializer if len(w.dims) == 4)
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 50
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return found.SerializeToString()


def test_one_changed_weight_is_caught(make_checkpoint, model):
    checkpoint = make_checkpoint()
    wanted = reference(checkpoint, checkpoint.proof_crops)

    assert proof_of(model, checkpoint, wanted).largest_difference < 1e-5
    changed = proof_of(changed_weight(model), checkpoint, wanted)
    assert not changed.passed
    assert "a probability is off by" in changed.failures[0]


def test_the_golden_crops_of_another_model_are_caught(make_checkpoint, model):
    checkpoint = make_checkpoint()
    assert not proof_of(model, checkpoint, reference(make_checkpoint(seed=9), checkpoint.proof_crops)).passed


def test_values_that_are_no_numbers_are_caught(make_checkpoint):
    checkpoint = make_checkpoint()
    state = {**checkpoint.state, "head.4.bias": torch.full((3,), float("nan"))}
    broken = dataclasses.replace(checkpoint, state=state)
    proof = proof_of(convert(broken.network()), broken, reference(broken, checkpoint.proof_crops))
    assert not proof.passed
    assert proof.largest_difference == 1.0


def test_a_failed_proof_writes_no_bundle_and_leaves_the_old_one(make_checkpoint, tmp_path, monkeypatch):
    old = export_bundle(make_checkpoint(), tmp_path / "bundle")
    real = to_onnx.convert
    monkeypatch.setattr(to_onnx, "convert", lambda network: changed_weight(real(network)))

    for name in ("bundle", "new"):
        with pytest.raises(ParityError, match=r"no bundle was written, the report is .*proof\.json"):
            export_bundle(make_checkpoint(seed=2), tmp_path / name)

    assert load_bundle(tmp_path / "bundle").id == old.id
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "bundle.proof.json", "new.proof.json"]
    report = json.loads((tmp_path / "new.proof.json").read_text())
    assert not report["passed"]
    assert report["largest_difference"] > report["tolerance"]  # what would have been needed


def test_a_new_bundle_takes_the_place_of_the_old_one(make_checkpoint, tmp_path):
    first = export_bundle(make_checkpoint(), tmp_path / "bundle")
    second = export_bundle(make_checkpoint(seed=2), tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").id == second.id != first.id
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_a_name_that_ends_in_zip_gives_a_zip(make_checkpoint, tmp_path):
    bundle = export_bundle(make_checkpoint(), tmp_path / "bundle.zip")
    assert (tmp_path / "bundle.zip").is_file()
    assert verify(tmp_path / "bundle.zip")[0].id == bundle.id


def test_a_folder_with_other_things_in_it_is_not_replaced(make_checkpoint, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("ten years")
    with pytest.raises(BundleError, match="other things in it"):
        export_bundle(make_checkpoint(), precious)
    assert (precious / "thesis.txt").read_text() == "ten years"


def test_verify_finds_a_bundle_sealed_with_another_models_golden_crops(make_checkpoint, tmp_path):
    from fnrbc_device.model.manifest import SEALED_FILES
    from fnrbc_device.model.seal import golden_bytes, seal

    folder = tmp_path / "bundle"
    bundle = export_bundle(make_checkpoint(), folder)
    contents = {name: (folder / name).read_bytes() for name in SEALED_FILES}
    other = reference(make_checkpoint(seed=5), bundle.golden_crops)
    contents["golden.npz"] = golden_bytes(bundle.golden_crops, other)
    fields = {
        k: v for k, v in bundle.manifest.model_dump(mode="json").items() if k not in ("format", "bundle_id", "files")
    }
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in seal(fields, contents).items():
        (folder / name).write_bytes(content)

    with pytest.raises(ParityError, match="golden crops is off"):
        verify(folder)


def test_the_least_certain_crops_travel_and_none_twice():
    certainty = np.linspace(0.4, 1.0, 500)
    probabilities = np.column_stack([certainty, 1 - certainty, np.zeros(500)]).astype(np.float32)
    rows = golden_rows(probabilities)
    likeliest = probabilities.max(axis=1)
    assert len(set(rows.tolist())) == 32
    assert set(np.argsort(likeliest)[:10]) <= set(rows.tolist())


def test_few_crops_all_travel():
    assert sorted(golden_rows(np.eye(3, dtype=np.float32)).tolist()) == [0, 1, 2]


def test_a_checkpoint_comes_back_from_disk_as_it_was(make_checkpoint, tmp_path):
    checkpoint = make_checkpoint()
    checkpoints.save(checkpoint, tmp_path / "net.pt")
    again = checkpoints.load(tmp_path / "net.pt")
    assert again.about == checkpoint.about
    assert np.array_equal(again.seen, checkpoint.seen)
    assert all(torch.equal(again.state[k], v) for k, v in checkpoint.state.items())
