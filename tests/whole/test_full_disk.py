"""A disk that fills up, a clock that jumps: the record stays whole, and says what was done about it."""

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from attended import PowerLost, power_lost
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.errors import ConfigError, DiskFullError
from fnrbc_device.host.disk_space import CLOSE_AT_BYTES, MB, RecordSettings, Reserve, room_bytes
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.session_state import SessionPlan
from fnrbc_device.web.snapshot import LiveView
from mortal import SHAPE, calm_path, recorded, standing

FRAMES = 100


class SteppedClock:
    """The time of day jumps once, after some looks at it; the monotonic clock does not."""

    def __init__(self, step: timedelta = timedelta(0), after: int = 0) -> None:
        self._step, self._after = step, after
        self._looks = 0

    def utc(self) -> datetime:
        self._looks += 1
        step = self._step if self._looks > self._after else timedelta(0)
        return datetime(2026, 3, 1, 12, tzinfo=timezone.utc) + timedelta(milliseconds=self._looks) + step

    def monotonic_s(self) -> float:
        return self._looks / 30

    def synchronised(self) -> bool:
        return True


@pytest.fixture(scope="module")
def slide() -> SimulatedSlide:
    return SimulatedSlide.make(78, "giemsa", 30)


@pytest.fixture
def setup_in(slide):
    def make(folder: Path, frames: int = FRAMES) -> Setup:
        microscope = SimulatedMicroscope(slide, calm_path(slide, frames), seed=7, frame_shape=SHAPE)
        return Setup(
            source=microscope,
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=folder / "journal.sqlite",
            mqtt=MqttSettings(enabled=False),
            live=LiveView(),
        )

    return make


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_changes_no_count(setup_in, tmp_path, hours):
    for name, clock in (("still", SteppedClock()), ("set", SteppedClock(timedelta(hours=hours), 40))):
        (tmp_path / name).mkdir()
        Daemon(setup_in(tmp_path / name, frames=60), clock).run(threading.Event())

    assert standing(tmp_path / "set") == standing(tmp_path / "still") != {}
    assert prove(tmp_path / "set" / "journal.sqlite").fault == ""
    monotonic = [at for (at,) in recorded(tmp_path / "set", "SELECT captured_at_s FROM frames ORDER BY frame")]
    assert monotonic == sorted(monotonic)


def test_two_sessions_of_one_moment_have_two_names(setup_in, tmp_path):
    for _ in range(3):
        Daemon(setup_in(tmp_path, frames=8), SteppedClock()).run(threading.Event())

    names = [name for (name,) in recorded(tmp_path, "SELECT session FROM sessions ORDER BY rowid")]
    assert names == ["s20260301-120000", "s20260301-120000-2", "s20260301-120000-3"]


@pytest.mark.parametrize(("hours", "begun"), [(-1, 1), (1, 1), (9, 2)])
def test_a_session_is_gone_on_with_unless_a_working_day_has_passed(setup_in, tmp_path, hours, begun):
    with power_lost(), pytest.raises(PowerLost):
        Daemon(setup_in(tmp_path, frames=40), SteppedClock()).run(threading.Event())
    assert recorded(tmp_path, "SELECT 1 FROM sessions WHERE ended_utc IS NOT NULL") == []

    Daemon(setup_in(tmp_path, frames=60), SteppedClock(timedelta(hours=hours))).run(threading.Event())

    sessions = recorded(tmp_path, "SELECT ended_utc IS NOT NULL, ending FROM sessions ORDER BY rowid")
    assert len(sessions) == begun
    assert all(ended for ended, _ in sessions)
    assert ("it was cut off at" in sessions[0][1]) == (begun == 2)
    assert prove(tmp_path / "journal.sqlite").fault == ""


def test_a_session_that_rests_on_something_else_is_ended_and_not_gone_on_with(setup_in, tmp_path):
    setup = setup_in(tmp_path)
    with Journal.open(setup.journal_path) as journal:
        journal.begin("s1", SteppedClock().utc(), replace(Daemon(setup)._meta(SessionPlan()), bundle="another"))

    Daemon(setup, SteppedClock()).run(threading.Event())

    ((ending,),) = recorded(tmp_path, "SELECT ending FROM sessions WHERE session = 's1'")
    assert ending.startswith("bundle was another and is ")


def test_without_room_no_session_begins(setup_in, tmp_path):
    setup = replace(setup_in(tmp_path), record=RecordSettings(least_free_mb=10**9))

    with pytest.raises(DiskFullError, match=r"MB are free .* below the limit of 1000000000 for a session; free some"):
        Daemon(setup).run(threading.Event())

    assert recorded(tmp_path, "SELECT * FROM sessions") == []


CHILD = """
import resource, sys
from pathlib import Path
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon import recorder
from fnrbc_device.errors import FnrbcError
import mortal
folder, limit, close_at = sys.argv[1:]
recorder.CLOSE_AT_BYTES = int(close_at)
recorder.Reserve.__init__.__defaults__ = (1_000_000,)
slide = SimulatedSlide.make(78, "giemsa", 30)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    mortal.run_daemon(slide, 400, Path(folder), "recording", least_free_mb=1)
except FnrbcError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def count_in(folder: Path, limit: int, close_at: int) -> subprocess.CompletedProcess[str]:
    helpers = str(Path(__file__).parents[1] / "helpers")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([helpers, *sys.path]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(folder), str(limit), str(close_at)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def assert_closed_properly(folder: Path, child: subprocess.CompletedProcess[str]) -> None:
    assert child.returncode == 1, child.stderr
    assert "MB are free" in child.stdout
    ((ended, complete, ending),) = recorded(folder, "SELECT ended_utc, complete, ending FROM sessions")
    assert ended
    assert complete == 0
    assert "MB are free" in ending
    assert len(standing(folder)) > 0
    assert prove(folder / "journal.sqlite").fault == ""


@pytest.mark.parametrize("close_at", [1_100_000, 0], ids=["in good time", "when the disk has refused"])
def test_a_session_that_meets_a_limit_on_files_is_closed_properly(tmp_path, close_at):
    assert_closed_properly(tmp_path, count_in(tmp_path, 1_500_000, close_at))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder]).returncode != 0:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("close_at", [2_000_000, 0], ids=["in good time", "when the disk has refused"])
def test_a_session_on_a_disk_that_others_fill_is_closed_properly(small_disk, close_at):
    def fill() -> None:
        """Take all but half a megabyte once the count is under way."""
        while not recorded(small_disk, "SELECT 1 FROM events LIMIT 1"):
            time.sleep(0.01)
        with contextlib.suppress(OSError), (small_disk / "others").open("wb", buffering=0) as file:
            while room_bytes(small_disk) > 300_000:
                file.write(bytes(100_000))

    others = threading.Thread(target=fill)
    others.start()
    child = count_in(small_disk, -1, close_at)
    others.join(30)

    assert_closed_properly(small_disk, child)


def test_the_reserve_is_held_once_and_given_back(tmp_path):
    reserve = Reserve(tmp_path, 3 * MB)

    assert reserve.hold()
    assert reserve.hold()
    assert [(path.name, path.stat().st_blocks * 512 >= 3 * MB) for path in tmp_path.iterdir()] == [("reserve", True)]
    reserve.give_up()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_that_does_not_fit_is_not_held_in_part(tmp_path):
    free = room_bytes(tmp_path)

    assert not Reserve(tmp_path, free + 10_000 * MB).hold()
    assert list(tmp_path.iterdir()) == []


def test_a_limit_on_files_counts_as_room(tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(bytes(1000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CLOSE_AT_BYTES, before[1]))
    try:
        assert room_bytes(tmp_path, [path]) == CLOSE_AT_BYTES - 1000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_cannot_be_written_is_said_as_such(setup_in, tmp_path):
    (tmp_path / "file").write_text("")
    setup = replace(setup_in(tmp_path), journal_path=tmp_path / "file" / "journal.sqlite")

    with pytest.raises(ConfigError, match="cannot be used"):
        Daemon(setup).run(threading.Event())
