"""Lost and found: islands are joined where two frames prove it, at the right place, and never on a guess."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.records import Image, Join, Pose
from fnrbc_device.vision import relocation
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.keyframes import Keyframes
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.registration import Registration
from fnrbc_device.vision.relocation import Relocation, Sight

UM = 0.125
CAMERA = (960, 1280)
OPTICS = Optics(exposure=0.0, vignette=0.12, dust=8, focus_drift_px=0.0, light_drift=0.05, noise=2.0)
HERE, FAR = np.array([100.0, 150.0]), np.array([1500.0, 2000.0])


@pytest.fixture(scope="module", params=["giemsa", "he"])
def slide(request: pytest.FixtureRequest) -> SimulatedSlide:
    return SimulatedSlide.make(21, request.param, 220, UM)


class Hand:
    """Shows a registration frames, makes the joins that it proves, and remembers where frames truly lay."""

    def __init__(self) -> None:
        self.registration, self.light = Registration(), FlatField()
        self.joins: list[Join] = []
        self.poses: list[Pose] = []

    def show(self, image: Image) -> None:
        reduced = reduce(image, UM)
        pose = self.registration.place(self.light.flatten(reduced)).pose
        self.light.learn(reduced, pose)
        self.poses.append(pose)
        proposal = self.registration.find_join()
        if proposal is not None:
            self.joins.append(proposal.join)
            self.registration.join(proposal.join)

    def pan(self, slide: SimulatedSlide, start: np.ndarray, frames: int = 5, step: float = 60.0) -> None:
        path = start + np.arange(frames)[:, None] * (0.2 * step, step)
        microscope = SimulatedMicroscope(slide, path, frame_shape=CAMERA, optics=OPTICS)
        for index in range(frames):
            self.show(microscope.image(index))


def test_a_hand_that_lands_on_seen_ground_is_found_again_at_the_right_place(slide: SimulatedSlide) -> None:
    hand = Hand()
    hand.pan(slide, HERE)
    hand.pan(slide, FAR)
    back = HERE + np.array((200.0, -100.0))
    hand.pan(slide, back)

    (join,) = hand.joins
    assert (join.island, join.into) == (2, 0)
    assert (join.row_px, join.col_px) == pytest.approx(tuple(back - HERE), abs=1.0)


def test_after_a_join_frames_lie_on_the_older_island(slide: SimulatedSlide) -> None:
    hand = Hand()
    for start in (HERE, FAR, HERE + np.array((150.0, 40.0))):
        hand.pan(slide, start)

    last = hand.poses[-1]
    assert last.island == 0
    assert (last.row_px, last.col_px) == pytest.approx((150.0 + 48.0, 40.0 + 240.0), abs=1.0)


def test_new_ground_stays_an_island(slide: SimulatedSlide) -> None:
    hand = Hand()
    hand.pan(slide, HERE)
    hand.pan(slide, FAR)

    assert hand.joins == []
    assert hand.poses[-1].island == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_other_slides_are_never_joined_whatever_is_compared(seed: int) -> None:
    hand = Hand()
    rng = np.random.default_rng(seed)
    slides = [SimulatedSlide.make(60 + 2 * seed + one, ("giemsa", "he")[seed], 120, UM) for one in range(2)]
    starts = [np.array([0.0, 0.0]), np.array([0.0, 1300.0]), np.array([1000.0, 0.0]), np.array([1000.0, 1300.0])]
    for start in rng.permutation(starts):
        for other in slides:
            span = np.array(other.image.shape[:2]) - CAMERA - (4 * 2, 4 * 10)
            hand.pan(other, np.minimum(start, span), 4, 10.0)

    slide_of = {2 * place + other: other for place in range(4) for other in range(2)}
    assert all(slide_of[join.island] == slide_of[join.into] for join in hand.joins)


def test_one_frame_alone_joins_nothing(slide: SimulatedSlide) -> None:
    hand = Hand()
    hand.pan(slide, HERE)
    hand.pan(slide, FAR)
    hand.pan(slide, HERE + np.array((100.0, 60.0)), frames=1)

    assert hand.joins == []


@pytest.mark.parametrize("shift", [0, 40])
def test_what_may_be_dust_proves_nothing_and_the_same_picture_elsewhere_in_the_field_does(shift: int) -> None:
    rng = np.random.default_rng(3)
    spots = rng.uniform(0, (280, 360), (90, 2))
    rows, cols = np.mgrid[:280, :360]
    ground = np.full((280, 360), 240.0)
    for row, col in spots:
        ground[np.hypot(rows - row, cols - col) < rng.uniform(3, 6)] = 150.0
    keyframes = Keyframes()
    search = Relocation(keyframes)
    for frame, (island, move) in enumerate([(0, 0), (0, 0), (1, shift), (1, shift)]):
        seen = ground[:240, move : move + 320] + rng.normal(0, 2, (240, 320))
        keyframe = keyframes.add(Pose(island, 0.0, 0.0), frame, seen.clip(0, 255).astype(np.uint8), 4, 0.5)

    proposal = search.search(Sight(keyframe.frame, keyframe.pose, keyframe.density()))

    assert (proposal is None) == (shift == 0)


def test_a_refused_join_is_not_proposed_again_by_the_same_frames(slide: SimulatedSlide) -> None:
    hand = Hand()
    hand.pan(slide, HERE)
    hand.pan(slide, FAR)
    proposals = []
    rest = np.repeat(HERE[None] + np.array((90.0, 30.0)), 3, 0)
    microscope = SimulatedMicroscope(slide, rest, frame_shape=CAMERA, optics=OPTICS)
    for index in range(3):
        reduced = reduce(microscope.image(index), UM)
        hand.registration.place(hand.light.flatten(reduced))
        proposal = hand.registration.find_join()
        if proposal is not None:
            proposals.append(proposal.join)
            hand.registration.refuse(proposal.join)

    assert 1 <= len(proposals) <= 2  # once for each plate of the older island


def test_with_one_island_nothing_is_compared(slide: SimulatedSlide) -> None:
    hand = Hand()
    hand.pan(slide, HERE, frames=8)

    assert hand.registration.comparisons == 0


def test_a_frame_compares_no_more_than_its_share(slide: SimulatedSlide) -> None:
    hand = Hand()
    hand.pan(slide, HERE)
    hand.pan(slide, FAR)

    assert 0 < hand.registration.comparisons <= 5 * relocation.FRESH_PAIRS
