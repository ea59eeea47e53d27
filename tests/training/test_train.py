import dataclasses
import itertools
import os
import resource
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_training import checkpoint, dataset, train
from fnrbc_training.events import EventFile
from fnrbc_training.parallel import Ranks
from fnrbc_training.pnet import PNet, build, parameters
from fnrbc_training.recipe import Recipe
from fnrbc_training.train import fit

RECIPE = Recipe("pnet", epochs=3, augmentation="symmetries", seed=1)
FIT = [sys.executable, "-m", "fnrbc_training", "fit"]
OPTIONS = ["--epochs", "3", "--augmentation", "symmetries", "--seed", "1"]
"""As ``RECIPE``."""


class Killed(Exception):
    """Stands for kill -9 in the middle."""


def silent(what, done, total):
    pass


def weights(path):
    state = checkpoint.load(path).state
    return np.concatenate([value.numpy().ravel() for value in state.values()])


@pytest.fixture(scope="module")
def finished(painted, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "net.pt"
    return out, fit(painted, RECIPE, out, silent)


def test_pnet_is_small_enough_and_net1_smaller_still():
    assert parameters(build("net1", 3)) < parameters(build("pnet", 3)) <= 500_000


@pytest.mark.parametrize("net", ["pnet", "net1"])
def test_a_network_takes_bytes_and_gives_a_logit_a_class(net):
    crops = torch.randint(0, 256, (5, 120, 120, 3), dtype=torch.uint8)
    assert build(net, 3)(crops).shape == (5, 3)


def test_the_input_image_reaches_the_later_blocks_of_pnet_only():
    """With nothing coming out of the first block, P-net still sees the picture, and Net1 does not."""
    crops = torch.randint(0, 256, (2, 120, 120, 3), dtype=torch.uint8)
    for net, sees in (("pnet", True), ("net1", False)):
        network = build(net, 3).eval()
        torch.nn.init.zeros_(network.block1.convolution.weight)
        first, second = network(crops)
        assert (not torch.allclose(first, second)) is sees


def test_empty_glass_beyond_the_border_looks_like_white_not_like_black():
    white = torch.full((1, 120, 120, 3), 255, dtype=torch.uint8)
    network = PNet(3).eval()
    features = network.block1.convolution((255.0 - white.permute(0, 3, 1, 2)) / 255)
    centre = features[..., 30:31, 30:31].expand_as(features)
    assert torch.equal(features, centre), "at the border as in the middle"
    black = network.block1.convolution(torch.ones(1, 3, 120, 120))
    assert not torch.allclose(black, black[..., 30:31, 30:31].expand_as(black)), "beyond black's border lies white"


def test_easy_cells_are_learned(painted, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "BATCH", 12)  # so few crops else make too few steps
    performance = fit(painted, dataclasses.replace(RECIPE, epochs=16), tmp_path / "net.pt", silent)
    assert performance.n == 24
    assert performance.accuracy.value >= 0.9


def test_one_seed_gives_one_result_and_another_seed_another(painted, finished, tmp_path):
    out, _ = finished
    fit(painted, RECIPE, tmp_path / "same.pt", silent)
    fit(painted, dataclasses.replace(RECIPE, seed=2), tmp_path / "other.pt", silent)

    assert np.array_equal(weights(tmp_path / "same.pt"), weights(out))
    assert not np.array_equal(weights(tmp_path / "other.pt"), weights(out))


def test_a_killed_run_goes_on_and_ends_as_if_it_never_was(painted, finished, tmp_path):
    def kill_after_two(what, done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        fit(painted, RECIPE, tmp_path / "net.pt", kill_after_two)
    epochs = []
    fit(painted, RECIPE, tmp_path / "net.pt", lambda what, done, total: epochs.append(done))

    assert epochs == [3]
    assert np.array_equal(weights(tmp_path / "net.pt"), weights(finished[0]))
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_a_run_killed_by_the_system_goes_on_and_ends_as_if_it_never_was(painted, finished, tmp_path):
    dataset.save(painted, tmp_path / "set.npz")
    unfinished = tmp_path / "net.pt.unfinished"
    running = subprocess.Popen([*FIT, "--data", tmp_path / "set.npz", "--out", tmp_path / "net.pt", *OPTIONS])
    try:
        deadline = time.monotonic() + 120
        while not unfinished.exists() and running.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        running.kill()
        running.wait(10)
    fit(painted, RECIPE, tmp_path / "net.pt", silent)

    assert np.array_equal(weights(tmp_path / "net.pt"), weights(finished[0]))


def test_two_processes_train_together_and_only_one_writes(painted, tmp_path, free_port):
    dataset.save(painted, tmp_path / "set.npz")
    rendezvous = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port)]
    command = [sys.executable, "-m", "torch.distributed.run", *rendezvous, *FIT[1:]]
    done = subprocess.run(
        [*command, "--data", tmp_path / "set.npz", "--out", tmp_path / "net.pt", *OPTIONS],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held out, accuracy") == 1
    trained = checkpoint.load(tmp_path / "net.pt")
    assert trained.about["metrics"]["n"] == len(painted.part("heldout"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pt", "set.npz"]


def test_processes_that_trained_together_end_with_no_thread_left(tmp_path, free_port):
    """A thread that still runs while the interpreter ends aborts the process now and then, though its work was done."""
    script = tmp_path / "together.py"
    script.write_text(
        "import pathlib\n"
        "import torch\n"
        "from fnrbc_training.parallel import joined\n"
        "with joined() as ranks:\n"
        "    network = ranks.together(torch.nn.Linear(3, 3))\n"
        "    network(torch.ones(2, 3)).sum().backward()\n"
        "    del network\n"
        "left = [task.read_text().strip() for task in pathlib.Path('/proc/self/task').glob('*/comm')]\n"
        "gloo = sorted(name for name in left if 'gloo' in name)\n"
        "pathlib.Path(__file__).with_name(f'left-{ranks.index}').write_text(str(gloo))\n"
    )
    rendezvous = ["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *rendezvous, script],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in tmp_path.glob("left-*")} == {"left-0": "[]", "left-1": "[]"}


def test_each_process_gets_its_share_of_a_batch():
    rows = np.arange(7)
    shares = [Ranks(i, 2, torch.device("cpu")).share(rows).tolist() for i in range(2)]
    assert sorted(itertools.chain(*shares)) == rows.tolist()
    assert abs(len(shares[0]) - len(shares[1])) <= 1


def test_the_event_file_has_every_epoch_and_reads_back(painted, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    curves = EventFile(tmp_path / "events")
    fit(painted, dataclasses.replace(RECIPE, epochs=2), tmp_path / "net.pt", silent, curves)
    curves.close()

    (file,) = (tmp_path / "events").iterdir()
    content, found = file.read_bytes(), []
    while content:
        size = struct.unpack("<Q", content[:8])[0]  # TensorFlow's records: length, its check, data, its check
        found.append(Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    figures = [(event.step, value.tag) for event in found for value in event.summary.value]
    assert figures == [(epoch, tag) for epoch in (1, 2) for tag in ("loss", "learning_rate", "tuning/right")]


def test_a_disk_that_fills_up_is_one_sentence_and_leaves_the_last_epoch_intact(painted, finished, tmp_path):
    def kill(what, done, total):
        raise Killed

    with pytest.raises(Killed):
        fit(painted, RECIPE, tmp_path / "net.pt", kill)
    unfinished = tmp_path / "net.pt.unfinished"
    before = unfinished.read_bytes()
    dataset.save(painted, tmp_path / "set.npz")
    most = len(before) // 2  # of a file, as the system allows this process: writing more fails like a full disk
    done = subprocess.run(
        [*FIT, "--data", tmp_path / "set.npz", "--out", tmp_path / "net.pt", *OPTIONS],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert "goes on where it was" in done.stderr
    assert unfinished.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pt.unfinished", "set.npz"]
    fit(painted, RECIPE, tmp_path / "net.pt", silent)
    assert np.array_equal(weights(tmp_path / "net.pt"), weights(finished[0]))


def test_an_older_narrower_network_is_still_exported(finished):
    found = checkpoint.load(finished[0])
    narrow = build("pnet", 3, (16, 32, 64))
    older = dataclasses.replace(found, state=narrow.state_dict())
    crops = torch.randint(0, 256, (2, 120, 120, 3), dtype=torch.uint8)
    assert older.network()(crops).shape == (2, 3)


def test_another_recipe_does_not_go_on_from_this_one(painted, tmp_path):
    def kill(what, done, total):
        raise Killed

    with pytest.raises(Killed):
        fit(painted, RECIPE, tmp_path / "net.pt", kill)
    with pytest.raises(UsageError, match="another recipe or other data; delete it"):
        fit(painted, dataclasses.replace(RECIPE, seed=9), tmp_path / "net.pt", silent)


def test_a_folder_in_the_checkpoints_place_is_said_before_the_first_epoch(painted, tmp_path):
    with pytest.raises(UsageError, match="is a folder; give the name of a file"):
        fit(painted, RECIPE, tmp_path, lambda *_: pytest.fail("trained for nothing"))


def test_an_unfinished_training_cannot_be_exported(painted, tmp_path):
    def kill(what, done, total):
        raise Killed

    with pytest.raises(Killed):
        fit(painted, RECIPE, tmp_path / "net.pt", kill)
    with pytest.raises(UsageError, match="no finished training"):
        checkpoint.load(tmp_path / "net.pt.unfinished")


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path, monkeypatch):
    out = tmp_path / "net.pt"
    checkpoint.write({"epoch": 1}, out)

    def full(content, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FnrbcError, match=r"No space left on device.*goes on where it was"):
        checkpoint.write({"epoch": 2}, out)

    assert checkpoint.read(out) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_the_checkpoint_knows_what_it_saw_and_brings_only_crops_that_it_did_not(painted, finished):
    found = checkpoint.load(finished[0])
    learned = painted.where(painted.parts != "heldout")

    assert set(found.seen.tolist()) == set(learned.digests.tolist())
    assert np.array_equal(found.proof_crops, painted.part("heldout").crops)
    assert found.about["training_data"]["crops"] == len(learned)
    assert found.about["metrics"]["n"] == len(painted.part("heldout"))


def test_the_figures_come_with_the_cells_behind_them_by_laboratory_and_class(painted, finished):
    metrics = checkpoint.load(finished[0]).about["metrics"]
    outcomes = {kind: sum(one[kind] for one in metrics["counts"]) for kind in ("right", "wrong", "undecided")}

    assert sum(outcomes.values()) == metrics["n"]
    assert outcomes["right"] == round(metrics["accuracy"]["value"] * metrics["n"])
    assert outcomes["undecided"] == metrics["indeterminate"]
    assert {one["class_name"] for one in metrics["counts"]} == set(painted.part("heldout").originals.tolist())


def test_the_card_states_the_figures_and_the_limits_of_use(finished):
    card = checkpoint.load(finished[0]).card
    for needed in ("For research use only", "sensitivity", "95 %", "| leukocyte |", "blocks", "the tests"):
        assert needed in card


def test_the_card_says_how_far_the_readers_agree(painted, tmp_path):
    (source,) = painted.sources
    read = dataclasses.replace(source, kappas={"anna and bert": 0.81})
    fit(dataclasses.replace(painted, sources=(read,)), dataclasses.replace(RECIPE, epochs=1), tmp_path / "n.pt", silent)
    assert "kappa of anna and bert 0.810" in checkpoint.load(tmp_path / "n.pt").card


def test_the_learning_rate_rises_then_falls_to_nothing():
    network = build("pnet", 3)
    optimiser = torch.optim.AdamW(network.parameters())
    rates = []
    for done in (0.0, 0.05, 0.1, 0.5, 0.99):
        train._set_rate(optimiser, done)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[0] < rates[1] < rates[2] == pytest.approx(train.LEARNING_RATE)
    assert rates[2] > rates[3] > rates[4] > 0
