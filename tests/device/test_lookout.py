"""What of a frame is looked at: what is new in it, and so the same cells are counted as where all of it is."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.lookout import FIRST_WHOLE, LOOKS, REST_UM, SQUARE_UM, STEP_UM, WHOLE_EVERY, Lookout, strips
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Detection, Pose
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.region import PAD_UM, Grid, Region
from fnrbc_device.vision.segmentation import Segmenter

UM = 0.125
GRID = Grid((480, 640), 2.0, 0.25)
"""A frame of 1280 x 960 px, 160 x 120 um."""
SLIDE_UM = 0.2
SHAPE = (480, 640)
NOWHERE = np.zeros((0, 2))


def nucleus(row_px: float, col_px: float, radius_px: float = 24.0) -> Detection:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outline = np.stack([col_px + radius_px * np.cos(angles), row_px + radius_px * np.sin(angles)], axis=1)
    contour = np.rint(outline / GRID.factor).astype(np.int32)
    return Detection((row_px, col_px), contour, GRID.factor, 2 * radius_px * UM, radius_px, whole=True)


def settled() -> Lookout:
    """One that has looked at enough whole frames of one place."""
    lookout = Lookout(UM, everything=False)
    for _ in range(FIRST_WHOLE):
        assert looked(lookout, Pose(0, 0.0, 0.0)) is not None
    return lookout


def looked(
    lookout: Lookout, pose: Pose, cut: tuple[Detection, ...] = (), open_rc: np.ndarray = NOWHERE
) -> Region | None:
    region = lookout.choose(pose, GRID, open_rc, correlation=1.0, anew=False)
    if region is not None:
        lookout.note(region, pose, cut)
    return region


@pytest.mark.parametrize("seed", range(20))
def test_strips_hold_every_square_that_is_asked_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = rng.random((20, 27)) < rng.choice([0.02, 0.2, 0.7])
    asked[:, : rng.integers(0, 4)] = True

    held = np.zeros_like(asked)
    for top, left, bottom, right in strips(asked):
        held[top:bottom, left:right] = True

    assert (held >= asked).all()


def test_a_resting_hand_costs_no_look_but_now_and_then_a_whole_one() -> None:
    lookout = settled()
    tremble = np.random.default_rng(1).uniform(-1, 1, (60, 2)) * REST_UM / UM / 4

    regions = [looked(lookout, Pose(0, row, col)) for row, col in tremble]

    whole = [index for index, region in enumerate(regions) if region is not None]
    assert all(regions[index].is_whole for index in whole)
    assert 60 // WHOLE_EVERY[1] - 1 <= len(whole) <= 60 // WHOLE_EVERY[0] + 1


def test_new_ground_is_looked_at_as_often_as_it_must_be_and_old_ground_no_more() -> None:
    lookout = settled()
    spot = np.array([[480.0, 1280.0 + 6 * SQUARE_UM / UM]])
    seen = 0
    for step in range(1, 12):
        pose = Pose(0, 0.0, 1.5 * STEP_UM / UM * step)
        region = looked(lookout, pose)
        if region is not None and not region.is_whole:
            seen += bool(region.covers(spot - (0, pose.col_px))[0])
            assert not region.covers(np.array([[480.0, 640.0]]))[0]

    assert seen in (LOOKS - 1, LOOKS)  # one look may have been at a whole frame


def test_what_the_border_cuts_is_looked_at_again_until_it_is_whole() -> None:
    lookout = settled()
    cut = nucleus(480.0, 1265.0)
    looked(lookout, Pose(0, 0.0, STEP_UM / UM), (cut,))

    regions = []
    for step in range(2, 8):
        col = STEP_UM / UM * step
        regions.append((looked(lookout, Pose(0, 0.0, col), (nucleus(480.0, 1265.0),)), col))

    there = [region.covers(np.array([[480.0, 1270.0]]))[0] for region, _ in regions if region is not None]
    assert len(there) == 6
    assert all(there)


def test_cells_that_are_not_settled_are_looked_at_at_every_step() -> None:
    lookout = settled()
    for step in range(1, 8):
        pose = Pose(0, 0.0, STEP_UM / UM * step)
        place = np.array([[480.0, 900.0 - pose.col_px]])
        region = looked(lookout, pose, open_rc=place)
        assert region is not None
        assert region.covers(place)[0]


@pytest.mark.parametrize("why", ["anew", "doubt", "another island"])
def test_all_is_looked_at_where_something_is_not_sure(why: str) -> None:
    pose = Pose(why == "another island", 1.0, 1.0)

    region = settled().choose(
        pose, GRID, NOWHERE, correlation=0.6 if why == "doubt" else 1.0, anew=why == "anew"
    )

    assert region is not None
    assert region.is_whole


def test_ground_that_left_the_view_is_new_when_the_hand_comes_back() -> None:
    lookout = settled()
    for col in (300.0, 600.0, 900.0, 1200.0, 1500.0):
        looked(lookout, Pose(0, 0.0, col))
    regions = [looked(lookout, Pose(0, 0.0, col)) for col in (1200.0, 900.0)]

    assert all(region is not None for region in regions)


def test_a_region_keeps_what_is_all_there_and_leaves_out_what_an_edge_cuts() -> None:
    region = Region.round_about(GRID, [(400.0, 400.0, 520.0, 520.0)])
    pad = PAD_UM / UM

    assert region.keeps(nucleus(460.0, 460.0))
    assert not region.keeps(nucleus(460.0, 400.0 - pad))
    assert not region.keeps(nucleus(460.0, 460.0, radius_px=pad + 60))
    assert not region.keeps(nucleus(100.0, 100.0))


def test_the_frames_own_border_ends_nothing() -> None:
    region = Region.round_about(GRID, [(0.0, 0.0, 200.0, 200.0)])

    assert region.keeps(nucleus(26.0, 26.0))
    assert region.covers(np.array([[1.0, 1.0]]))[0]


def test_boxes_that_take_most_of_a_frame_are_the_whole_of_it() -> None:
    assert Region.round_about(GRID, [(0.0, 0.0, 700.0, 1280.0)]).is_whole


@pytest.fixture(scope="module")
def slide() -> SimulatedSlide:
    return SimulatedSlide.make(31, "giemsa", 50, SLIDE_UM, nucleated_per_mm2=1200)


def test_a_part_of_a_frame_shows_the_same_cells_at_the_same_places_as_the_whole(slide: SimulatedSlide) -> None:
    microscope = SimulatedMicroscope(slide, np.array([[20.0, 30.0]]), seed=5, frame_shape=SHAPE)
    reduced = reduce(microscope.image(0), SLIDE_UM)
    segmenter = Segmenter(SLIDE_UM)
    whole = segmenter.segment_reduced(reduced).detections

    region = Region.round_about(reduced.grid, [(0.0, 320.0, 480.0, 640.0)])
    part = segmenter.segment_reduced(reduced, region)

    assert not region.is_whole
    places = np.array([one.centre_rc for one in whole])
    expected = [one for one, inside in zip(whole, region.covers(places), strict=True) if inside]
    assert len(expected) >= 3
    assert {one.centre_rc for one in expected} <= {one.centre_rc for one in part.detections}
    assert all(one.centre_rc in {other.centre_rc for other in whole} for one in part.detections)


def test_the_same_cells_are_counted_as_the_same_at_the_same_places_as_with_everything_looked_at(
    slide: SimulatedSlide,
) -> None:
    high, wide = (slide.image.shape[axis] - side - 1.0 for axis, side in zip((0, 1), SHAPE, strict=True))
    along = np.arange(0, wide, 40.0)
    there, back = (np.stack([np.full(len(along), row), way], 1) for row, way in ((0.0, along), (high, along[::-1])))
    down = np.stack([np.arange(30.0, high, 40.0), np.full(len(np.arange(30.0, high, 40.0)), along[-1])], 1)
    path = np.concatenate([there, down, back, np.repeat(back[-1:], 6, axis=0)])

    both = [_counted(slide, path, everything=everything) for everything in (True, False)]

    (places, classes), (found, called) = both
    apart = np.hypot(*(places[:, None] - found[None]).transpose(2, 0, 1))
    nearest = apart.argmin(axis=1)
    assert len(places) >= 20
    assert len(found) == len(places)
    assert sorted(nearest.tolist()) == list(range(len(places)))
    assert apart.min(axis=1).max() <= 1.0
    assert np.mean(apart.min(axis=1) <= 0.5) > 0.9
    assert classes == [called[at] for at in nearest]


def _counted(slide: SimulatedSlide, path: np.ndarray, *, everything: bool) -> tuple[np.ndarray, list[str]]:
    bundle = load_bundle(None)
    optics = Optics(exposure=0.0, focus_drift_px=0.0)
    microscope = SimulatedMicroscope(slide, path, seed=3, frame_shape=SHAPE, optics=optics)
    classifier, centres = OnnxClassifier(bundle), open_centres(bundle, "both")
    analyser = Analyser(SLIDE_UM, classifier, bundle.manifest, centres=centres.model, everything=everything)
    looked = 0
    for frame in iter(microscope.read, None):
        analyser.analyse(frame)
        looked += not analyser._lookout.frames_since_whole
    analyser.finish()
    cells = list(analyser.cells())
    centres.close()
    classifier.close()
    assert (looked > 0.9 * len(path)) == everything
    return np.array([(cell.row_px, cell.col_px) for cell in cells]), [cell.settled.verdict.class_name for cell in cells]
