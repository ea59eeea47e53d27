"""No byte leaves this machine that nobody chose to send: what a child process asks the C library for is traced."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide

FNRBC = [sys.executable, "-m", "fnrbc_device.cli"]
PROVE = "import pathlib; from fnrbc_device.model.bundle import load_bundle; b = load_bundle(None);"
SESSION = "from fnrbc_device.inference.onnx_classifier import OnnxClassifier; OnnxClassifier(b).close();"
WAIT = "import time; time.sleep(1.5)"  # what is sent in the background comes a little later


@pytest.fixture(scope="module")
def eavesdropper(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("tracing needs Linux and a C compiler (cc)")
    library = tmp_path_factory.mktemp("eavesdrop") / "eavesdrop.so"
    source = Path(__file__).parents[1] / "helpers" / "eavesdrop.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def overheard(eavesdropper, tmp_path):
    """Run a program and give whom it asked for; its home is new, and what it leaves there is given too."""

    def run(command, **environment):
        home, trace = tmp_path / "home", tmp_path / "trace"
        home.mkdir(exist_ok=True)
        clean = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
        clean |= {"HOME": str(home), "LD_PRELOAD": str(eavesdropper), "EAVESDROP": str(trace), **environment}
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=250, env=clean)
        assert done.returncode == 0, done.stderr
        left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
        return trace.read_text().splitlines() if trace.exists() else [], left

    return run


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pan")
    slide = SimulatedSlide.make(31, "giemsa", 12)
    write_frames(folder, SimulatedMicroscope(slide, seed=31), frames=6)
    return folder / "frames"


def test_the_tracing_hears_a_name_that_is_looked_up_and_an_address_that_is_sent_to(overheard):
    speaks = (
        "import contextlib, socket\n"
        "with contextlib.suppress(OSError): socket.getaddrinfo('host.invalid', 443)\n"
        "with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as s: s.connect(('192.0.2.1', 9))\n"
        "with socket.socket(type=socket.SOCK_DGRAM) as s: s.connect(('127.0.0.1', 9))\n"
    )
    heard, _ = overheard([sys.executable, "-c", speaks])

    assert heard == ["asked-for host.invalid", "connected-to 192.0.2.1"]


@pytest.mark.parametrize(
    "code",
    [
        f"{PROVE} {SESSION} {WAIT}",
        f"import fnrbc_export.proof; {PROVE} {SESSION} {WAIT}",
        f"import fnrbc_export.quantise; {WAIT}",
        f"import fnrbc_training.cli, onnxruntime; {PROVE} onnxruntime.InferenceSession(b.model); {WAIT}",
    ],
    ids=["device", "export", "quantise", "training"],
)
def test_running_the_network_asks_nobody_and_leaves_nothing_at_home(overheard, code):
    assert overheard([sys.executable, "-c", code]) == ([], [])


def test_these_tests_themselves_are_silent():
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_counting_a_recording_asks_nobody(overheard, pan, tmp_path):
    command = [*FNRBC, "count", pan, "--out", tmp_path / "out", "--pixel-size-um", "0.125"]
    assert overheard(command) == ([], [])


def test_the_demo_asks_nobody(overheard):
    assert overheard([*FNRBC, "demo", "--seconds", "3"]) == ([], [])
