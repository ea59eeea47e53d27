"""One frame's way to the count: every cell once, a bad frame costs a frame, the same frames give the same counts."""

from collections import Counter as Counts
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.cell import BEST_VIEWS
from fnrbc_device.counting.recount import recount
from fnrbc_device.errors import UsageError
from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import BadFrame, CountEvent, Frame, Image, Join, Mark, Step, Tally
from fnrbc_device.vision.registration import Registration

UM = 0.125
SMALL = (480, 640)
MANIFEST: Manifest = load_bundle(None).manifest.model_copy(update={"second_look_from": None})
"""Looked at once, so that what is asked can be counted; the second look has tests of its own."""
CLEAN = Optics(exposure=0.0, vignette=0.0, dust=0, focus_drift_px=0.0, light_drift=0.0, noise=2.0)


class ByDarkness:
    """Calls large nuclei leukocytes and small ones fNRBC; counts what it is asked."""

    def __init__(self) -> None:
        self.classes = MANIFEST.class_names
        self.asked = 0

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        self.asked += len(crops)
        dark = (crops[..., 1] < 110).mean(axis=(1, 2))
        target = 1 / (1 + np.exp(np.clip((dark - 0.055) * 400, -30, 30)))
        return np.stack([target, 0.98 * (1 - target), 0.02 * (1 - target)], axis=1).astype(np.float32)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Session:
    """A pan that was counted to its end."""

    microscope: SimulatedMicroscope
    analyser: Analyser
    classifier: ByDarkness
    steps: list[Step]
    events: list[CountEvent]

    @property
    def tally(self) -> Tally:
        return self.analyser.tally()


def counted(microscope: SimulatedMicroscope) -> Session:
    classifier = ByDarkness()
    analyser = Analyser(UM, classifier, MANIFEST)
    steps = [analyser.analyse(frame) for frame in iter(microscope.read, None)]
    events = [event for step in steps for event in step.events] + analyser.finish()
    return Session(microscope, analyser, classifier, steps, events)


def raster(slide: SimulatedSlide, shape: tuple[int, int], rows: int, step_px: float) -> np.ndarray:
    """Rows there and back, each with a rest at its end."""
    high, wide = (slide.image.shape[axis] - shape[axis] - 1.0 for axis in (0, 1))
    along = np.arange(0, wide, step_px)
    lines = [(row, along if index % 2 == 0 else along[::-1]) for index, row in enumerate(np.linspace(0, high, rows))]
    way = [np.array([(row, col) for col in line]) for row, line in lines]
    path = []
    for index, line in enumerate(way):
        path += [line, np.repeat(line[-1:], 3, 0)]
        if index + 1 < len(way):
            path.append(np.linspace(line[-1], way[index + 1][0], int(abs(high) / rows / step_px) + 4)[1:-1])
    return np.concatenate(path)


@pytest.fixture(scope="module", params=[(11, "giemsa"), (12, "he")], ids=["giemsa", "he"])
def session(request: pytest.FixtureRequest) -> Session:
    """A whole slide of 60 cells, panned row by row at the camera's own size, with all faults of its optics."""
    seed, look = request.param
    slide = SimulatedSlide.make(seed, look, 60, UM)
    path = raster(slide, (960, 1280), 3, 40.0)
    return counted(SimulatedMicroscope(slide, path, seed=seed, optics=Optics(focus_drift_px=0.02)))


def pan(seed: int = 3, frames: int = 25, step: tuple[float, float] = (6.0, 32.0)) -> SimulatedMicroscope:
    """A short pan in small frames."""
    slide = SimulatedSlide.make(seed, "giemsa", 60, UM)
    path = np.array([200.0, 300.0]) + np.arange(frames)[:, None] * np.array(step)
    return SimulatedMicroscope(slide, path, seed=seed, frame_shape=SMALL, optics=CLEAN)


def apart_um(session: Session) -> NDArray[np.float64]:
    """(cells counted, true cells) distances."""
    truth = np.array([(cell.row_px, cell.col_px) for cell in session.microscope.slide.truth])
    found = np.array([(cell.row_px, cell.col_px) for cell in session.analyser.cells()]) + session.microscope.path[0]
    return UM * np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1))


def test_a_whole_slide_is_counted_without_doubles_and_without_loss(session: Session) -> None:
    apart, sharp = apart_um(session), session.microscope.times_sharp() >= 3
    owned = np.bincount(apart.argmin(axis=1)[apart.min(axis=1) <= 3.0], minlength=len(sharp))

    assert sharp.mean() > 0.9
    assert owned.max() == 1
    assert (owned[sharp] == 1).mean() >= 0.99
    assert (apart.min(axis=1) > 5.0).sum() <= 4  # overlapping red cells, as dark as a nucleus, and dust


def test_a_pan_that_never_loses_its_place_is_one_island(session: Session) -> None:
    assert session.tally.islands == 1
    assert session.tally.frames_used > 0.9 * session.tally.frames


def test_the_frames_lie_where_the_hand_led_them(session: Session) -> None:
    path = session.microscope.path
    used = [(step.frame.index, step.pose) for step in session.steps if step.pose and step.reason is None]
    found = np.array([(pose.row_px, pose.col_px) for _, pose in used])

    errors = found - (path - path[0])[[index for index, _ in used]]
    assert np.hypot(*errors.T).max() <= 8.0  # 1 um: a third of what tells two cells apart


def test_no_cell_is_counted_twice_without_being_retracted_between(session: Session) -> None:
    events = Counts((event.event, event.cell) for event in session.events)

    assert max(events.values()) == 1


def test_the_network_sees_a_counted_cell_at_most_three_times(session: Session) -> None:
    counts = sum(event.event == "counted" for event in session.events)

    assert 0 < session.classifier.asked <= BEST_VIEWS * counts


def test_the_tally_is_the_recount_of_the_events(session: Session) -> None:
    tally, again = session.tally, recount(session.events)

    for name in ("cells", "fnrbc", "leukocytes", "other", "indeterminate", "fnrbc_per_100_leukocytes"):
        assert getattr(tally, name) == getattr(again, name)
    assert tally.cells == len(list(session.analyser.cells()))
    assert tally.cells_open == 0


def test_each_steps_tally_is_the_sum_of_the_events_so_far(session: Session) -> None:
    events: list[CountEvent] = []
    for step in session.steps:
        events += step.events
        assert step.tally.cells == recount(events).cells


def test_most_cells_are_counted_while_they_are_still_in_view(session: Session) -> None:
    reasons = Counts(event.reason for event in session.events)

    assert reasons["evidence complete"] > 0.8 * len(session.events)


def test_the_area_seen_is_the_slide(session: Session) -> None:
    path, shape = session.microscope.path, session.microscope.frame_shape
    seen = np.prod(path.max(axis=0) - path.min(axis=0) + shape) * UM**2 / 1e6

    assert session.tally.unique_area_mm2 == pytest.approx(seen, rel=0.05)


def test_every_frame_says_what_each_stage_took(session: Session) -> None:
    for step in session.steps:
        assert tuple(step.stages_ms) == STAGES
        assert all(took >= 0 for took in step.stages_ms.values())
    assert sum(step.stages_ms["segmentation"] for step in session.steps) > 0


def test_marks_follow_the_cells_in_the_frame(session: Session) -> None:
    truth = np.array([(cell.row_px, cell.col_px) for cell in session.microscope.slide.truth])
    marked = [
        np.hypot(*(truth - session.microscope.path[step.frame.index] - (mark.row_px, mark.col_px)).T).min() * UM
        for step in session.steps
        for mark in step.marks
    ]

    assert len(marked) > 500
    assert np.mean(np.array(marked) <= 2.0) > 0.9  # the rest is drawn where red cells overlap, or dust lies


def as_recorded(events: list[CountEvent]) -> list[tuple[object, ...]]:
    return [(e.event, e.cell, e.verdict, e.row_px, e.col_px, e.views, e.best_frame, e.reason) for e in events]


def test_the_same_frames_give_the_same_events() -> None:
    first, second = counted(pan()), counted(pan())

    assert first.events
    assert as_recorded(first.events) == as_recorded(second.events)
    assert first.tally == second.tally


def test_a_bad_frame_costs_that_frame_only() -> None:
    whole = counted(pan())
    microscope, classifier = pan(), ByDarkness()
    analyser = Analyser(UM, classifier, MANIFEST)

    reasons = []
    for frame in iter(microscope.read, None):
        if frame.index == 10:
            broken = BadFrame(10, frame.captured_at_s, "unreadable", "000010.jpg is cut off")
            reasons.append(analyser.analyse(broken).reason)
        else:
            reasons.append(analyser.analyse(frame).reason)
    analyser.finish()

    assert Counts(reasons) == {None: 24, "unreadable": 1}
    assert analyser.tally().frames_rejected == {"unreadable": 1}
    assert analyser.tally().cells == whole.tally.cells


def test_a_frame_of_another_size_is_rejected_and_the_count_goes_on() -> None:
    analyser = Analyser(UM, ByDarkness(), MANIFEST)
    frames = list(iter(pan(frames=4).read, None))
    odd = Frame(99, 1.0, frames[0].image[:-2])

    reasons = [analyser.analyse(frame).reason for frame in (*frames[:2], odd, *frames[2:])]

    assert reasons == [None, None, "wrong_size", None, None]


def test_what_a_frame_counted_is_told_and_in_the_tally_though_it_fails_after(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a strange picture")

    monkeypatch.setattr("fnrbc_device.counting.analyser.marks_of", broken)
    analyser = Analyser(UM, ByDarkness(), MANIFEST)
    steps = [analyser.analyse(frame) for frame in iter(pan(frames=40).read, None)]
    told = [event for step in steps for event in step.events]

    assert {step.reason for step in steps} == {"failed"}
    assert told
    assert {event.cell for event in told} == {cell.number for cell in analyser.cells()}
    assert steps[-1].tally.cells == len(told)


def test_a_repeated_a_dark_and_an_empty_frame_are_each_rejected_with_their_reason() -> None:
    analyser = Analyser(UM, ByDarkness(), MANIFEST)
    first, second, third = iter(pan(frames=3).read, None)
    again = Frame(10, 0.5, first.image.copy())
    dark = Frame(11, 0.6, (second.image * 0.1).astype(np.uint8))
    empty = Frame(12, 0.7, np.full((*SMALL, 3), 235, np.uint8))

    reasons = [analyser.analyse(frame).reason for frame in (first, again, second, dark, empty, third)]

    assert reasons == [None, "repeated", None, "too_dark", "tracking_lost", None]
    assert analyser.tally().islands == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 640), (3, 3), (20, 9)])
@pytest.mark.parametrize("still", [False, True])
def test_a_picture_of_a_few_pixels_ends_nothing(shape: tuple[int, int], still: bool) -> None:
    analyser = Analyser(UM, ByDarkness(), MANIFEST, still=still)
    rng = np.random.default_rng(0)

    for index in range(3):
        step = analyser.analyse(Frame(index, index / 30, rng.integers(0, 256, (*shape, 3), dtype=np.uint8)))
        assert step.reason != "failed"
    analyser.finish()

    assert analyser.tally().frames == 3


@pytest.mark.parametrize("look", ["giemsa", "he"])
def test_a_single_picture_of_any_size_is_counted_as_it_is(look: str) -> None:
    slide = SimulatedSlide.make(4, look, 60, UM)  # type: ignore[arg-type]
    classifier = ByDarkness()
    analyser = Analyser(UM, classifier, MANIFEST, still=True)

    analyser.analyse(Frame(0, 0.0, slide.image))
    analyser.finish()

    truth = np.array([(cell.row_px, cell.col_px) for cell in slide.truth])
    found = np.array([(cell.row_px, cell.col_px) for cell in analyser.cells()])
    nearest = UM * np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1)).min(axis=0)
    whole = [cell.box_rc[0] > 8 and cell.box_rc[1] > 8 for cell in slide.truth]
    assert (nearest[whole] <= 3.0).mean() >= 0.98
    assert analyser.tally().cells == len(found) == classifier.asked
    assert (analyser.tally().frames_used, analyser.tally().cells_open) == (1, 0)


def test_without_a_frame_there_is_nothing() -> None:
    analyser = Analyser(UM, ByDarkness(), MANIFEST)

    assert analyser.finish() == []
    assert analyser.tally() == Tally()
    assert list(analyser.cells()) == []


def test_frames_that_the_live_view_passed_over_are_counted() -> None:
    analyser = Analyser(UM, ByDarkness(), MANIFEST)

    for frames in (3, 2):
        analyser.drop(frames)

    assert analyser.tally().frames_dropped == 5


@pytest.mark.parametrize("pixel_size_um", [0.0, -0.1, 0.009, 1.01, float("nan"), float("inf")])
def test_a_pixel_size_of_no_microscope_is_refused(pixel_size_um: float) -> None:
    with pytest.raises(UsageError, match=r"outside 0\.01\.\.1\.0; divide the camera's pixel by the magnification"):
        Analyser(pixel_size_um, ByDarkness(), MANIFEST)


def test_the_speed_of_the_hand_is_told() -> None:
    steps = counted(pan(step=(0.0, 30.0))).steps

    assert np.median([step.speed_um_s for step in steps[1:]]) == pytest.approx(30.0 * UM * 30.0, rel=0.05)


@pytest.mark.parametrize(("step_px", "hurried"), [(24.0, False), (64.0, True)])
def test_a_hand_that_pans_too_fast_is_told_while_its_frames_still_count(step_px: float, hurried: bool) -> None:
    steps = counted(pan(frames=14, step=(0.0, step_px))).steps

    assert all(step.reason is None for step in steps)
    assert [step.hurried for step in steps[2:]] == [hurried] * 12


JUMPED = Optics(exposure=0.0, focus_drift_px=0.0)


@pytest.fixture(scope="module")
def lost_and_found() -> Session:
    """A hand that lets go twice: onto new ground, and back to where it began, half a field aside."""
    slide = SimulatedSlide.make(31, "giemsa", 200, UM)
    starts = np.array([(80.0, 100.0), (1400.0, 1900.0), (300.0, 250.0)])
    path = np.concatenate([start + np.arange(8)[:, None] * (10.0, 40.0) for start in starts])
    return counted(SimulatedMicroscope(slide, path, seed=31, optics=JUMPED))


def test_every_jump_is_noticed_in_its_first_frame(lost_and_found: Session) -> None:
    islands = [step.pose.island for step in lost_and_found.steps if step.pose]

    assert (islands[7], islands[8], islands[16]) == (0, 1, 2)


def test_ground_that_is_found_again_is_joined_at_the_right_place(lost_and_found: Session) -> None:
    (join,) = [join for step in lost_and_found.steps for join in step.joins]

    assert (join.island, join.into) == (2, 0)
    assert (join.row_px, join.col_px) == pytest.approx((220.0, 150.0), abs=1.0)
    assert lost_and_found.tally.islands == 2


def test_a_join_is_told_though_its_frame_fails_after(
    lost_and_found: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Join] = []
    real = Registration.join

    def noted(registration: Registration, join: Join) -> None:
        made.append(join)
        real(registration, join)

    def broken(*_: object, **__: object) -> list[Mark]:
        if made and not told:
            raise ValueError("a strange picture")
        return []

    monkeypatch.setattr(Registration, "join", noted)
    monkeypatch.setattr("fnrbc_device.counting.analyser.marks_of", broken)
    microscope, analyser = lost_and_found.microscope, Analyser(UM, ByDarkness(), MANIFEST)
    told: list[Step] = []
    for frame in iter(
        SimulatedMicroscope(microscope.slide, microscope.path, seed=31, optics=JUMPED).read, None
    ):
        step = analyser.analyse(frame)
        told += [step] if step.joins else []

    assert [(step.reason, step.joins) for step in told] == [("failed", tuple(made))]
    assert analyser.tally().cells == len(list(analyser.cells()))


def test_what_was_counted_on_both_islands_stands_once(lost_and_found: Session) -> None:
    tally, again = lost_and_found.tally, recount(lost_and_found.events)
    origin = {0: lost_and_found.microscope.path[0], 1: lost_and_found.microscope.path[8]}
    cells = list(lost_and_found.analyser.cells())
    places = np.array([(cell.row_px, cell.col_px) for cell in cells]) + [origin[cell.island] for cell in cells]

    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 1e6 * np.eye(len(places))
    assert apart.min() * UM > 3.0
    assert tally.cells == again.cells == len(cells)
    reasons = [event.reason for event in lost_and_found.events if event.event == "retracted"]
    assert all("islands 2 and 0 are one" in reason for reason in reasons)


def test_the_same_frames_give_the_same_ledger_bit_for_bit(lost_and_found: Session) -> None:
    microscope = lost_and_found.microscope
    again = counted(SimulatedMicroscope(microscope.slide, microscope.path, seed=31, optics=JUMPED))

    assert again.events == lost_and_found.events
    assert [step.joins for step in again.steps] == [step.joins for step in lost_and_found.steps]
    states = [
        [(c.number, c.island, c.row_px, c.col_px, c.views, c.misses) for c in one.analyser.ledger.cells()]
        for one in (again, lost_and_found)
    ]
    assert states[0] == states[1]
