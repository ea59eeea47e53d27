"""How the machine itself is: temperatures, throttling, memory and disk, from the system's own files."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYS: Final = Path("/sys")
PROC: Final = Path("/proc")
MB: Final = 1_000_000

CPU_ZONES: Final = ("cpu", "x86_pkg_temp")
GPU_ZONES: Final = ("gpu",)
"""How the types of thermal zones begin: ``cpu-thermal`` and ``gpu-thermal`` on an Orin, ``CPU-therm`` before."""

BRAKES: Final = ("throttle-alert", "cpufreq", "devfreq", "processor")
"""In the types of cooling devices that slow the machine down. Fans, backlights and hot-surface alerts do not."""

NO_SENSOR_C: Final = -200.0
"""Below, a zone's number is no temperature: sensors that sleep say -256 or -273."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the machine says of itself; None for what it does not say."""

    cpu_temp_c: float | None = None
    gpu_temp_c: float | None = None
    throttled: bool | None = None
    """Whether heat or current makes it slower just now."""
    mem_used_mb: float | None = None
    """Of the whole machine: on a Jetson, processor and GPU share it."""
    disk_free_mb: float | None = None
    exposure_ms: float | None = None
    """The camera's, as read back."""


def read_vitals(state_dir: Path, system: Path = SYS, proc: Path = PROC) -> Vitals:
    """Look at the machine; what cannot be read is None, and nothing is raised.

    Parameters
    ----------
    state_dir
        On the disk whose room counts.
    system, proc
        The kernel's file systems.

    Notes
    -----
    Zones and cooling devices are those of the kernel's documentation, ``driver-api/thermal/sysfs-api``.
    """
    zones = system / "class" / "thermal"
    return Vitals(
        cpu_temp_c=_hottest(zones, CPU_ZONES),
        gpu_temp_c=_hottest(zones, GPU_ZONES),
        throttled=_throttled(zones),
        mem_used_mb=_memory_used_mb(proc / "meminfo"),
        disk_free_mb=_disk_free_mb(state_dir),
    )


def hottest_c(system: Path = SYS) -> float | None:
    """Temperature of the machine's hottest zone; None where it does not tell."""
    return _hottest(system / "class" / "thermal", ("",))


def _hottest(zones: Path, types: tuple[str, ...]) -> float | None:
    found = [_number(zone / "temp") for zone, kind in _kinds(zones, "thermal_zone*") if kind.startswith(types)]
    celsius = [one / 1000 for one in found if one is not None and one / 1000 > NO_SENSOR_C]
    return max(celsius, default=None)


def _throttled(zones: Path) -> bool | None:
    devices = _kinds(zones, "cooling_device*")
    states = [_number(device / "cur_state") for device, kind in devices if any(brake in kind for brake in BRAKES)]
    known = [state for state in states if state is not None]
    return any(state > 0 for state in known) if known else None


def _kinds(folder: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    try:
        found = sorted(folder.glob(pattern))
    except OSError:  # no file descriptor is left, or the kernel shows none of this
        return
    for one in found:
        try:
            yield one, (one / "type").read_text().strip().lower()
        except (OSError, ValueError):
            continue


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # a zone whose sensor sleeps cannot be read
        return None


def _memory_used_mb(path: Path) -> float | None:
    """All memory less what programs could still have; the kernel's kB are 1024 bytes."""
    try:
        rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return (int(rows["MemTotal"].split()[0]) - int(rows["MemAvailable"].split()[0])) * 1024 / MB
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _disk_free_mb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / MB
    except OSError:
        return None
