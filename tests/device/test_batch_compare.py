"""What another network changes in an archive: the same cells side by side, those that one alone finds, and a page."""

import csv
import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

import fnrbc_device
from fnrbc_device.batch.changes import compare_all, in_words, sources_in
from fnrbc_device.batch.comparing import compare_one, comparison_key, not_comparable
from fnrbc_device.batch.counting import Order, count_one
from fnrbc_device.batch.fingerprint import fingerprint
from fnrbc_device.batch.job import Asked, Crew
from fnrbc_device.batch.pictures import Place, pictures, square
from fnrbc_device.batch.rows import Basis, BatchFolder
from fnrbc_device.batch.sources import Settings, Source
from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import Pose
from fnrbc_device.reporting.aligning import aligned
from fnrbc_device.reporting.difference import CountedCell, differ_cells
from slide_files import write_slide

UM = 0.125


def cell(number, x_px, y_px, island=0, frame=0, name="fnrbc"):
    return CountedCell(number, island, x_px, y_px, x_px * UM, y_px * UM, name, 0.9, frame)


# The same place in two counts


def test_cells_go_with_the_frames_that_show_them_to_other_islands_and_places():
    before = {0: Pose(0, 0.0, 0.0), 5: Pose(0, 0.0, 400.0), 9: Pose(1, 0.0, 0.0)}
    now = {0: Pose(0, 0.0, 0.0), 5: Pose(0, 10.0, 410.0), 9: Pose(0, 900.0, 40.0)}
    cells = [cell(1, 100.0, 50.0), cell(2, 500.0, 50.0, frame=5), cell(3, 30.0, 20.0, island=1, frame=9)]

    placed = aligned(cells, before, now)

    assert [(one.island, one.x_px, one.y_px) for one in placed] == [(0, 100, 50), (0, 510, 60), (0, 70, 920)]
    assert [(one.x_um, one.y_um) for one in placed] == [(12.5, 6.25), (63.75, 7.5), (8.75, 115.0)]


def test_a_cell_whose_best_frame_the_other_count_lacks_goes_with_the_next_one_and_without_any_stays():
    before = {frame: Pose(0, 0.0, 0.0) for frame in (1, 4, 8)} | {20: Pose(1, 0.0, 0.0)}
    now = {1: Pose(0, 0.0, 0.0), 8: Pose(0, 0.0, 8.0)}

    near_first, near_last, nowhere = aligned(
        [cell(1, 10.0, 0.0, frame=4), cell(2, 20.0, 0.0, frame=5), cell(3, 30.0, 0.0, island=1, frame=20)], before, now
    )

    assert (near_first.x_px, near_last.x_px, nowhere.x_px, nowhere.island) == (10.0, 28.0, 30.0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_counts_whose_islands_are_numbered_otherwise_hold_the_same_cells(seed):
    rng = np.random.default_rng(seed)
    before = {frame: Pose(frame // 10, *rng.uniform(0, 500, 2)) for frame in range(30)}
    other = rng.permutation(3)
    moved = {island: rng.uniform(-2000, 2000, 2) for island in range(3)}
    now = {
        frame: Pose(int(other[pose.island]), *np.add((pose.row_px, pose.col_px), moved[pose.island]))
        for frame, pose in before.items()
    }
    places = [(island, 100.0 * number, 40.0) for island in range(3) for number in range(6)]
    cells = [cell(i, x, y, island, frame=10 * island) for i, (island, x, y) in enumerate(places)]
    later = [
        cell(i, x + moved[island][1] + rng.normal(), y + moved[island][0], int(other[island]))
        for i, (island, x, y) in reversed(list(enumerate(places)))
    ]

    pairs = differ_cells(aligned(cells, before, now), later, UM).pairs

    assert {(was.cell, is_now.cell) for was, is_now in pairs} == {(i, i) for i in range(len(cells))}


# Pictures of places


def test_a_picture_shows_the_place_in_its_middle_also_at_the_border_and_at_any_scale():
    image = np.full((400, 500, 3), 240, np.uint8)
    cv2.circle(image, (300, 200), 12, (90, 0, 120), -1)
    cv2.circle(image, (4, 4), 12, (90, 0, 120), -1)

    for row, col, um in [(200, 300, 0.2), (200, 300, 0.1), (200, 300, 0.5), (4, 4, 0.2)]:
        shown = square(image, row, col, um)
        assert shown.shape == (120, 120, 3)
        assert shown[58:62, 58:62, 1].max() == 0
        assert shown[2, 118, 1] == 240


def test_pictures_of_a_slide_file_are_read_at_their_places(tmp_path):
    picture = np.random.default_rng(1).integers(60, 250, (600, 800, 3), dtype=np.uint8)
    picture = cv2.GaussianBlur(picture, (0, 0), 3)
    source = Source(write_slide(tmp_path / "slide.tif", picture, 0.2, packing="none"), Settings())

    ((key, shown),) = pictures(source, [Place(7, 0, 0.0, 0.0, 300.0, 500.0)], 0.2)

    assert key == 7
    assert np.array_equal(shown, square(picture, 300.0, 500.0, 0.2))


# Two counts of a source


@pytest.fixture(scope="module", autouse=True)
def threads_as_before():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def another(folder: Path, heat: float | None = None, **changed: object) -> Path:
    """The shipped networks under another manifest."""
    shutil.copytree(SHIPPED, folder)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    if heat is not None:
        changed["seeing"] = manifest.seeing.model_copy(update={"least_heat": heat, "agreed_heat": heat})
    other = manifest.model_copy(update=changed)
    sealed = other.model_copy(update={"bundle_id": other.identify()})
    (folder / "manifest.json").write_bytes(sealed.canonical())
    return folder


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """A pan counted by the shipped bundle, by one that is sure of nothing, and by one that finds next to nothing."""
    folder = tmp_path_factory.mktemp("compared")
    slide = SimulatedSlide.make(31, "giemsa", 40)
    write_frames(folder / "pan", SimulatedMicroscope(slide, seed=31, frame_shape=(480, 640)), frames=5)
    source = Source(folder / "pan" / "frames", Settings(pixel_size_um=UM), "=B 17 <b>")
    unsure = another(folder / "unsure_bundle", indeterminate=(0.0, 0.9999))
    blind = another(folder / "blind_bundle", heat=0.999)
    found = {}
    for name, bundle in (("shipped", None), ("unsure", unsure), ("blind", blind)):
        batch = BatchFolder(folder / name)
        batch.empty_work()
        asked = Asked([source], bundle, Basis(load_bundle(bundle).id, fnrbc_device.__version__))
        order = Order(source, fingerprint(source.path).digest, bundle, asked.basis, batch.work)
        batch.adopt(count_one(order).made, source)
        found[name] = (batch, asked)
    return source, found


@pytest.fixture
def compared(counts):
    """Compares two of these."""
    source, found = counts

    def compare(first, second):
        (before, _), (now, asked) = found[first], found[second]
        folder = BatchFolder(now.path / "comparison")
        folder.empty_work()
        both = before.path_of(source), now.path_of(source)
        order = Order(source, comparison_key(*both), asked.bundle, asked.basis, folder.work, counts=both)
        outcome = compare_one(order)
        assert (outcome.state, outcome.error) == ("complete", "")
        folder.adopt(outcome.made, source)
        summary = compare_all(asked, now.path, before.path, nobody(), threading.Event())
        return before.path_of(source), now.path_of(source), folder.path, summary

    return compare


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def places(cells):
    return np.array([(float(one["x_px"]), float(one["y_px"])) for one in cells]).reshape(-1, 2)


def nobody() -> Crew:
    def connect():
        raise AssertionError("there is nothing to do, so nobody is asked")

    return Crew(connect, may_come_back=False)


def test_every_cell_of_both_counts_is_listed_once_and_what_changed_is_shown(compared):
    before, now, folder, summary = compared("shipped", "unsure")

    was, is_now = rows(before / "cells.csv"), rows(now / "cells.csv")
    told = rows(folder / now.name / "difference.csv")
    assert sorted(one["cell_before"] for one in told) == sorted(one["cell"] for one in was)
    assert sorted(one["cell"] for one in told) == sorted(one["cell"] for one in is_now)
    changed = [one for one in told if one["class"] != one["class_before"]]
    assert 0 < summary["changed"] == len(changed)
    assert (summary["cells"], summary["only_before"], summary["only_now"]) == (len(told), 0, 0)
    listed = rows(folder / "changed.csv")
    assert [one["cell_before"] for one in listed] == [one["cell_before"] for one in changed]
    assert {one["specimen"] for one in listed} == {"'=B 17 <b>"}
    assert {one["probability_before"] for one in listed} <= {one["probability"] for one in was}
    for one in listed:
        assert cv2.imread(str(folder / one["picture"])).shape == (120, 120, 3)
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert page.count("<img ") == len(changed)
    assert "&lt;b&gt;" in page
    assert "<b>=B" not in page
    assert f"{len(changed)} of {len(told)} cells changed on 1 of 1 slides" in in_words(summary, folder)


def test_a_slide_has_its_counts_and_rates_before_and_now(compared):
    before, now, folder, summary = compared("shipped", "unsure")

    (slide,) = rows(folder / "comparison.csv")
    first, second = (json.loads((one / "summary.json").read_text()) for one in (before, now))
    assert (int(slide["fnrbc_before"]), int(slide["fnrbc_now"])) == (first["fnrbc"], second["fnrbc"])
    assert float(slide["ci95_high_before"]) == first["fnrbc_per_100_leukocytes"]["high"]
    assert slide["claim_before"] == first["claim"]["state"]
    assert (summary["bundle_before"], summary["bundle"]) == (first["bundle"], second["bundle"])


@pytest.mark.parametrize(("first", "second", "only"), [("shipped", "blind", "before"), ("blind", "shipped", "now")])
def test_cells_that_only_one_of_two_ways_of_seeing_finds_are_listed_with_their_pictures(compared, first, second, only):
    before, now, folder, summary = compared(first, second)

    seeing, blind = (before, now) if only == "before" else (now, before)
    # A nucleus as dense as no platelet is a cell though the network doubts it.
    other = places(rows(blind / "cells.csv"))
    cells = [one for one in rows(seeing / "cells.csv") if not any(np.hypot(*(places([one]) - other).T) * UM < 3)]
    assert len(cells) > 2
    assert summary[f"only_{only}"] == summary["changed"] == len(cells)
    listed = rows(folder / "changed.csv")
    assert [one["class_before" if only == "before" else "class"] for one in listed] == [one["class"] for one in cells]
    for one in listed:
        picture = cv2.imread(str(folder / one["picture"]))
        assert picture[50:70, 50:70].mean() < picture[:10].mean() - 20  # a stained nucleus in the middle


def test_a_comparison_rests_on_both_counts_as_they_are(counts):
    source, found = counts
    first, second = found["shipped"][0].path_of(source), found["unsure"][0].path_of(source)

    keys = {comparison_key(first, second), comparison_key(second, first), comparison_key(first, first)}

    assert len(keys) == 3
    assert sources_in(found["shipped"][0].path) == [source]


def test_counts_of_other_files_or_with_other_settings_are_not_compared(counts):
    source, found = counts
    first, second = (found[name][0].row_of(source) for name in ("shipped", "unsure"))
    blank = first.model_copy(update={"settings": Settings(pixel_size_um=UM, kind="blank")})
    failed = first.model_copy(update={"summary": None, "error": "it is gone"})

    assert not_comparable(first, second) == ""
    assert not_comparable(None, second) == "the earlier batch has no count of it"
    assert not_comparable(first, failed) == "this batch has no count of it (it is gone)"
    assert "the source changed" in not_comparable(first.model_copy(update={"fingerprint": "else"}), second)
    assert "other settings (kind blank \N{RIGHTWARDS ARROW} sample)" in not_comparable(blank, second)
