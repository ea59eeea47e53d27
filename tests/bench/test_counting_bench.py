"""The counting bench itself: its figures are right on truth made here, and each bench runs."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import figures
import jumping
import scenes
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.model.bundle import load_bundle
from recording import Join, Recording, record
from scenes import Scene, frames_of, simulated

BENCH = Path(__file__).resolve().parent
SHAPE = (960, 1280)


@pytest.fixture(scope="module")
def scene() -> Scene:
    slide = SimulatedSlide.make(5, "giemsa", 40)
    span = np.array(slide.image.shape[:2]) - SHAPE
    path = np.array([[0.2, 0.1], [0.2, 0.9], [0.9, 0.9], [0.9, 0.1], [0.2, 0.1]]) * span
    legs = [np.linspace(start, end, 8, endpoint=False) for start, end in pairwise(path)]
    return simulated(SimulatedMicroscope(slide, np.concatenate(legs), seed=5))


@pytest.fixture(scope="module")
def recording(scene: Scene) -> Recording:
    return record(frames_of(scene), np.arange(len(scene.corners_rc)), scene.pixel_size_um, load_bundle(None))


def test_a_good_count_has_good_figures(scene, recording):
    told = figures.figures(recording, scene)

    assert told["doubles"] == told["close_pairs"] == told["wrong_links"] == told["false_islands"] == 0
    assert told["wanted"] >= 20
    assert told["missed"] <= 0.05 * told["wanted"]
    assert told["islands"] == told["islands_true"] == 1
    assert told["pose_median_px"] <= 0.5
    # Two views of each cell, and eight more looks at each view that may be an fNRBC: 4.11 on this slide.
    assert 1 <= told["evaluations_per_cell"] <= 5


def test_a_cell_counted_twice_is_told(scene, recording):
    twice = replace(
        recording,
        cells_rc=np.vstack([recording.cells_rc, recording.cells_rc[:1] + 6]),
        cell_islands=np.append(recording.cell_islands, recording.cell_islands[0]),
        numbers=np.append(recording.numbers, 999),
    )

    assert figures.figures(twice, scene)["close_pairs"] == 1


def test_a_missed_cell_is_told_with_what_became_of_it(scene, recording):
    laid = figures.placed(recording, scene)
    before = figures.matched(recording, scene, laid)
    found = next(cell for cell in before.wanted if cell not in before.missed)
    apart = np.hypot(*(before.places_rc - scene.cells_rc[found]).T)
    kept = apart > figures.NEAR_UM / scene.pixel_size_um
    fewer = replace(
        recording,
        cells_rc=recording.cells_rc[kept],
        cell_islands=recording.cell_islands[kept],
        numbers=recording.numbers[kept],
    )

    after = figures.matched(fewer, scene, figures.placed(fewer, scene))

    assert set(after.missed) - set(before.missed) == {found}
    assert figures.fates(fewer, scene, laid, after.missed)[-1]["marked_in_frames"] > 0


def test_a_frame_laid_wrong_is_a_wrong_link_and_a_pose_error(scene, recording):
    poses = recording.poses_rc.copy()
    poses[20:] += 100
    wrong = replace(recording, poses_rc=poses)

    told = figures.figures(wrong, scene)

    assert told["wrong_links"] == 1
    assert told["pose_max_px"] > 90


def cut_in_two(recording: Recording, shift: float) -> Recording:
    islands, poses = recording.islands.copy(), recording.poses_rc.copy()
    islands[20:] = 1
    poses[20:] += 500
    return replace(recording, islands=islands, poses_rc=poses, joins=(Join(25, 1, 0, (shift, shift)),))


def test_an_island_begun_without_need_is_told(scene, recording):
    apart = replace(cut_in_two(recording, 0.0), joins=())
    apart.cell_islands[:] = 0

    told = figures.figures(apart, scene)

    assert told["false_islands"] == 1
    assert told["islands"] == 2


@pytest.mark.parametrize(("shift", "wrong"), [(-500.0, 0), (-400.0, 1)])
def test_a_join_is_right_where_the_truth_lays_the_two_islands(scene, recording, shift, wrong):
    joined = cut_in_two(recording, shift)

    told = figures.figures(joined, scene)

    assert told["islands"] == 1
    assert told["wrong_joins"] == wrong
    assert (told["pose_max_px"] > 50) == bool(wrong)


def test_the_scenes_own_count_of_sharp_views_is_the_microscopes():
    slide = SimulatedSlide.make(6, "he", 30)
    microscope = SimulatedMicroscope(slide, seed=6)

    assert np.array_equal(simulated(microscope).times_sharp(), microscope.times_sharp())


def test_pieces_and_what_can_be_joined_follow_from_the_path():
    near, far = np.array([0.0, 0.0]), np.array([0.0, 3000.0])
    corners = np.array([near, near + 50, far, far + 50, near + 100, near + 9000])

    piece = figures.pieces(corners, SHAPE)

    assert piece.tolist() == [0, 0, 1, 1, 2, 3]
    assert figures.rejoined(corners, piece, SHAPE) == {1: set(), 2: {0}, 3: set()}
    assert figures.true_islands(corners, SHAPE) == (4, 3)


@pytest.mark.parametrize("seed", range(3))
def test_a_jumping_path_breaks_where_it_jumps_and_nowhere_else(seed):
    path = jumping.jumping_path((5000, 6700), 12, 6, seed)

    piece = figures.pieces(path, SHAPE)

    assert piece.tolist() == np.repeat(np.arange(13), 6).tolist()
    assert 2 <= sum(bool(others) for others in figures.rejoined(path, piece, SHAPE).values()) <= 11


def test_close_pairs_are_found_whatever_their_order():
    places = np.array([[50.0, 50.0], [10.0, 10.0], [50.0, 300.0], [12.0, 11.0]])

    assert [sorted(pair) for pair in figures.close_pairs(places, 5.0).tolist()] == [[1, 3]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulated", "--cells", "30", "--pixel-size-um", "0.125", "--frames", "25"],
        ["jump", "--sessions", "1", "--jumps", "2", "--frames", "3"],
        ["cost", "--ledger", "100", "2000", "--frames", "14"],
    ],
)
def test_each_bench_prints_its_figures_as_json(arguments):
    rows = told(*arguments)

    assert all("name" in row for row in rows)
    assert all(isinstance(value, int | float | str | list | dict | bool) for row in rows for value in row.values())


@pytest.mark.skipif(not scenes.HAND_PAN.exists(), reason=f"the hand-moved pan is not at {scenes.HAND_PAN}")
def test_the_hand_moved_pan_is_compared_frame_by_frame():
    (row,) = told("handpan")

    assert row["frames"] == 77
    assert row["pose_median_px"] < 2


def told(*arguments: str) -> list[dict[str, object]]:
    command = [sys.executable, str(BENCH / "counting.py"), *arguments, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows
