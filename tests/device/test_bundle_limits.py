"""What a bundle may not be, whoever sealed it: too long, too large, without end, or not all there."""

import io
import json
import zipfile

import numpy as np
import pytest

from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.host import npz
from fnrbc_device.inference import proof_apart
from fnrbc_device.inference.bundle_store import BundleStore
from fnrbc_device.inference.proof_apart import prove_apart
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.graph import fault_of
from fnrbc_device.model.manifest import SEALED_FILES, SEEING_FILES
from fnrbc_device.model.seal import golden_bytes, seal

onnx = pytest.importorskip("onnx", reason="the models are made with the package onnx")


def sealed(folder, contents=None, **changed):
    """A bundle that somebody sealed with our own code."""
    fields = json.loads(load_bundle(None).manifest.canonical())
    fields = {k: v for k, v in fields.items() if k not in ("format", "bundle_id", "files")}
    names = SEALED_FILES + SEEING_FILES
    files = {name: (SHIPPED / name).read_bytes() for name in names} | (contents or {})
    folder.mkdir(parents=True)
    for name, content in seal({**fields, **changed}, files).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "name", ["x" * 300, "x" * 33, "", " ", "a\nb", "=x", "../x", "naïve", "indeterminate", "a/b", "<b>"]
)
def test_a_class_has_a_short_plain_name_of_its_own(tmp_path, name):
    classes = [{"name": name, "role": "target"}, {"name": "leukocyte", "role": "denominator"}]
    with pytest.raises(BundleError, match=r"classes|indeterminate"):
        load_bundle(sealed(tmp_path / "b", classes=classes))


@pytest.mark.parametrize("field", ["network", "software_version", "preprocessing_id"])
def test_no_text_of_a_manifest_is_longer_than_a_page(tmp_path, field):
    with pytest.raises(BundleError, match=field):
        load_bundle(sealed(tmp_path / "b", **{field: "x" * 5000}))


@pytest.mark.parametrize("name", ["manifest.json", "MODEL_CARD.md", "proof.json"])
def test_a_text_file_of_a_bundle_is_small(tmp_path, name):
    folder = sealed(tmp_path / "b")
    (folder / name).write_bytes(b" " * (2**20 + 1))
    with pytest.raises(BundleError, match=rf"{name} of the bundle .* is larger than 1 MiB"):
        load_bundle(folder)


def test_golden_crops_that_grow_when_unpacked_are_refused_before_they_do(tmp_path):
    packed = io.BytesIO()
    np.savez_compressed(packed, crops=np.zeros((2000, 120, 120, 3), np.uint8), probabilities=np.ones((2000, 3)))
    assert len(packed.getvalue()) < 200_000
    with pytest.raises(BundleError, match=r"takes \d+ bytes unpacked, the limit is"):
        load_bundle(sealed(tmp_path / "b", {"golden.npz": packed.getvalue()}))


def npy(head, data=b""):
    text = head.encode() + b" " * (118 - len(head)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000,), }", b"x"),
        npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", b"x"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"x" * 8),
        npy("{'descr': '<u8', 'fortran_order': False, 'shape': (2,), }", b"x" * 15),
        b"\x93NUMPY\x07\x00" + b" " * 200,
        b"",
    ],
    ids=["too little data", "negative", "objects", "cut short", "unknown format", "empty"],
)
def test_an_array_whose_head_is_not_its_data_is_refused(tmp_path, content):
    with pytest.raises(BundleError, match="broken file"):
        load_bundle(sealed(tmp_path / "b", {"seen.npy": content}))


def test_a_zip_that_unpacks_without_end_is_read_to_the_limit_only(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (200 * 2**20))
    assert (tmp_path / "b.zip").stat().st_size < 2**20
    with pytest.raises(BundleError, match="larger than 1 MiB"):
        load_bundle(tmp_path / "b.zip")


def test_two_parts_of_one_name_are_refused():
    room = io.BytesIO()
    one = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }", b"x")
    with zipfile.ZipFile(room, "w") as archive:
        archive.writestr("a.npy", one)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", one)
    with pytest.raises(ValueError, match="one twice"):
        npz.unpacked(room.getvalue(), 1000)


def model(nodes, initializers=(), **more):
    """A model with the interface of P-net; ``nodes`` give ``probabilities``."""
    helper, kinds = onnx.helper, onnx.TensorProto
    crops = helper.make_tensor_value_info("crops", kinds.UINT8, ["n", 120, 120, 3])
    given = helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["n", 3])
    graph = helper.make_graph(list(nodes), "g", [crops], [given], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, **more)


def endless():
    """A loop whose condition stays true: it never ends."""
    helper, kinds = onnx.helper, onnx.TensorProto
    inner = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"])],
        "body",
        [helper.make_tensor_value_info("i", kinds.INT64, []), helper.make_tensor_value_info("on", kinds.BOOL, [])],
        [helper.make_tensor_value_info("still", kinds.BOOL, [])],
    )
    return helper.make_node("Loop", ["most", "yes"], [], body=inner)


def number(name, kind, values):
    return onnx.helper.make_tensor(name, kind, [len(values)], values)


def test_a_model_with_a_loop_is_refused_wherever_it_stands(tmp_path):
    kinds = onnx.TensorProto
    looping = model([endless()], [number("most", kinds.INT64, [2**62]), number("yes", kinds.BOOL, [True])])
    with pytest.raises(BundleError, match=r"model\.onnx holds control flow"):
        load_bundle(sealed(tmp_path / "b", {"model.onnx": looping.SerializeToString()}))

    hidden = onnx.helper.make_function("own", "F", [], [], [endless()], [onnx.helper.make_opsetid("", 17)])
    assert "control flow" in fault_of(model([], functions=[hidden]).SerializeToString())


def outside(tensor):
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    tensor.ClearField("float_data")
    return tensor


def test_weights_in_other_files_are_refused_wherever_they_hang(tmp_path):
    weights = outside(number("w", onnx.TensorProto.FLOAT, [1.0]))
    whole = model([onnx.helper.make_node("Identity", ["w"], ["probabilities"])], [weights])
    with pytest.raises(BundleError, match=r"model\.onnx holds weights in other files"):
        load_bundle(sealed(tmp_path / "b", {"model.onnx": whole.SerializeToString()}))

    constant = model([onnx.helper.make_node("Constant", [], ["probabilities"], value=weights)])
    assert fault_of(constant.SerializeToString()) == "weights in other files"
    inside = number("w", onnx.TensorProto.FLOAT, [1.0])
    inside.data_location = onnx.TensorProto.DEFAULT  # as some exporters write it
    assert fault_of(model([], [inside]).SerializeToString()) == ""


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path):
    rng = np.random.default_rng(3)
    whole = (SHIPPED / "model.onnx").read_bytes()
    broken = [b"", b"\xff" * 100, whole[:1000], rng.bytes(5000), b"\x3a\x05ab"]
    for index, content in enumerate(broken):
        with pytest.raises(BundleError, match=r"^[^\n]+$"):
            load_bundle(sealed(tmp_path / str(index), {"model.onnx": content}))


def hungry():
    """A model that asks for 256 GiB."""
    helper, kinds = onnx.helper, onnx.TensorProto
    return model(
        [
            helper.make_node("Expand", ["one", "shape"], ["large"]),
            helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
            helper.make_node("Cast", ["crops"], ["real"], to=kinds.FLOAT),
            helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Add", ["mean", "sum"], ["probabilities"]),
        ],
        [number("one", kinds.FLOAT, [1.0]), number("shape", kinds.INT64, [2**20, 2**16])],
    ).SerializeToString()


def test_a_network_that_takes_all_memory_is_refused_and_this_process_lives(tmp_path):
    with pytest.raises(BundleError, match=r"was not proved within|onnxruntime refuses"):
        BundleStore(tmp_path / "store").install(sealed(tmp_path / "b", {"model.onnx": hungry()}))
    assert BundleStore(tmp_path / "store").installed() == []


def test_a_network_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(proof_apart, "PROOF_S", 0.01)
    with pytest.raises(BundleError, match=r"was not proved within .* that is no P-net"):
        prove_apart(load_bundle(None))


def test_what_the_proof_finds_is_said_as_if_it_were_done_here(tmp_path):
    shipped = load_bundle(None)
    prove_apart(shipped)
    wrong = golden_bytes(shipped.golden_crops, np.roll(shipped.golden_probabilities, 1, axis=1))
    with pytest.raises(ParityError, match="is off by"):
        prove_apart(load_bundle(sealed(tmp_path / "b", {"golden.npz": wrong})))
