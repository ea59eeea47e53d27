"""`make bundle` with stand-ins for the programs: what it does when one of the two trainings fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"

STAND_IN = """#!/bin/sh
echo "$1" >> {done}
[ "$1" != "$FAILS" ]
"""


def bundle(tmp_path, fails):
    """What was begun, and whether make succeeded."""
    done = tmp_path / "done"
    for name in ("fnrbc", "fnrbc-train", "fnrbc-export"):
        program = tmp_path / name
        program.write_text(STAND_IN.format(done=done))
        program.chmod(0o755)
    for needed in ("pyproject.toml", "constraints.txt", "demo.stamp", "dev.stamp"):  # in this order: nothing to install
        (tmp_path / needed).touch()
    shutil.copy(MAKEFILE, tmp_path)
    # The make that runs the tests has flags of its own, which are not for this one.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", f"VENV={tmp_path}", f"BIN={tmp_path}", "bundle"]
    made = subprocess.run(command, cwd=tmp_path, env={**clean, "FAILS": fails}, capture_output=True, timeout=60)
    return done.read_text().split(), made.returncode == 0


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_a_bundle_is_exported_from_both_trainings(tmp_path):
    begun, succeeded = bundle(tmp_path, fails="nothing")
    assert succeeded
    assert begun[-2:] == ["onnx", "evaluate"]
    assert {"fit", "see"} < set(begun[:-2])


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("fails", ["cut", "fit", "see"])
def test_where_a_training_fails_nothing_is_exported(tmp_path, fails):
    begun, succeeded = bundle(tmp_path, fails)
    assert not succeeded
    assert "onnx" not in begun
