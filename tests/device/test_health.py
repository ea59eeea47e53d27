"""Health: what is wrong is said at once, stays long enough to be read, and goes."""

from dataclasses import replace

import numpy as np
import pytest

from fnrbc_device.daemon.status_board import About, StatusBoard
from fnrbc_device.health import FPS_WINDOW, HARMLESS, HELD_S, REASONS, REPEATS, HealthMonitor
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.systemd import Notifier
from fnrbc_device.mqtt.silent import SilentPublisher
from fnrbc_device.records import Frame, Pose, Rejection, Step, Tally
from fnrbc_device.web.snapshot import LiveView


def step(
    index: int = 0, reason: Rejection | None = None, island: int | None = 0, speed: float = 0.0, sharpness: float = 1.0
) -> Step:
    frame = Frame(index, index / 30, np.zeros((4, 4, 3), np.uint8))
    pose = None if island is None else Pose(island, 0.0, 0.0)
    return Step(frame, pose, reason, [], [], Tally(), speed, sharpness, {})


def watched(*steps: Step, dropped: int = 0) -> HealthMonitor:
    """A monitor that saw these, the last of them at 0 s."""
    monitor = HealthMonitor()
    for index, each in enumerate(steps):
        now_s = (index + 1 - len(steps)) / 30
        monitor.watch(each, now_s, now_s, dropped)
    return monitor


def test_nothing_wrong_is_counting_without_a_reason() -> None:
    health = watched(*(step(index) for index in range(5))).snapshot("counting", 0.0)

    assert (health.state, health.reasons) == ("counting", ())


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("too_fast", "pan_too_fast"),
        ("blurred", "focus_lost"),
        ("tracking_lost", "tracking_lost"),
        ("too_dark", "exposure_drift"),
        ("too_bright", "exposure_drift"),
        ("unreadable", "camera_incomplete"),
    ],
)
def test_a_rejected_frame_degrades_the_count_until_its_reason_has_been_read(reason: Rejection, said: str) -> None:
    monitor = watched(step(), step(1, reason))

    at_once, later, after = (monitor.snapshot("counting", now_s) for now_s in (0.0, 0.9 * HELD_S, 1.1 * HELD_S))

    assert (at_once.state, at_once.reasons) == ("degraded", (said,))
    assert (later.state, later.reasons) == ("degraded", (said,))
    assert (after.state, after.reasons) == ("counting", ())
    assert REASONS[said].cure.endswith(".")


@pytest.mark.parametrize("state", ["starting", "paused", "stopping", "fault"])
def test_only_counting_is_degraded(state: str) -> None:
    assert watched(step(0, "blurred")).snapshot(state, 0.0).state == state  # type: ignore[arg-type]


def test_a_new_island_says_that_the_place_was_lost() -> None:
    monitor = watched(step(0, island=0), step(1, island=0), step(2, island=1))

    assert monitor.snapshot("counting", 0.0).reasons == ("tracking_lost",)


def test_staying_on_an_island_is_not_said_again() -> None:
    monitor = watched(step(0, island=0), step(1, island=1))
    monitor.watch(step(2, island=1), 2 * HELD_S, 2 * HELD_S, 0)

    assert monitor.snapshot("counting", 2 * HELD_S).reasons == ()


@pytest.mark.parametrize(("hurried", "reasons"), [(False, ()), (True, ("pan_too_fast",))])
def test_the_hand_is_told_while_frames_are_still_used(hurried: bool, reasons: tuple[str, ...]) -> None:
    monitor = watched(replace(step(), hurried=hurried))

    assert monitor.snapshot("counting", 0.0).reasons == reasons


def test_a_camera_that_repeats_its_picture_is_frozen_after_half_a_second() -> None:
    few = watched(*(step(index, "repeated", None) for index in range(REPEATS - 1)))
    many = watched(*(step(index, "repeated", None) for index in range(REPEATS)))

    assert few.snapshot("counting", 0.0).reasons == ()
    assert many.snapshot("counting", 0.0).reasons == ("camera_frozen",)


def test_a_picture_repeated_now_and_then_is_no_frozen_camera() -> None:
    steps = [step(index, "repeated" if index % 5 else None) for index in range(100)]

    assert watched(*steps).snapshot("counting", 0.0).reasons == ()


@pytest.mark.parametrize(("dropped", "reasons"), [(0, ()), (1, ("frames_dropped",))])
def test_a_machine_that_drops_many_frames_cannot_keep_up(dropped: int, reasons: tuple[str, ...]) -> None:
    monitor = watched(*(step(index) for index in range(FPS_WINDOW)), dropped=dropped)

    assert monitor.snapshot("counting", 0.0).reasons == reasons


def test_what_no_frame_shows_can_be_noted() -> None:
    monitor = watched(step())
    monitor.note("broker_away", 0.0)

    assert monitor.snapshot("counting", 0.5).reasons == ("broker_away",)
    assert monitor.snapshot("counting", 1.1 * HELD_S).reasons == ()


def test_a_clock_that_nobody_holds_is_said_and_says_nothing_against_the_count() -> None:
    monitor = watched(step())
    monitor.note("clock_unsynced", 0.0)
    alone = monitor.snapshot("counting", 0.0)
    monitor.note("broker_away", 0.0)

    assert (alone.state, alone.reasons) == ("counting", ("clock_unsynced",))
    assert monitor.snapshot("counting", 0.0).state == "degraded"


def test_several_reasons_are_said_in_order() -> None:
    monitor = watched(step(0, "too_dark"), step(1, "blurred"))

    assert monitor.snapshot("counting", 0.0).reasons == ("exposure_drift", "focus_lost")


@pytest.mark.parametrize("fps", [5.0, 30.0])
def test_the_pace_is_that_of_the_frames(fps: float) -> None:
    monitor = HealthMonitor()
    for index in range(100):
        monitor.watch(step(index), index / fps, index / fps, 0)

    assert monitor.snapshot("counting", 100 / fps).fps == pytest.approx(fps)


def test_latency_is_from_the_camera_to_the_tally() -> None:
    monitor = HealthMonitor()
    for index in range(100):
        late_s = 0.200 if index >= 90 else 0.020
        monitor.watch(step(index), index / 30, index / 30 + late_s, 0)

    health = monitor.snapshot("counting", 4.0)

    assert health.latency_ms_p50 == pytest.approx(20.0)
    assert health.latency_ms_p95 == pytest.approx(200.0)


def test_before_the_first_frame_nothing_is_known() -> None:
    health = HealthMonitor().snapshot("starting", 0.0)

    assert (health.state, health.fps, health.latency_ms_p50, health.latency_ms_p95) == ("starting", 0.0, None, None)


def test_the_newest_speed_and_sharpness_are_told_within_their_bounds() -> None:
    health = watched(step(0), step(1, speed=42.0, sharpness=1.3)).snapshot("counting", 0.0)

    assert (health.pan_um_s, health.sharpness) == (42.0, 1.0)


def test_an_island_that_was_joined_to_an_older_one_is_no_loss() -> None:
    monitor = HealthMonitor()
    said = []
    for index, island in enumerate((0, 1, 0, 0, 2)):
        now_s = index * 2 * HELD_S
        monitor.watch(step(index, island=island), now_s, now_s, 0)
        said.append(monitor.snapshot("counting", now_s).reasons)

    assert said == [(), ("tracking_lost",), (), (), ("tracking_lost",)]


def test_results_that_wait_for_the_laboratorys_folder_are_said_and_say_nothing_against_the_count() -> None:
    waits = [True]
    about = About("bundle", False, 0.125)
    monitor, live = HealthMonitor(), LiveView()
    board = StatusBoard(about, live, SilentPublisher(), Notifier(), monitor, SystemClock(), lambda: waits[0])

    health = board.show(None, "running", "counting")

    assert "results_waiting" in health.reasons
    assert REASONS["results_waiting"].alarm
    assert {"results_waiting"} <= HARMLESS
    waits[0] = False
    assert "results_waiting" not in monitor.snapshot("counting", SystemClock().monotonic_s() + 2 * HELD_S).reasons
