"""What the machine says of itself, read from files as a Jetson, a laptop and a container have them."""

import resource
from contextlib import ExitStack, suppress

import pytest

from fnrbc_device.host.vitals import Vitals, hottest_c, read_vitals


@pytest.fixture
def machine(tmp_path):
    """Makes the kernel's files: zones as (type, millidegrees), cooling devices as (type, state)."""

    def make(zones=(), devices=(), meminfo=None):
        thermal = tmp_path / "sys" / "class" / "thermal"
        for name, value, rows in (("thermal_zone", "temp", zones), ("cooling_device", "cur_state", devices)):
            for number, (kind, content) in enumerate(rows):
                folder = thermal / f"{name}{number}"
                folder.mkdir(parents=True)
                (folder / "type").write_text(f"{kind}\n")
                (folder / value).write_text(f"{content}\n")
        (tmp_path / "proc").mkdir()
        if meminfo is not None:
            (tmp_path / "proc" / "meminfo").write_text(meminfo)
        return tmp_path / "sys", tmp_path / "proc"

    return make


MEMINFO = "MemTotal:        7800000 kB\nMemFree:          300000 kB\nMemAvailable:    2800000 kB\n"
ORIN = [("cpu-thermal", 51_250), ("gpu-thermal", 48_500), ("soc0-thermal", 50_000), ("tj-thermal", 52_000)]


@pytest.mark.parametrize("names", [("cpu-thermal", "gpu-thermal"), ("CPU-therm", "GPU-therm")])
def test_a_jetson_tells_all_of_it_under_the_names_of_each_release(machine, tmp_path, names):
    zones = [(names[0], 51_250), (names[1], 48_500)]
    vitals = read_vitals(tmp_path, *machine(zones, [("pwm-fan", 3), ("cpu-throttle-alert", 0)], MEMINFO))

    assert (vitals.cpu_temp_c, vitals.gpu_temp_c, vitals.throttled) == (51.25, 48.5, False)
    assert vitals.mem_used_mb == pytest.approx(5120.0)
    assert vitals.disk_free_mb > 0


@pytest.mark.parametrize(
    ("devices", "throttled"),
    [
        ([("pwm-fan", 4), ("hot-surface-alert", 1)], None),
        ([("pwm-fan", 4), ("gpu-throttle-alert", 1)], True),
        ([("cpufreq-cpu0", 0), ("devfreq-17000000.gpu", 2)], True),
        ([("Processor", 0), ("Processor", 0), ("LCD", 7)], False),
        ([("Processor", "")], None),
    ],
)
def test_a_machine_is_throttled_where_something_slows_it_not_where_a_fan_turns(machine, tmp_path, devices, throttled):
    assert read_vitals(tmp_path, *machine(devices=devices)).throttled is throttled


def test_a_sensor_that_sleeps_or_lies_tells_nothing(machine, tmp_path):
    system, proc = machine([("cpu-thermal", ""), ("cpu-thermal", -256_000), ("gpu-thermal", "N/A")])

    vitals = read_vitals(tmp_path, system, proc)
    assert (vitals.cpu_temp_c, vitals.gpu_temp_c) == (None, None)


def test_the_hottest_of_several_counts(machine):
    system, _ = machine([*ORIN, ("x86_pkg_temp", 61_000)])

    assert hottest_c(system) == 61.0


def test_a_machine_that_tells_nothing_costs_nothing(tmp_path):
    nowhere = tmp_path / "nowhere"

    assert read_vitals(nowhere, nowhere, nowhere) == Vitals()
    assert hottest_c(nowhere) is None


@pytest.mark.parametrize("meminfo", ["", "MemTotal: x kB\nMemAvailable: 1 kB\n", "MemTotal:\nMemAvailable:\n", "\x00"])
def test_odd_memory_files_tell_nothing(machine, tmp_path, meminfo):
    assert read_vitals(tmp_path, *machine(meminfo=meminfo)).mem_used_mb is None


def test_without_a_file_descriptor_left_nothing_is_told_and_nothing_raised(machine, tmp_path):
    folders = machine(ORIN, [("cpu-throttle-alert", 1)], MEMINFO)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as taken:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[0]), limits[1]))
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):
            while True:
                taken.enter_context(open("/dev/null"))  # noqa: PTH123 - a Path would need one more
        vitals = read_vitals(tmp_path, *folders)
        hottest = hottest_c(folders[0])

    assert (vitals.cpu_temp_c, vitals.gpu_temp_c, vitals.throttled, vitals.mem_used_mb, hottest) == (None,) * 5
    assert read_vitals(tmp_path, *folders).throttled is True
