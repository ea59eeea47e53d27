"""What the device loads: nothing that it does not need yet, and never what only training needs."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxscript", "starlette", "uvicorn", "iotcore", "paho", "onnxruntime")


@pytest.mark.parametrize("module", ["fnrbc_device", "fnrbc_device.cli", "fnrbc_device.vision.segmentation"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert loaded == []


def test_counting_never_loads_torch_or_onnx():
    code = (
        "import sys, fnrbc_device.daemon.daemon;"
        "import fnrbc_device.commands.count, fnrbc_device.commands.demo, fnrbc_device.commands.bench;"
        "print(*[name for name in ('torch', 'onnx', 'onnxscript') if name in sys.modules])"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert loaded == []
