"""``fnrbc-export engine`` as a process of its own: what it builds, proves, refuses, and what a kill leaves behind."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest

from fnrbc_device.errors import EngineError
from fnrbc_device.inference.engines import EngineCache, Sidecar
from fnrbc_device.model.bundle import SHIPPED, load_bundle

COMMAND = [sys.executable, "-m", "fnrbc_export.cli"]


@pytest.fixture
def cache(fake_gpu, tmp_path):
    return EngineCache(tmp_path / "engines", load_bundle(None).id)


@pytest.fixture
def seeing(cache):
    """The engines of the second graph."""
    return EngineCache(cache.folder.parent, load_bundle(None).id, "see")


@pytest.fixture
def run(cache, monkeypatch):
    def command(name, *arguments, **environment):
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        folder = str(cache.folder.parent)
        done = subprocess.run(
            [*COMMAND, name, str(SHIPPED), "--cache", folder, *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        for key in environment:
            monkeypatch.delenv(key)
        return done

    return command


def sentence(done):
    """The one sentence of a refusal."""
    assert done.returncode == 1
    (last,) = [line for line in done.stderr.splitlines() if not line.startswith("building: ")]
    assert last.startswith("error: ")
    return last


def test_an_engine_is_built_proved_and_found_again(run, cache, seeing):
    built = run("engine")
    again = run("engine")
    verified = run("verify", "--engine")

    assert (built.returncode, built.stderr) == (0, (
        "building: there is no engine of this bundle that classifies yet\n"
        "building: there is no engine of this bundle that sees yet\n"
    ))  # fmt: skip
    assert again.stdout.count("nothing to build") == 2
    assert again.stderr == ""
    assert ": proved, fp32, TensorRT 10.3.0; off by at most" in verified.stdout
    (engine,) = cache.engines()
    sidecar = json.loads(engine.plan_path.with_suffix(".json").read_text())
    assert set(sidecar) == {
        "plan_sha256", "bundle_id", "onnx_sha256", "precision", "tensorrt", "compute_capability", "device_model",
        "l4t_release", "profile", "flags", "built_at", "parity",
    }  # fmt: skip
    assert (sidecar["tensorrt"], sidecar["compute_capability"], sidecar["profile"]) == ("10.3.0", "8.7", [1, 16, 64])
    assert sidecar["parity"] < 1e-5
    assert "on the golden frames when built" in verified.stdout
    (sees,) = seeing.engines()
    assert sees.sidecar.profile == (16, 16, 352, 464, 1536, 2048)
    assert sees.sidecar.parity < 1e-3


def test_a_sidecar_of_another_tensorrt_is_built_again_and_two_engines_are_kept(run, cache):
    run("engine")
    for version in ("10.16.1", "11.4.0"):
        assert f"it is {version!r}" in run("engine", FAKE_TENSORRT_VERSION=version).stderr
    assert [engine.sidecar.tensorrt for engine in cache.engines()] == ["11.4.0", "10.16.1"]
    assert sorted(p.name for p in cache.folder.iterdir()) == [
        "engine-2.json", "engine-2.plan", "engine-3.json", "engine-3.plan", "lock",
    ]  # fmt: skip
    refused = sentence(run("verify", "--engine"))
    assert "tensorrt was '11.4.0', it is '10.3.0'" in refused


def test_a_plan_with_a_flipped_byte_is_named_and_built_again(run, cache):
    run("engine")
    plan = cache.engines()[0].plan_path
    content = bytearray(plan.read_bytes())
    content[100] ^= 4
    plan.write_bytes(content)
    assert "has sha256" in sentence(run("verify", "--engine"))
    assert "has sha256" in run("engine").stderr
    assert run("verify", "--engine").returncode == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("channels", "a probability of the golden crops is off by"),
        ("late", "in a batch of 64 a probability of the golden crops is off by"),
        ("no_build", "TensorRT builds no engine (Error Code 10: Could not find any implementation"),
    ],
)
def test_an_engine_that_fails_its_proof_is_not_kept(run, cache, fault, said):
    assert said in sentence(run("engine", FAKE_TENSORRT_FAULT=fault))
    assert cache.engines() == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("see:channels", "a map of the golden frames is off by"),
        ("see:late", "in a picture of 336 x 208 a map is off by"),
    ],
)
def test_an_engine_that_sees_something_else_is_not_kept_and_the_other_is(run, cache, seeing, fault, said):
    assert said in sentence(run("engine", FAKE_TENSORRT_FAULT=fault))
    assert len(cache.engines()) == 1
    assert seeing.engines() == []


def test_without_an_engine_there_is_nothing_to_verify(run):
    assert "build it with fnrbc-export engine" in sentence(run("verify", "--engine"))


def test_a_build_that_takes_too_long_ends_with_the_cure(run, cache):
    began = time.monotonic()
    said = sentence(run("engine", "--timeout-s", "1", FAKE_TENSORRT_BUILD_S="60"))
    assert said == "error: the engine was not built within 1 s; give more with --timeout-s"
    assert time.monotonic() - began < 30
    assert cache.engines() == []


@pytest.fixture
def building(cache, monkeypatch):
    """A builder at work, half-way."""
    monkeypatch.setenv("FAKE_TENSORRT_BUILD_S", "60")
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "10.16.1")
    command = [*COMMAND, "engine", str(SHIPPED), "--cache", str(cache.folder.parent)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("building: ")
        monkeypatch.delenv("FAKE_TENSORRT_BUILD_S")
        monkeypatch.delenv("FAKE_TENSORRT_VERSION")
        yield process
        process.kill()


def test_two_builders_are_not_at_work_at_once(run, building):
    said = sentence(run("engine", "--wait-s", "0.2"))
    assert "another builder has held" in said


def test_a_kill_in_the_middle_of_a_build_leaves_the_last_good_engine_and_no_lock(cache, request, run):
    assert run("engine").returncode == 0
    building = request.getfixturevalue("building")
    building.send_signal(signal.SIGKILL)
    building.wait(10)
    assert run("verify", "--engine").returncode == 0
    assert "proved again, nothing to build\n" in run("engine", "--wait-s", "0.2").stdout
    assert len(cache.engines()) == 1


KILLED = """
import os, sys
from pathlib import Path
from fnrbc_device.host import atomic_file
from fnrbc_device.inference.engines import EngineCache
left = int(sys.argv[3])
real = os.fsync
def fsync(descriptor):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    real(descriptor)
atomic_file.os.fsync = fsync
cache = EngineCache(Path(sys.argv[1]), sys.argv[2])
cache.add(b"another plan", cache.engines()[0].sidecar)
"""


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_kill_while_an_engine_is_put_in_its_place_leaves_the_last_good_one(cache, step):
    sidecar = Sidecar(
        plan_sha256=hashlib.sha256(b"a plan").hexdigest(), bundle_id="0" * 64, onnx_sha256="0" * 64, precision="fp32",
        tensorrt="10.3.0", compute_capability="8.7", device_model="Orin", l4t_release="R36", profile=(1, 16, 64),
        flags=("STRONGLY_TYPED",), built_at=datetime.now(timezone.utc), parity=0.0,
    )  # fmt: skip
    with cache.alone(1):
        cache.add(b"a plan", sidecar)
    command = [sys.executable, "-c", KILLED, str(cache.folder.parent), load_bundle(None).id, str(step)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    (engine,) = cache.engines()
    assert engine.plan() == b"a plan"


def test_a_full_or_missing_disk_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError, match="cannot be written"), EngineCache(tmp_path / "file", "0" * 64).alone(1):
        pass


def test_where_there_is_no_tensorrt_the_cure_is_said(tmp_path):
    done = subprocess.run(
        [*COMMAND, "engine", str(SHIPPED), "--cache", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        pytest.skip("this machine has TensorRT")
    assert "install pycuda, elsewhere set inference.runtime to onnxruntime" in sentence(done)
