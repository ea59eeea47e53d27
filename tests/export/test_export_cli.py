import shutil
import subprocess
import sys

import pytest

from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_training import checkpoint as checkpoints

EXPORT = [sys.executable, "-c", "from fnrbc_export.cli import main; main()"]


def run(*arguments):
    return subprocess.run([*EXPORT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_two_commands_take_a_checkpoint_to_a_proved_bundle(make_checkpoint, tmp_path):
    checkpoints.save(make_checkpoint(), tmp_path / "net.pt")

    exported = run("onnx", tmp_path / "net.pt", "--out", tmp_path / "bundle")
    verified = run("verify", tmp_path / "bundle")

    assert (exported.returncode, exported.stderr) == (0, "")
    assert (verified.returncode, verified.stderr) == (0, "")
    assert load_bundle(tmp_path / "bundle").id[:12] in exported.stdout
    assert load_bundle(tmp_path / "bundle").id[:12] in verified.stdout


def test_the_shipped_bundle_verifies():
    assert run("verify", SHIPPED).returncode == 0


def test_a_changed_bundle_fails_with_one_sentence(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    with (bundle / "golden.npz").open("ab") as file:
        file.write(b"!")
    done = run("verify", bundle)
    assert done.returncode == 1
    assert done.stderr.startswith("error: golden.npz of the bundle")
    assert len(done.stderr.splitlines()) == 1


def test_a_failed_proof_shows_its_table_writes_its_report_and_no_bundle(make_checkpoint, tmp_path):
    broken = make_checkpoint()
    broken.state["head.4.bias"][0] = float("nan")
    checkpoints.save(broken, tmp_path / "net.pt")

    done = run("onnx", tmp_path / "net.pt", "--out", tmp_path / "bundle")

    assert done.returncode == 1
    assert "| largest difference of a probability | 1 | 0.0001 |" in done.stdout
    assert done.stderr.startswith("error: the model is not what was trained: a probability is off by 1,")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "bundle.proof.json").exists()
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_what_is_no_checkpoint_is_wrong_usage(tmp_path, content):
    if content is not None:
        (tmp_path / "net.pt").write_bytes(content)
    done = run("onnx", tmp_path / "net.pt", "--out", tmp_path / "bundle")
    assert done.returncode == 2
    assert "no finished training" in done.stderr
    assert not (tmp_path / "bundle").exists()
