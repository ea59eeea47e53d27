"""The centre network in a bundle: exported, proved, refused where it is another, and absent in older bundles."""

import dataclasses

import numpy as np
import pytest
import torch

from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.inference.centre_network import OnnxCentreNetwork, open_centres, prove_seeing
from fnrbc_device.model.bundle import SHIPPED, load_bundle, read_files
from fnrbc_device.vision.centre_picture import MAPS
from fnrbc_export import see_onnx
from fnrbc_export.see_onnx import seeing_part, with_seeing
from fnrbc_export.verify import verify
from fnrbc_training.see_checkpoint import FRAME, SeeCheckpoint
from fnrbc_training.see_network import CentreNet


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    about = {
        "network": "untrained",
        "least_heat": 0.4,
        "agreed_heat": 0.15,
        "sources": ["the tests"],
        "card": "Nothing was measured.",
        "recipe": "od-035-1",
        "sha256": "0" * 64,
        "pictures": 1,
    }
    frames = rng.integers(0, 256, (9, FRAME, FRAME, 3), np.uint8)
    return SeeCheckpoint(CentreNet().state_dict(), about, frames, np.full((9, 3), 240.0))


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "two"
    with_seeing(SHIPPED, trained, out)
    return out


def test_a_bundle_of_two_graphs_loads_whole_and_proves_itself(made):
    bundle, _ = verify(made)
    assert bundle.seeing is not None
    assert prove_seeing(OnnxCentreNetwork(bundle.seeing.model), bundle) <= 1e-3


def test_what_classifies_stays_as_it_was(made):
    before, after = read_files(SHIPPED), read_files(made)
    assert all(before[name] == after[name] for name in ("model.onnx", "golden.npz", "seen.npy"))
    assert load_bundle(made).id != load_bundle(SHIPPED).id
    card = after["MODEL_CARD.md"].decode()
    assert "## Seeing\n\nNothing was measured.\n\n## What the export proved" in card
    assert card.count("## ") == before["MODEL_CARD.md"].decode().count("## ")


def test_the_model_takes_frames_of_any_size(trained):
    network = OnnxCentreNetwork(see_onnx.convert(trained.network()))
    for rows, cols in ((16, 16), (96, 128), (352, 464)):
        assert network.maps(np.zeros((1, 3, rows, cols), np.float32)).shape == (MAPS, rows // 4, cols // 4)


def test_a_file_of_the_second_graph_that_was_changed_is_refused(made, tmp_path):
    for name, content in read_files(made).items():
        (tmp_path / name).write_bytes(content + b"x" if name == "see.onnx" else content)
    with pytest.raises(BundleError, match=r"see\.onnx"):
        load_bundle(tmp_path)


def test_another_network_than_the_golden_frames_fails_its_proof_and_the_threshold_counts(made):
    bundle = load_bundle(made)
    assert bundle.seeing is not None
    off = dataclasses.replace(bundle.seeing, golden_maps=bundle.seeing.golden_maps + 0.5)
    wrong = dataclasses.replace(bundle, seeing=off)
    with pytest.raises(ParityError, match=r"is off by 0\.5"):
        prove_seeing(OnnxCentreNetwork(bundle.seeing.model), wrong)
    opened = open_centres(wrong, "network")
    assert opened.model is None
    assert "is off by" in opened.fault


def test_a_bundle_with_one_graph_counts_by_the_threshold(made):
    bundle = dataclasses.replace(load_bundle(made), seeing=None)
    assert open_centres(bundle, "both").model is None
    assert open_centres(load_bundle(made), "threshold").model is None


def test_a_proved_network_is_opened_as_asked(made):
    alone = open_centres(load_bundle(made), "network")
    opened = open_centres(load_bundle(made), "both")
    assert opened.model is not None
    assert alone.model is not None
    assert (alone.model.method, alone.model.least_heat) == ("network", 0.4)
    assert (opened.model.method, opened.model.agreed_heat) == ("both", 0.15)
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.model.network.maps(np.zeros((1, 3, 16, 16), np.float32))


def test_pnet_is_no_centre_network():
    with pytest.raises(BundleError, match="network for seeing takes"):
        OnnxCentreNetwork(load_bundle(SHIPPED).model)


def test_a_conversion_that_changes_the_network_makes_no_bundle(trained, monkeypatch):
    torch.manual_seed(4)
    other = see_onnx.convert(CentreNet().eval())
    monkeypatch.setattr(see_onnx, "convert", lambda _: other)
    with pytest.raises(ParityError, match="not what was trained"):
        seeing_part(trained)
