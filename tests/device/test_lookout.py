"""Which frames are looked at: those that show something new, and so the same is counted as where every frame is."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.ground import BLURRED, ENOUGH, REMEMBERED
from fnrbc_device.counting.ledger import SURE_LOOKS, Ledger
from fnrbc_device.counting.lookout import (
    DOUBTFUL,
    EVERY,
    FIRST_EVERY,
    FIRST_LOOKS,
    KNOWN_STEP_SHARE,
    SHARPER,
    SLOWER,
    SPAN_UM,
    STEP_SHARE,
    Lookout,
)
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Detection, Frame, Join, Pose

UM = 0.125
FRAME = (960, 1280)
"""120 x 160 um."""
STEP_UM = STEP_SHARE * 160
SLIDE_UM = 0.2
SHAPE = (480, 640)
NOWHERE = np.zeros((0, 2))


def looked(
    lookout: Lookout,
    col_um: float,
    island: int = 0,
    open_rc: np.ndarray = NOWHERE,
    *,
    sharpness: float = 0.8,
    correlation: float = 1.0,
    anew: bool = False,
    disputed: bool = False,
    frame: tuple[int, int] = FRAME,
) -> bool:
    pose = Pose(island, 0.0, col_um / UM)
    chosen = lookout.chooses(
        pose, frame, open_rc, sharpness=sharpness, correlation=correlation, anew=anew, disputed=lambda: disputed
    )
    if chosen:
        lookout.note(pose, sharpness)
    return chosen


def settled() -> Lookout:
    """One that has looked often enough at one place, and last there."""
    lookout = Lookout(UM, everything=False)
    looks = [looked(lookout, 0.0) for _ in range(FIRST_EVERY * (FIRST_LOOKS - 1) + 1)]
    assert looks[::FIRST_EVERY] == [True] * FIRST_LOOKS
    return lookout


def test_a_resting_hand_costs_a_look_now_and_then() -> None:
    lookout = settled()
    tremble = np.random.default_rng(1).uniform(-1, 1, 200) * SPAN_UM / 4

    looks = sum(looked(lookout, um) for um in tremble)

    assert 200 // EVERY[1] <= looks <= 200 // EVERY[0]


def test_a_frame_is_looked_at_at_each_step_of_a_steady_hand() -> None:
    lookout = settled()

    looks = [um for um in np.arange(0.0, 300.0, STEP_UM / 4 + 0.01) if looked(lookout, um)]

    assert looks == pytest.approx([(STEP_UM + 0.04) * step for step in range(1, 12)])


def test_a_small_field_is_looked_at_in_smaller_steps() -> None:
    lookout, small = settled(), (240, 320)
    step_um = STEP_SHARE * 320 * UM

    looks = [um for um in np.arange(1.0, 40.0) if looked(lookout, um, frame=small)]

    assert looks == [np.ceil(step_um) * step for step in range(1, len(looks) + 1)] != []


def test_every_frame_of_a_fast_hand_is_looked_at() -> None:
    lookout = settled()

    assert all(looked(lookout, um) for um in np.arange(1, 20) * (STEP_UM + 1))


@pytest.mark.parametrize("beyond_um", [0.0, -0.5])
def test_where_the_hand_halts_or_turns_it_is_looked_at(beyond_um: float) -> None:
    lookout = settled()
    farthest = STEP_UM - 1

    assert not looked(lookout, farthest)
    assert looked(lookout, farthest + beyond_um)


@pytest.mark.parametrize(("kept", "chosen"), [(SLOWER - 0.1, True), (SLOWER + 0.1, False)])
def test_where_the_hand_is_about_to_halt_it_is_looked_at(kept: float, chosen: bool) -> None:
    lookout, moved_um = settled(), STEP_UM / 3

    assert not looked(lookout, moved_um)
    assert looked(lookout, (1 + kept) * moved_um) == chosen


@pytest.mark.parametrize(
    ("before_um", "now_um", "turned"),
    [(6.0, 5.5, True), (6.0, 6.5, False), (-6.0, -5.5, True), (SPAN_UM / 2, 0.0, False)],
    ids=["back", "on", "back, the other way", "a tremble"],
)
def test_where_the_hand_turned_the_frame_before_shows_most(before_um: float, now_um: float, turned: bool) -> None:
    lookout = settled()

    assert not looked(lookout, before_um)
    assert lookout.turned(Pose(0, 0.0, now_um / UM)) == turned


def test_where_the_hand_turns_a_corner_it_is_looked_at() -> None:
    lookout = settled()
    corner = (STEP_UM - 4) / UM

    def chosen(row_px: float, col_px: float) -> bool:
        return lookout.chooses(
            Pose(0, row_px, col_px), FRAME, NOWHERE, sharpness=0.8, correlation=1.0, anew=False, disputed=lambda: False
        )

    assert not chosen(0.0, corner)
    assert chosen(3.0 / UM, corner)


@pytest.mark.parametrize("why", ["anew", "doubt", "island", "sharper"])
def test_a_frame_is_looked_at_where_something_is_not_sure(why: str) -> None:
    cell = np.array([[480.0, 640.0]])

    assert looked(
        settled(),
        1.0,
        island=int(why == "island"),
        open_rc=cell,
        sharpness=0.8 + SHARPER * (why == "sharper"),
        correlation=DOUBTFUL - 0.1 if why == "doubt" else 1.0,
        anew=why == "anew",
    )


@pytest.mark.parametrize(("away_um", "chosen"), [(SPAN_UM - 0.5, False), (SPAN_UM + 0.5, True)])
def test_a_look_from_the_same_place_decides_no_dispute(away_um: float, chosen: bool) -> None:
    lookout = settled()
    looked(lookout, 0.0)

    assert looked(lookout, away_um, disputed=True) == chosen


def test_a_long_dispute_leaves_frames_between_its_votes_that_have_the_time_for_them() -> None:
    lookout = settled()

    looks = [looked(lookout, float(um), disputed=True) for um in np.arange(1, 21) * (SPAN_UM + 0.1)]

    assert looks == [False, True] * 10


def test_a_dispute_holds_up_no_look_that_something_else_asks_for() -> None:
    lookout = settled()

    assert all(looked(lookout, float(um), disputed=True) for um in np.arange(1, 11) * (STEP_UM + 1))


def there_and_back(lookout: Lookout, open_rc: np.ndarray = NOWHERE) -> list[float]:
    """Where it looked when the hand goes over ground again that it has just gone over, without a halt."""
    turn_um = 3 * STEP_UM
    for um in np.linspace(0.0, turn_um, 30):
        lookout.note(Pose(0, 0.0, um / UM), 0.8)
    return [um for um in np.linspace(turn_um, 0.0, EVERY[0]) if looked(lookout, um, open_rc=open_rc)]


def test_ground_that_was_looked_at_often_enough_is_not_looked_at_again() -> None:
    assert there_and_back(settled()) == []


def test_a_cell_that_is_not_settled_is_looked_at_on_such_ground_too() -> None:
    assert len(there_and_back(settled(), open_rc=np.array([[480.0, 640.0]]))) == 2


def test_known_ground_is_looked_at_again_when_the_hand_has_gone_on_by_most_of_a_field() -> None:
    lookout, wide_um = settled(), 160.0
    ground = np.arange(0.0, 3 * wide_um, STEP_UM)
    for um in (*np.repeat(ground, 3), *np.repeat(ground[::-1], 3)):
        lookout.note(Pose(0, 0.0, um / UM), 0.8)
    step_um = KNOWN_STEP_SHARE * wide_um

    looks = [um for um in np.arange(10.0, 2 * wide_um, 10.0) if looked(lookout, um)]

    assert looks == [step_um, 2 * step_um]


def test_a_strip_beside_known_ground_is_looked_at() -> None:
    lookout = settled()

    assert not any(looked(lookout, 0.0, sharpness=1.0) for _ in range(3))
    assert not lookout.may_gain(Pose(0, 0.0, 1.0 / UM), FRAME, NOWHERE, 0.8)
    assert lookout.may_gain(Pose(0, 0.0, 5.0 / UM), FRAME, NOWHERE, 0.8)
    assert lookout.may_gain(Pose(1, 0.0, 0.0), FRAME, NOWHERE, 0.8)


JOIN = Join(island=1, into=0, row_px=0.0, col_px=300.0 / UM)


def test_ground_of_an_island_that_is_part_of_an_older_one_is_known_there() -> None:
    lookout = settled()
    for _ in range(ENOUGH):
        lookout.note(Pose(1, 0.0, 0.0), 0.8)

    lookout.join(JOIN)

    assert not lookout.may_gain(Pose(0, 0.0, 300.0 / UM), FRAME, NOWHERE, 0.8)
    assert not lookout.may_gain(Pose(0, 0.0, 0.0), FRAME, NOWHERE, 0.8)
    assert lookout.may_gain(Pose(0, 0.0, 600.0 / UM), FRAME, NOWHERE, 0.8)
    assert lookout.may_gain(Pose(1, 0.0, 0.0), FRAME, NOWHERE, 0.8)


def test_where_islands_are_joined_the_hand_goes_on_from_the_last_look() -> None:
    lookout, um = settled(), STEP_UM / 3
    for _ in range(FIRST_LOOKS):
        lookout.note(Pose(1, 0.0, 0.0), 0.8)
    assert not looked(lookout, um, island=1)

    lookout.join(JOIN)

    assert lookout.turned(Pose(0, 0.0, (300.0 + 0.5 * um) / UM))
    assert not looked(lookout, 300.0 + 2 * um)
    assert looked(lookout, 300.0 + 3 * um + 0.01)


def test_a_join_of_other_islands_moves_no_look() -> None:
    lookout = settled()

    lookout.join(Join(island=2, into=1, row_px=0.0, col_px=300.0 / UM))

    assert not lookout.may_gain(Pose(0, 0.0, 0.0), FRAME, NOWHERE, 0.8)
    assert not looked(lookout, 0.0)


def test_what_was_looked_at_for_something_else_is_new_again() -> None:
    lookout = settled()

    looked(lookout, 0.0, anew=True)

    assert lookout.may_gain(Pose(0, 0.0, 0.0), FRAME, NOWHERE, 0.8)


def test_that_is_so_too_where_the_hand_is_on_another_island_by_then() -> None:
    lookout = settled()

    looked(lookout, 0.0, island=1, anew=True)

    assert lookout.may_gain(Pose(0, 0.0, 0.0), FRAME, NOWHERE, 0.8)


@pytest.mark.parametrize("frame", [(64, 64), (1, 640), (95, 97), (96, 1280), (120, 160)])
def test_a_frame_that_holds_hardly_a_cell_has_ground_all_the_same(frame: tuple[int, int]) -> None:
    lookout, here = settled(), Pose(0, 0.0, 0.0)

    assert not lookout.may_gain(here, frame, NOWHERE, 0.8)
    assert lookout.may_gain(Pose(0, frame[0] / 2, frame[1] / 2), frame, NOWHERE, 0.8)
    assert lookout.may_gain(Pose(1, 0.0, 0.0), frame, NOWHERE, 0.8)


def test_ground_that_only_blurred_looks_showed_is_new_to_a_sharp_frame() -> None:
    lookout, here = settled(), Pose(0, 0.0, 0.0)

    assert not lookout.may_gain(here, FRAME, NOWHERE, 0.8 + BLURRED / 2)
    assert lookout.may_gain(here, FRAME, NOWHERE, 0.8 + BLURRED)


def test_what_was_looked_at_long_ago_is_new_again() -> None:
    lookout = settled()
    for number in range(REMEMBERED):
        assert not lookout.may_gain(Pose(0, 0.0, 0.0), FRAME, NOWHERE, 0.8) or number > REMEMBERED - FIRST_LOOKS
        lookout.note(Pose(0, 0.0, 1000.0 / UM), 0.8)

    assert lookout.may_gain(Pose(0, 0.0, 0.0), FRAME, NOWHERE, 0.8)
    assert not lookout.may_gain(Pose(0, 0.0, 1000.0 / UM), FRAME, NOWHERE, 0.8)


def test_a_sharper_frame_is_looked_at_only_for_a_cell_that_is_not_settled() -> None:
    assert not looked(settled(), 1.0, sharpness=1.0)


def test_a_cell_that_leaves_before_the_next_step_gets_its_views() -> None:
    leaving, staying, coming = (np.array([[480.0, um / UM]]) for um in (STEP_UM, 80.0, 158.0))
    way_um = SPAN_UM + 0.5

    assert looked(settled(), way_um, open_rc=leaving)
    assert not looked(settled(), way_um, open_rc=staying)
    assert not looked(settled(), way_um, open_rc=coming)


def test_of_an_islands_first_frames_every_second_one_is_looked_at() -> None:
    lookout = settled()

    looks = [looked(lookout, 0.0, island=1) for _ in range(FIRST_EVERY * FIRST_LOOKS + 1)]

    assert looks == [True, False] * FIRST_LOOKS + [False]


def test_of_an_islands_first_frames_every_one_is_looked_at_where_the_hand_is_fast() -> None:
    lookout = settled()

    assert all(looked(lookout, 1.01 * STEP_UM * frame, island=1) for frame in range(FIRST_LOOKS + 2))


def test_where_everything_is_wanted_every_frame_is_looked_at() -> None:
    lookout = Lookout(UM, everything=True)

    assert all(looked(lookout, 0.0) for _ in range(50))


def nucleus(col_px: float, nucleus_um: float = 5.0) -> Detection:
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = nucleus_um / UM / 2
    outline = np.rint(np.stack([col_px + radius * np.cos(angles), 240 + radius * np.sin(angles)], 1)).astype(np.int32)
    return Detection((240.0, col_px), outline, 1, nucleus_um, radius, whole=True)


@pytest.mark.parametrize(("second_um", "disputed"), [(4.5, True), (9.0, False)])
def test_cells_that_may_be_lobes_of_one_nucleus_are_in_dispute(second_um: float, disputed: bool) -> None:
    ledger, here = Ledger(UM, SHAPE), Pose(0, 0.0, 0.0)
    ledger.enter([nucleus(200.0), nucleus(200.0 + second_um / UM)], here, 0)

    assert ledger.is_in_dispute(here) == disputed
    assert not ledger.is_in_dispute(Pose(0, 0.0, 1000.0))


def test_two_that_were_never_seen_as_one_are_two_in_the_end() -> None:
    ledger, here = Ledger(UM, SHAPE), Pose(0, 0.0, 0.0)
    for index in range(SURE_LOOKS):
        assert ledger.is_in_dispute(here) == (index > 0)
        ledger.enter([nucleus(200.0), nucleus(200.0 + 4.5 / UM)], here, index)

    assert not ledger.is_in_dispute(here)


def test_a_cell_that_is_often_missed_is_in_dispute() -> None:
    ledger, here = Ledger(UM, SHAPE), Pose(0, 0.0, 0.0)
    for index, seen in enumerate((True, True, False, False)):
        ledger.enter([nucleus(200.0)] if seen else [], here, index)
    assert not ledger.is_in_dispute(here)

    ledger.enter([], here, 4)

    assert ledger.is_in_dispute(here)


@pytest.fixture(scope="module")
def slide() -> SimulatedSlide:
    return SimulatedSlide.make(31, "giemsa", 50, SLIDE_UM, nucleated_per_mm2=1200)


def slow_pan(high: float, wide: float) -> np.ndarray:
    """There, down and back, 3 um a frame, with a rest."""
    along, down = np.arange(0, wide, 15.0), np.arange(0, high, 15.0)
    there = np.stack([np.zeros(len(along)), along], 1)
    lower = np.stack([down, np.full(len(down), along[-1])], 1)
    back = np.stack([np.full(len(along), high), along[::-1]], 1)
    return np.concatenate([there, np.repeat(there[-1:], 20, axis=0), lower, back])


def stops(high: float, wide: float) -> np.ndarray:
    """From field to field, half a field apart: 12 um a frame, then a trembling rest."""
    rng, corners = np.random.default_rng(2), []
    for row in np.arange(0, high, 240.0):
        for col in np.arange(0, wide, 320.0):
            start = corners[-1] if corners else np.array([row, col])
            steps = max(int(np.hypot(*(start - (row, col))) / 60), 1)
            corners += list(np.linspace(start, (row, col), steps + 1)[1:])
            corners += list(np.array((row, col)) + rng.uniform(-1, 1, (12, 2)))
    return np.clip(np.array(corners), 0, (high, wide))


@pytest.mark.parametrize("pan", [slow_pan, stops])
def test_the_same_cells_are_counted_as_the_same_at_the_same_places_as_with_every_frame_looked_at(
    slide: SimulatedSlide, pan
) -> None:
    path = pan(*(slide.image.shape[axis] - side - 1.0 for axis, side in zip((0, 1), SHAPE, strict=True)))

    (places, classes, all_frames), (found, called, frames) = (
        counted(slide, path, everything=everything) for everything in (True, False)
    )

    apart = np.hypot(*(places[:, None] - found[None]).transpose(2, 0, 1))
    nearest = apart.argmin(axis=1)
    assert all_frames == len(path)
    assert frames < 0.5 * len(path)
    assert len(places) >= 20
    assert len(found) == len(places)
    assert sorted(nearest.tolist()) == list(range(len(places)))
    assert apart.min(axis=1).max() <= 1.0
    assert np.mean(apart.min(axis=1) <= 0.5) > 0.9
    assert classes == [called[at] for at in nearest]


def counted(slide: SimulatedSlide, path: np.ndarray, *, everything: bool) -> tuple[np.ndarray, list[str], int]:
    """Places and classes of the cells, and how many frames were looked at."""
    bundle = load_bundle(None)
    optics = Optics(exposure=0.0, focus_drift_px=0.0)
    microscope = SimulatedMicroscope(slide, path, seed=3, frame_shape=SHAPE, optics=optics)
    classifier, centres = OnnxClassifier(bundle), open_centres(bundle, "both")
    analyser = Analyser(SLIDE_UM, classifier, bundle.manifest, centres=centres.model, everything=everything)
    looks = 0
    for frame in iter(microscope.read, None):
        assert isinstance(frame, Frame)
        assert analyser.analyse(frame).reason is None
        looks += not analyser._lookout.frames_since_look
    analyser.finish()
    cells = list(analyser.cells())
    centres.close()
    classifier.close()
    classes = [cell.settled.verdict.class_name for cell in cells if cell.settled]
    return np.array([(cell.row_px, cell.col_px) for cell in cells]), classes, looks


def test_the_last_frame_before_the_hand_turns_is_looked_at_when_it_has_turned(
    slide: SimulatedSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    way_um = [0.0] * 12 + [3.0, 6.0, 5.5]
    path = np.array([(40.0, 40.0 + um / SLIDE_UM) for um in way_um])
    optics = Optics(exposure=0.0, focus_drift_px=0.0)
    microscope = SimulatedMicroscope(slide, path, seed=3, frame_shape=SHAPE, optics=optics)
    bundle = load_bundle(None)
    classifier = OnnxClassifier(bundle)
    analyser = Analyser(SLIDE_UM, classifier, bundle.manifest)
    frames = [frame for frame in iter(microscope.read, None) if isinstance(frame, Frame)]
    looked_at: list[int] = []
    see = analyser.seeing.see

    def noted(image: np.ndarray, *rest: object) -> object:
        looked_at.append(next(frame.index for frame in frames if frame.image is image))
        return see(image, *rest)

    monkeypatch.setattr(analyser.seeing, "see", noted)
    for frame in frames:
        assert analyser.analyse(frame).reason is None
    classifier.close()

    assert looked_at[-1] == len(way_um) - 2
    assert len(way_um) - 1 not in looked_at


def test_a_last_frame_that_cannot_be_looked_at_costs_itself_and_not_the_session(
    slide: SimulatedSlide, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = np.full((2 * FIRST_LOOKS, 2), 40.0)
    microscope = SimulatedMicroscope(slide, path, seed=3, frame_shape=SHAPE)
    bundle = load_bundle(None)
    classifier = OnnxClassifier(bundle)
    analyser = Analyser(SLIDE_UM, classifier, bundle.manifest)
    for frame in iter(microscope.read, None):
        analyser.analyse(frame)

    def broken(*_: object) -> None:
        raise ValueError("a strange picture")

    monkeypatch.setattr(analyser.seeing, "see", broken)
    events = analyser.finish()
    classifier.close()

    assert [event.reason for event in events] == ["session ended"] * len(events) != []
    assert f"frame {len(path) - 1} failed: a strange picture" in caplog.text


def test_a_last_frame_that_told_the_stain_is_looked_at(slide: SimulatedSlide, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(None)
    classifier = OnnxClassifier(bundle)
    analyser = Analyser(SLIDE_UM, classifier, bundle.manifest)
    for frame in iter(SimulatedMicroscope(slide, np.full((3, 2), 40.0), seed=3, frame_shape=SHAPE).read, None):
        analyser.analyse(frame)
    passed, since = analyser._passed, analyser._lookout.frames_since_look
    monkeypatch.setattr(analyser._lookout, "may_gain", lambda *_: False)
    analyser.stain.state = "changed"
    analyser.finish()
    classifier.close()

    assert (passed is not None, since, analyser._lookout.frames_since_look) == (True, 1, 0)
