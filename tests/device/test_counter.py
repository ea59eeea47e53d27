"""The counter: a cell is counted once, on enough evidence, and every step is said with its reason."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_device.counting import counter
from fnrbc_device.counting.cell import BEST_VIEWS, Cell, View, keep_view, wants_view
from fnrbc_device.counting.counter import (
    BUSY_IN_A_ROW,
    FIRST_VIEWS,
    GIVE_UP,
    PROOF_FIELDS,
    RETRACT_MISSES,
    SPAN_UM,
    VIEWS_A_FRAME,
    WAIT_FREELY,
    WAIT_SHARE,
    Counter,
    decide_alike,
    fuse,
)
from fnrbc_device.counting.ledger import Ledger
from fnrbc_device.counting.merging import merge
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import INDETERMINATE, Body, CountEvent, Detection, Image, Join, Pose
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.reduction import Reduced

UM = 0.125
SHAPE = (480, 640)
FNRBC, LEUKOCYTE, OTHER = (np.full((120, 120, 3), level, np.uint8) for level in (0, 1, 2))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_bundle(None).manifest


class ByTheMiddle:
    """Says the class that the crop's middle pixel names, and counts what it is asked."""

    def __init__(self, manifest: Manifest) -> None:
        self.classes = manifest.class_names
        self.asked = 0

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        self.asked += len(crops)
        certain = np.eye(len(self.classes), dtype=np.float32)[crops[:, 60, 60, 0]]
        return 0.98 * certain + np.float32(0.02 / len(self.classes))

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    """A ledger and a counter that are shown detections, as the analysis does it."""

    def __init__(self, manifest: Manifest) -> None:
        self.classifier = ByTheMiddle(manifest)
        self.ledger = Ledger(UM, SHAPE)
        self.light = FlatField()
        self.counter = Counter(self.ledger, self.classifier, manifest, UM, self.light)
        self.events: list[CountEvent] = []
        self._index = 0
        self._pose = Pose(0, 0.0, 0.0)

    def pan(self, fields: int, shade: NDArray[np.uint8] | None = None) -> None:
        """The hand goes on over empty glass, as the camera's light (and the dirt in it) shows it."""
        green = np.full((SHAPE[0] // 2, SHAPE[1] // 2), 230, np.uint8) if shade is None else shade
        field = Reduced(green, 2, 2 * UM, (230.0, 230.0, 230.0), None)
        for index in range(fields):
            pose = Pose(0, 9000.0, 100.0 * index)
            self.light.flatten(field)
            self.light.learn(field, pose)
            self.events += self.counter.follow([], [], pose)

    def show(
        self,
        cells: list[tuple[float, float]],
        corner: tuple[float, float] = (0, 0),
        crop: Image = FNRBC,
        island: int = 0,
        sharpness: float = 1.0,
    ) -> None:
        """One frame at a corner, with cells at these places on the slide."""
        self._pose = pose = Pose(island, *corner)
        seen = [detection(row - corner[0], col - corner[1]) for row, col in cells]
        entry = self.ledger.enter(seen, pose, self._index)
        for sighting in entry.sightings:
            if sighting.cell.settled is None and wants_view(sighting.cell, sharpness):
                keep_view(sighting.cell, View(sharpness, self._index, crop), Body(8.0, 0.4, 0.5, 0.8))
        self.events += self.counter.follow([s.cell for s in entry.sightings], entry.missed, pose)
        self._index += 1

    def rest(self, pose: Pose | None = None) -> None:
        """The hand rests, and frames are not looked at, until something is counted."""
        for _ in range(10):
            told = self.counter.follow([], [], pose or self._pose, busy=False)
            self.events += told
            if told:
                return

    def finish(self) -> None:
        self.events += self.counter.finish()


def detection(row: float, col: float) -> Detection:
    outline = np.rint([[col - 24, row], [col, row - 24], [col + 24, row], [col, row + 24]]).astype(np.int32)
    return Detection((row, col), outline, 1, 6.0, 24.0, True)


@pytest.fixture
def bench(manifest: Manifest) -> Bench:
    return Bench(manifest)


STEP = 1.1 * SPAN_UM / UM


def test_a_cell_is_counted_after_three_views_from_more_than_one_place(bench: Bench) -> None:
    for frame in range(3):
        assert bench.events == []
        bench.show([(240.0, 320.0)], (0.0, frame * STEP))
    bench.rest()

    (event,) = bench.events
    assert (event.event, event.cell, event.views, event.reason) == ("counted", 1, 3, "evidence complete")
    assert (event.verdict.role, bench.counter.open) == ("target", 0)


def test_a_cell_is_counted_once_however_often_it_is_seen(bench: Bench) -> None:
    for frame in range(40):
        bench.show([(240.0, 320.0)], (0.0, STEP * (frame % 5)))
    bench.finish()

    assert [event.event for event in bench.events] == ["counted"]
    assert bench.classifier.asked == FIRST_VIEWS


def test_a_cell_that_does_not_move_through_the_field_is_not_counted_yet(bench: Bench) -> None:
    for _ in range(20):
        bench.show([(240.0, 320.0)])

    assert bench.events == []
    assert bench.counter.open == 1


@pytest.mark.parametrize("views", [1, 2])
def test_a_cell_with_few_views_is_counted_when_it_leaves_the_field(bench: Bench, views: int) -> None:
    for frame in range(views):
        bench.show([(240.0, 320.0)], (0.0, frame * STEP))
    bench.pan(PROOF_FIELDS + BUSY_IN_A_ROW + 2)  # P-net is asked in each second field, and its pictures are for another

    assert [(event.event, event.views, event.reason) for event in bench.events] == [
        ("counted", views, "left the field")
    ]


def speck(row: int, col: int) -> NDArray[np.uint8]:
    """The light of the field, in working pixels, with dust at a place of the frame."""
    shade = np.full((SHAPE[0] // 2, SHAPE[1] // 2), 230, np.uint8)
    return cv2.circle(shade, (col // 2, row // 2), 10, (150.0,), -1).astype(np.uint8)


@pytest.mark.parametrize("views", [1, 4])
def test_dust_that_left_before_it_was_known_is_never_counted(bench: Bench, views: int) -> None:
    for _ in range(views):
        bench.show([(240.0, 320.0)])
    bench.pan(3 * PROOF_FIELDS, speck(240, 320))
    bench.finish()

    assert bench.events == []
    assert (bench.counter.open, len(bench.ledger)) == (0, 0)


def test_a_cell_beside_dust_is_counted(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    bench.pan(3 * PROOF_FIELDS, speck(240, 420))

    assert [event.event for event in bench.events] == ["counted"]


def test_what_left_without_having_moved_waits_until_dust_would_be_known(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    bench.pan(PROOF_FIELDS - 1)

    assert (bench.events, bench.counter.open) == ([], 1)


def test_a_cell_that_comes_back_while_it_is_doubted_is_counted_on_its_evidence(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    bench.pan(3)
    for frame in range(3):
        bench.show([(240.0, 320.0)], (0.0, frame * STEP))
    bench.pan(3 * PROOF_FIELDS)

    assert [event.reason for event in bench.events] == ["evidence complete"]


def test_what_is_still_open_at_the_end_is_counted_then(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    bench.finish()

    assert [(event.event, event.reason) for event in bench.events] == [("counted", "session ended")]
    assert bench.counter.open == 0


def test_what_flickers_is_dropped_and_never_counted(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    for frame in range(GIVE_UP + 1):
        bench.show([], (0.0, frame * STEP))
    bench.finish()

    assert bench.events == []
    assert len(bench.ledger) == 0


def test_a_counted_cell_missed_more_often_than_seen_is_retracted_with_its_reason(bench: Bench) -> None:
    for frame in range(3):
        bench.show([(240.0, 320.0)], (0.0, frame * STEP))
    bench.rest()
    for frame in range(RETRACT_MISSES):
        assert len(bench.events) == 1
        bench.show([], (0.0, frame * STEP))
    bench.show([], (0.0, 0.0))

    counted, retracted = bench.events
    assert (retracted.event, retracted.cell, retracted.verdict) == ("retracted", counted.cell, counted.verdict)
    assert retracted.reason == "seen in 3 frames, missed in 5 that showed its place"
    assert len(bench.ledger) == 0


def test_a_counted_cell_missed_now_and_then_stays_counted(bench: Bench) -> None:
    for frame in range(60):
        bench.show([(240.0, 320.0)] if frame % 5 else [], (0.0, STEP * (frame % 4)))

    assert [event.event for event in bench.events] == ["counted"]


def settled_by_frame(bench: Bench, crowd: list[tuple[float, float]], frames: int) -> list[int]:
    """How many cells are settled in each of so many frames that are all looked at."""
    settled = []
    for frame in range(frames):
        before = len(bench.events)
        bench.show(crowd, (0.0, (frame % 3) * STEP))
        settled.append(len(bench.events) - before)
    return settled


def test_a_full_field_is_settled_over_several_frames_and_nobody_is_left_out(bench: Bench) -> None:
    crowd = [(80.0 + 100 * row, 100.0 + 100 * col) for row in range(4) for col in range(5)]
    settled = settled_by_frame(bench, crowd, 120)

    assert max(settled) <= max(VIEWS_A_FRAME, len(crowd) // WAIT_SHARE) < len(crowd)
    assert sorted(event.cell for event in bench.events) == list(range(1, 21))
    assert bench.classifier.asked == FIRST_VIEWS * len(crowd)


@pytest.mark.parametrize(("crop", "busy", "counted"), [
    (FNRBC, False, [0, 0, 1, 1, 1, 2]),  # nine looks a view: one view a frame; then its pictures
    (LEUKOCYTE, False, [1, 3, 3]),  # three views a frame
    (FNRBC, True, [0] * (BUSY_IN_A_ROW - 1) + [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2]),
])  # fmt: skip
def test_cells_wait_for_a_frame_that_has_the_time_or_for_many_that_have_none(
    bench: Bench, crop: Image, busy: bool, counted: list[int]
) -> None:
    cells = [(80.0 + 100 * row, 320.0) for row in range(WAIT_FREELY)]
    found = []
    for frame in range(3):
        bench.rest()
        bench.show(cells, (0.0, frame * STEP), crop=crop)
    for _ in counted:
        bench.events += bench.counter.follow([], [], Pose(0, 0.0, 2 * STEP), busy=busy)
        found.append(len(bench.events))

    assert found == counted


def test_where_more_cells_wait_than_may_they_are_counted_beside_looks(bench: Bench) -> None:
    """A hand that never rests would let them gather else, and who is cut off loses what waits."""
    cells = [(80.0 + 60 * row, 320.0) for row in range(WAIT_FREELY + 3)]
    for frame in range(3):
        bench.show(cells, (0.0, frame * STEP), crop=FNRBC)
    for _ in range(3 * 3):
        bench.events += bench.counter.follow([], [], Pose(0, 0.0, 2 * STEP), busy=True)

    assert bench.counter.open <= WAIT_FREELY


def test_of_a_crowd_more_are_asked_about_a_frame_so_that_it_does_not_gather(bench: Bench) -> None:
    crowd = [(60.0 + 60 * row, 60.0 + 60 * col) for row in range(6) for col in range(9)]
    bench.show(crowd, crop=LEUKOCYTE)
    bench.show(crowd, (0.0, STEP), crop=LEUKOCYTE)
    bench.show(crowd, (0.0, 2 * STEP), crop=LEUKOCYTE)
    asked = [bench.classifier.asked]
    while bench.counter.open and len(asked) < 60:
        bench.show(crowd, (0.0, STEP), crop=LEUKOCYTE)
        asked.append(bench.classifier.asked)

    assert asked[1] - asked[0] >= (len(crowd) - WAIT_FREELY) // WAIT_SHARE > VIEWS_A_FRAME
    assert max(np.diff(asked)) < len(crowd)
    assert len({event.cell for event in bench.events}) == len(bench.events) == len(crowd)


def test_once_asked_about_a_cell_wants_no_other_views(bench: Bench) -> None:
    for frame in range(3):
        bench.show([(240.0, 320.0)], (0.0, frame * STEP), sharpness=0.5)
    bench.counter.follow([], [], Pose(0, 0.0, 2 * STEP), busy=False)
    bench.show([(240.0, 320.0)], (0.0, STEP), crop=LEUKOCYTE, sharpness=0.9)
    bench.rest()

    (event,) = bench.events
    assert (event.verdict.role, bench.classifier.asked) == ("target", FIRST_VIEWS)


def test_a_cell_that_comes_back_after_it_was_asked_about_is_decided_by_all_its_views(bench: Bench) -> None:
    bench.show([(240.0, 600.0)], (0.0, 0.0), sharpness=0.6)
    bench.show([(240.0, 600.0)], (0.0, -STEP), sharpness=0.6)
    bench.events += bench.counter.follow([], [], Pose(0, 0.0, 700.0), busy=False)
    (cell,) = bench.ledger.cells()
    asked = [view.said is not None for view in cell.best]
    for frame in range(2):
        bench.show([(240.0, 600.0)], (0.0, frame * STEP))
    bench.rest()

    assert asked == [True, False]
    (event,) = bench.events
    assert (event.reason, event.views, event.best_frame) == ("evidence complete", 4, 2)


def test_an_event_says_where_the_cell_lies(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    bench.finish()

    (event,) = bench.events
    assert (event.row_px, event.col_px) == (240.0, 320.0)
    assert (event.x_um, event.y_um) == (320.0 * UM, 240.0 * UM)
    assert (event.island, event.best_frame, event.diameter_um) == (0, 0, 8.0)


@pytest.mark.parametrize(("crop", "kept"), [(FNRBC, 1), (LEUKOCYTE, 0), (OTHER, 0)])
@pytest.mark.parametrize(("first", "every"), [(500, 8), (0, 8), (0, 1)])
def test_a_picture_is_kept_of_each_candidate_and_of_others_by_their_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, crop: Image, kept: int, first: int, every: int
) -> None:
    monkeypatch.setattr(counter, "KEPT_FIRST", first)
    monkeypatch.setattr(counter, "KEPT_EVERY", every)
    bench.show([(240.0, 320.0)], crop=crop)
    bench.finish()

    (cell,) = bench.ledger.cells()
    pictures = bench.counter.pictures.get(cell.number, [])
    assert len(pictures) == (1 if first or every == 1 else kept)
    assert all((one.crop == crop).all() for one in pictures)
    assert cell.best == []


def test_of_a_candidate_all_best_views_are_kept_the_best_first_and_of_others_one(bench: Bench) -> None:
    for frame, sharpness in enumerate((0.5, 0.9, 0.7)):
        bench.show([(240.0, 320.0)], (0.0, frame * STEP), crop=FNRBC, sharpness=sharpness)
    bench.rest()
    (kept,) = bench.counter.pictures.values()
    assert [(view.frame, view.quality) for view in kept] == [(1, 0.9), (2, 0.7), (0, 0.5)]
    for frame in range(3):
        bench.show([(240.0, 320.0), (140.0, 320.0)], (0.0, frame * STEP), crop=LEUKOCYTE)
    bench.rest()
    assert [len(views) for views in bench.counter.pictures.values()] == [1]


class AlwaysNearly(ByTheMiddle):
    """Finds everything a leukocyte that may be an fNRBC, with this probability."""

    target = 0.0

    def probabilities(self, crops: Image) -> NDArray[np.float32]:
        return np.repeat(views(self.target), len(crops), axis=0)


@pytest.mark.parametrize(("odds", "kept"), [(0.2, 0), (0.3, 3)])
def test_the_views_of_a_near_miss_are_kept_though_it_is_not_of_the_sample(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, odds: float, kept: int
) -> None:
    monkeypatch.setattr(counter, "KEPT_FIRST", 0)
    monkeypatch.setattr(AlwaysNearly, "target", 1 / (1 + (1 / manifest.threshold - 1) / odds))
    monkeypatch.setattr(f"{__name__}.ByTheMiddle", AlwaysNearly)
    bench = Bench(manifest)
    for frame in range(3):
        bench.show([(240.0, 320.0)], (0.0, frame * STEP))
    bench.rest()
    assert [event.verdict.class_name for event in bench.events] == ["leukocyte"]
    assert len(bench.counter.pictures.get(1, [])) == kept


def views(*targets: float) -> NDArray[np.float32]:
    """Probabilities of fNRBC; what is left goes to leukocytes, but for a hundredth."""
    return np.array([[share, 0.99 * (1 - share), 0.01 * (1 - share)] for share in targets], np.float32)


def test_views_that_agree_are_fused_to_their_class(manifest: Manifest) -> None:
    verdict, disagreed = fuse(views(0.97, 0.99, 0.95), manifest)

    assert (verdict.class_name, verdict.role, disagreed) == ("fnrbc", "target", False)
    assert 0.95 <= verdict.probability <= 0.99
    assert verdict.target_probability == verdict.probability


def test_a_leukocyte_carries_its_own_probability_and_the_targets(manifest: Manifest) -> None:
    verdict, _ = fuse(views(0.01, 0.02), manifest)

    assert verdict.role == "denominator"
    assert verdict.probability == pytest.approx(0.975, abs=0.01)
    assert verdict.target_probability == pytest.approx(0.014, abs=0.003)


@pytest.mark.parametrize("targets", [(0.99, 0.01), (0.99, 0.98, 0.02), (0.02, 0.9, 0.03)])
def test_views_that_disagree_are_indeterminate(manifest: Manifest, targets: tuple[float, ...]) -> None:
    verdict, disagreed = fuse(views(*targets), manifest)

    assert disagreed
    assert verdict.class_name == INDETERMINATE
    assert verdict.probability == verdict.target_probability


def test_a_cell_whose_views_disagree_says_so_in_its_event(bench: Bench) -> None:
    bench.show([(240.0, 320.0)], crop=FNRBC)
    bench.show([(240.0, 320.0)], (0.0, STEP), crop=LEUKOCYTE)
    bench.finish()

    (event,) = bench.events
    assert (event.verdict.class_name, event.reason) == (INDETERMINATE, "views disagree")


def test_a_third_view_is_asked_for_where_the_first_two_do_not_decide_alike(bench: Bench) -> None:
    bench.show([(240.0, 320.0)], crop=LEUKOCYTE)
    bench.show([(240.0, 320.0)], (0.0, STEP), crop=OTHER)
    bench.show([(240.0, 320.0)], (0.0, 2 * STEP), crop=OTHER)
    bench.rest()

    assert bench.classifier.asked == BEST_VIEWS
    assert [event.verdict.role for event in bench.events] == ["ignored"]


@pytest.mark.parametrize(
    ("targets", "alike"), [((0.9,), True), ((0.9, 0.7), True), ((0.01, 0.02), True), ((0.9, 0.01), False)]
)
def test_views_decide_alike_only_where_each_names_the_same_class(
    manifest: Manifest, targets: tuple[float, ...], alike: bool
) -> None:
    assert decide_alike(views(*targets), manifest) == alike


def test_a_view_in_the_band_decides_nothing_and_so_not_alike(manifest: Manifest) -> None:
    unsure = sum(manifest.indeterminate) / 2

    assert not decide_alike(views(unsure), manifest)
    assert not decide_alike(views(unsure, unsure), manifest)


def test_what_lies_in_the_band_where_the_network_does_not_decide_is_indeterminate(manifest: Manifest) -> None:
    wide = manifest.model_copy(update={"indeterminate": (0.2, 0.6), "threshold": 0.4})

    verdict, disagreed = fuse(views(0.4, 0.5), wide)

    assert (verdict.class_name, disagreed) == (INDETERMINATE, False)


@pytest.mark.parametrize("copies", [2, 5])
def test_the_same_view_several_times_is_no_more_evidence_than_once(manifest: Manifest, copies: int) -> None:
    once, _ = fuse(views(0.8), manifest)
    often, _ = fuse(views(*[0.8] * copies), manifest)

    assert often.probability == pytest.approx(once.probability, abs=1e-6)


def test_a_view_of_certainty_is_no_infinity(manifest: Manifest) -> None:
    certain = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], np.float32)

    assert fuse(certain, manifest)[0].probability == pytest.approx(1.0)


def test_settling_leaves_a_cell_its_verdict(bench: Bench) -> None:
    bench.show([(240.0, 320.0)])
    bench.finish()

    settled: list[Cell] = [cell for cell in bench.ledger.cells() if cell.settled is bench.events[0]]
    assert len(settled) == 1


def test_a_cell_counted_on_two_islands_is_taken_back_once_and_for_all(bench: Bench) -> None:
    places = [(200.0, 300.0), (260.0, 420.0)]
    for corner in ((0.0, 0.0), (20.0, 30.0), (40.0, 60.0)):
        bench.show(places, corner)
    for corner in ((0.0, 0.0), (20.0, 30.0), (40.0, 60.0)):
        bench.show(places, corner, island=1)
    for _ in range(4):
        bench.rest()
    counted = [event.cell for event in bench.events]

    merged = merge(bench.ledger, Join(1, 0, 0.0, 0.0), UM)
    retracted = bench.counter.merge(merged)
    for corner in ((60.0, 90.0), (0.0, 0.0), (40.0, 60.0), (20.0, 30.0)):
        bench.show(places, corner)
    bench.finish()

    assert counted == [1, 2, 3, 4]
    assert {event.event for event in retracted} == {"retracted"}
    assert [(event.cell, event.island) for event in retracted] == [(3, 1), (4, 1)]
    assert retracted[0].reason == "is cell 1: islands 1 and 0 are one"
    assert [event.cell for event in bench.events] == counted


def test_a_cell_not_counted_yet_on_the_younger_island_never_is(bench: Bench) -> None:
    bench.show([(200.0, 300.0)])
    bench.show([(200.0, 300.0)], (10.0, 20.0), island=1)

    assert bench.counter.merge(merge(bench.ledger, Join(1, 0, 0.0, 0.0), UM)) == []

    bench.show([(200.0, 300.0)], (30.0, 40.0))
    bench.finish()
    assert [(event.event, event.cell, event.views) for event in bench.events] == [("counted", 1, 3)]
    assert [(cell.number, cell.views) for cell in bench.ledger.cells()] == [(1, 3)]
    assert bench.counter.open == 0
