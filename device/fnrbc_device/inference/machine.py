"""What an engine depends on beside its bundle: this machine's GPU and software."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import EngineError

DEVICE_MODEL: Final = Path("/proc/device-tree/model")
L4T_RELEASE: Final = Path("/etc/nv_tegra_release")
"""NVIDIA's own: its first line names release and revision."""

NONE: Final = "none"
"""Stands for the L4T release of what is no Jetson."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Another value of any of these, and an engine must be built again."""

    tensorrt: str
    """Full version."""
    compute_capability: str
    device_model: str
    l4t_release: str


def import_runtime() -> tuple[Any, Any]:
    """Give the modules ``tensorrt`` and ``pycuda.driver``, which come with the hardware.

    Raises
    ------
    EngineError
        One of them cannot be imported.
    """
    try:
        return importlib.import_module("tensorrt"), importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise EngineError(
            f"TensorRT cannot be used ({error}); on a Jetson make the environment with --system-site-packages and "
            "install pycuda, elsewhere set inference.runtime to onnxruntime"
        ) from error


def look_at_machine(trt: Any, cuda: Any) -> Machine:
    """Find out what engines of this machine depend on.

    Parameters
    ----------
    trt, cuda
        As ``import_runtime`` gives them.

    Raises
    ------
    EngineError
        There is no GPU.
    """
    try:
        cuda.init()
        device = cuda.Device(0)
        capability = ".".join(map(str, device.compute_capability()))
        name = str(device.name())
    except cuda.Error as error:
        raise EngineError(f"there is no GPU ({error}); set inference.runtime to onnxruntime") from error
    return Machine(str(trt.__version__), capability, _read(DEVICE_MODEL, name), _read(L4T_RELEASE, NONE))


def _read(path: Path, otherwise: str) -> str:
    try:
        content = path.read_text(errors="replace")
    except OSError:
        return otherwise
    return content.replace("\0", "").strip().partition("\n")[0].strip() or otherwise
