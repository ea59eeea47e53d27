"""What is told first, by the one table that says so; and each cue alone, on the simulated microscope, in its time."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.health import REASONS, HealthMonitor
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Frame, Image
from fnrbc_device.texts import GLANCES
from fnrbc_device.web.cues import ORDER, Cue, cues, gauge, glance, sentence

FPS = 30
SHAPE = (480, 640)
UM = 0.125


def told(*reasons: str, exposure: str = "too_dark") -> list[Cue]:
    health = HealthMonitor().snapshot("counting", 0.0)
    return cues(replace(health, reasons=reasons, exposure=exposure))  # type: ignore[arg-type]


def codes(*reasons: str, exposure: str = "too_dark") -> list[str]:
    return [cue.code for cue in told(*reasons, exposure=exposure)]


def test_every_reason_has_its_place_in_the_order_and_its_words() -> None:
    named = [cue.code for cue in ORDER]

    assert sorted(named) == sorted({*REASONS, "too_dark", "too_bright"} - {"exposure_drift"})
    assert [code for code in named if code not in GLANCES] == []
    assert all(len(glance(cue)) <= 24 and sentence(cue).endswith(".") for cue in ORDER)


@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        ("camera_lost", "focus_lost"),
        ("camera_black", "exposure_drift"),
        ("exposure_drift", "focus_lost"),
        ("focus_lost", "pan_too_fast"),
        ("focus_lost", "tracking_lost"),
        ("pan_too_fast", "tracking_lost"),
        ("objective_changed", "tracking_lost"),
        ("tracking_lost", "frames_dropped"),
        ("frames_dropped", "broker_away"),
        ("stain_out_of_domain", "broker_away"),
        ("broker_away", "clock_unsynced"),
    ],
)
def test_the_cause_is_told_before_its_effect_whatever_the_order_of_the_reasons(cause: str, effect: str) -> None:
    assert codes(cause, effect) == codes(effect, cause)
    assert codes(effect, cause)[1] == codes(effect)[0]


@pytest.mark.parametrize("side", ["too_dark", "too_bright"])
def test_a_lamp_that_is_wrong_is_told_with_its_side(side: str) -> None:
    assert codes("exposure_drift", exposure=side) == [side]


def test_a_reason_of_a_newer_device_is_told_last_and_stays_readable() -> None:
    known, new = told("brand_new", "clock_unsynced")

    assert (known.code, new.code) == ("clock_unsynced", "brand_new")
    assert (glance(new), sentence(new)) == ("brand new", "Brand new: the log says more.")


# --- on the simulated microscope -----------------------------------------------------------------------------------


BEFORE, DURING, AFTER = 15, 30, 30
N = BEFORE + DURING + AFTER
CAUSE = slice(BEFORE, BEFORE + DURING)


class Calm:
    """Calls every cell a leukocyte."""

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        return np.tile(np.array([[0.01, 0.98, 0.01]], np.float32), (len(crops), 1))

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Script:
    """What happens to the microscope frame by frame: well, then the cause, then well again."""

    steps_rc: NDArray[np.float64] = field(default_factory=lambda: calm())
    """(N, 2) px a frame."""
    exposure: float = 0.06
    defocus_px: float = 0.0
    light: float = 1.0
    dropped: int = 0
    """Frames that the machine leaves out for each that it takes."""


def calm(px: float = 4.0) -> NDArray[np.float64]:
    """A hand that pans slowly, to the right."""
    return np.tile([0.0, px], (N, 1))


def moving(px: float, degrees: float) -> NDArray[np.float64]:
    """Fast in a direction, and back every sixth frame, so that the place is never lost."""
    steps = calm()
    turns = np.where(np.arange(DURING) // 6 % 2 == 0, 1.0, -1.0)
    steps[CAUSE] = px * turns[:, None] * [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))]
    return steps


def leaping() -> NDArray[np.float64]:
    """Every sixth frame shows ground that the frame before it did not."""
    steps = calm()
    steps[CAUSE][::6] = [[400.0, 900.0], [400.0, -900.0]] * (DURING // 12) + [[-800.0, 0.0]] * (-(-DURING // 6) % 2)
    return steps


@pytest.fixture(scope="module")
def slide() -> SimulatedSlide:
    return SimulatedSlide.make(8, "giemsa", 60, UM)


def told_by_frame(slide: SimulatedSlide, script: Script) -> list[tuple[int, list[str]]]:
    """What the page would tell after each frame, if the daemon counted it the moment that it came."""
    microscope = scripted(slide, script)
    analyser = Analyser(UM, Calm(), load_bundle(None).manifest.model_copy(update={"second_look_from": None}))
    monitor, by_frame, before = HealthMonitor(), [], -1
    for index in range(N):
        happens = BEFORE <= index < BEFORE + DURING
        if happens and index - before <= script.dropped:
            continue
        dropped, before = index - before - 1, index
        step = analyser.analyse(Frame(index, index / FPS, microscope.image(index)))
        monitor.watch(step, index / FPS, index / FPS, dropped)
        health = monitor.snapshot("counting", index / FPS)
        now = cues(health)
        by_frame.append((index, [cue.code for cue in now]))
        if now and step.reason is not None and now[0].code != "tracking_lost":
            shown = gauge(now[0], step, health)
            assert shown is not None, (index, now[0])
            assert shown.bad, (index, now[0], shown)  # the bar says what the words say
    return by_frame


def scripted(slide: SimulatedSlide, script: Script) -> SimulatedMicroscope:
    span = np.array(slide.image.shape[:2]) - np.array(SHAPE) - 2.0
    along = (np.array([600.0, 900.0]) + np.cumsum(script.steps_rc, axis=0)) % (2 * span)
    path = np.where(along > span, 2 * span - along, along)  # turned back at the slide's edges
    optics = Optics(exposure=script.exposure, dust=3, focus_drift_px=0.02, light_drift=0.0)
    microscope = SimulatedMicroscope(slide, path, seed=4, frame_shape=SHAPE, optics=optics)
    microscope._focus = np.where(np.isin(np.arange(N), np.arange(N)[CAUSE]), script.defocus_px, 0.0)
    microscope._light = np.where(np.isin(np.arange(N), np.arange(N)[CAUSE]), script.light, 1.0)
    return microscope


SMEARED = {
    f"smeared by {px:.0f} px at {degrees} degrees": (Script(moving(px, degrees), exposure=0.6), "pan_too_fast")
    for px, degrees in ((35.0, 0), (60.0, 45), (60.0, 90), (35.0, 150))
}
CAUSES = {
    **SMEARED,
    "too fast though sharp": (Script(moving(75.0, 0), exposure=0.01), "pan_too_fast"),
    "out of focus at rest": (Script(calm(0.3), defocus_px=7.0), "focus_lost"),
    "out of focus while panning": (Script(calm(22.0), defocus_px=7.0), "focus_lost"),
    "far out of focus": (Script(calm(), defocus_px=14.0), "focus_lost"),
    "dark": (Script(light=0.1), "too_dark"),
    "bright": (Script(light=2.0), "too_bright"),
    "pushed on": (Script(leaping(), exposure=0.0), "tracking_lost"),
    "machine too slow": (Script(dropped=2), "frames_dropped"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_is_told_within_a_second_and_nothing_else_and_gone_a_second_after(
    slide: SimulatedSlide, name: str
) -> None:
    script, wanted = CAUSES[name]
    by_frame = told_by_frame(slide, script)

    first = {index: names[0] for index, names in by_frame if names}
    begin, end = BEFORE, BEFORE + DURING
    assert set(first.values()) == {wanted}
    assert begin <= min(first) < begin + FPS
    assert [index for index, _ in by_frame if min(first) <= index < end and index not in first] == []
    assert max(first) < end + FPS


def test_a_calm_hand_over_a_sharp_slide_is_told_nothing(slide: SimulatedSlide) -> None:
    assert [names for _, names in told_by_frame(slide, Script(calm(20.0))) if names] == []
