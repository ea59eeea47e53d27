"""The bench of seeing itself: each subcommand runs on tiny truth of its own, and its figures can fail."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import seeing
import seeing_fuzz
import seeing_threshold
from fnrbc_device.vision.segmentation import Segmenter
from seeing_pictures import Wanted, field_of, label_image, matches, red_cell_px

SHARED = Path(__file__).resolve().parents[3] / "shared"
GLASS, RED_CELL, NUCLEUS = (235, 236, 238), (205, 170, 165), (90, 40, 120)
needs_scikit_image = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image, of the dev extra, is not installed"
)


def painted(nuclei_xy, shape=(480, 640), radius_px=30):
    """A field of red cells 75 px wide, with nuclei at these places."""
    image = np.full((*shape, 3), GLASS, np.uint8)
    for row in range(60, shape[0] - 40, 120):
        for col in range(60, shape[1] - 40, 120):
            cv2.circle(image, (col, row), 37, RED_CELL, -1)
    for place in nuclei_xy:
        cv2.circle(image, place, radius_px, NUCLEUS, -1)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def figures_of(capsys, *arguments):
    code = seeing.main([*map(str, arguments), "--json"])
    assert code == 0
    return json.loads(capsys.readouterr().out)


def test_a_figure_that_could_not_be_measured_keeps_no_limit():
    assert not Wanted("share", float("nan"), at_least=0.9).met
    assert not Wanted("count", float("nan"), at_most=3).met
    assert Wanted("share", 0.9, at_least=0.9).met


def test_each_nucleus_is_matched_once_and_only_from_half_an_overlap_on():
    truth, found = np.zeros((40, 80), np.int32), np.zeros((40, 80), np.int32)
    truth[5:25, 5:25], truth[5:25, 40:60] = 1, 2
    found[5:25, 5:15], found[5:25, 15:25], found[12:32, 40:60] = 7, 8, 9

    assert [(true, seen) for true, seen, _ in matches(truth, found)] == [(1, 7)]


@pytest.mark.parametrize("pixel_um", [0.25, 0.2, 0.15, 0.125, 0.06])
def test_the_mask_of_a_detection_covers_what_was_painted_whatever_the_working_scale(pixel_um):
    image = painted([(320, 240)], radius_px=round(3.5 / pixel_um))
    truth = np.zeros(image.shape[:2], np.int32)
    cv2.circle(truth, (320, 240), round(3.5 / pixel_um), 1, -1)

    pairs = matches(truth, label_image(field_of(image, pixel_um), truth.shape))

    assert [true for true, _, _ in pairs] == [1]
    assert pairs[0][2] > 0.85


def test_the_mask_of_a_lobed_nucleus_covers_both_lobes_and_not_the_gap_between():
    image = np.full((240, 240, 3), GLASS, np.uint8)
    cv2.circle(image, (120, 120), 52, (215, 190, 205), -1)
    cv2.circle(image, (96, 120), 17, NUCLEUS, -1)
    cv2.circle(image, (144, 120), 17, NUCLEUS, -1)

    field = field_of(image, 0.125)
    labels = label_image(field, (240, 240))

    assert len(field.detections) == 1
    assert labels[120, 96] == labels[120, 144] == 1
    assert labels[120, 120] == 0


def test_the_red_cells_of_a_smear_give_its_scale_and_an_empty_field_gives_none():
    assert red_cell_px(painted([])) == pytest.approx(75, abs=3)
    assert red_cell_px(np.full((480, 640, 3), GLASS, np.uint8)) is None


@needs_scikit_image
@pytest.mark.parametrize(("shift_px", "f1"), [(0, 1.0), (40, 0.0)])
def test_nuclei_scores_both_against_the_labels(tmp_path, capsys, shift_px, f1):
    write_nuclei(tmp_path, [(120, 120), (360, 120), (240, 330), (500, 330)], shift_px)

    figures = figures_of(capsys, "nuclei", "--data", tmp_path)

    assert figures["nuclei"] == 4
    assert figures["ours"]["f1"] == figures["scikit_image"]["f1"] == f1
    assert figures["speedup"] > 0


@pytest.mark.parametrize(("painted_at", "found", "false"), [((300, 180), 1.0, 0.0), ((540, 420), 0.0, 1.0)])
def test_smear_tells_white_cells_found_from_candidates_elsewhere(tmp_path, capsys, painted_at, found, false):
    write_smear(tmp_path, painted([painted_at]), (300, 180))

    figures = figures_of(capsys, "smear", "--data", tmp_path)

    assert figures["found_share"] == found
    assert figures["false_a_field"] == false
    assert figures["pixel_um"][1] == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("nuclei", [[], [(240, 240), (360, 120)]])
def test_anaemia_counts_candidates_and_what_the_classifier_made_of_them(tmp_path, capsys, nuclei):
    write(tmp_path / "anaemia_fields" / "one.png", painted(nuclei))

    field = figures_of(capsys, "anaemia", "--data", tmp_path)["by_field"][0]

    assert field["candidates"] == len(nuclei)
    settled = field["fnrbc"] + field["leukocytes"] + field["indeterminate"] + field["other"]
    assert settled == len(nuclei)
    assert field["pixel_um"] == pytest.approx(0.1, abs=0.006)


def write_nuclei(folder, places, shift_px=0):
    image = np.full((480, 640, 3), GLASS, np.uint8)
    labels = np.zeros((480, 640), np.uint16)
    for number, (x, y) in enumerate(places, start=1):
        cv2.circle(image, (x, y), 16, NUCLEUS, -1)
        cv2.circle(labels, (x + shift_px, y), 16, number, -1)
    write(folder / "nuclei" / "images" / "one.png", image)
    (folder / "nuclei" / "labels").mkdir()
    assert cv2.imwrite(str(folder / "nuclei" / "labels" / "one.png"), labels)


def write_smear(folder, image, white):
    write(folder / "smear_fields" / "images" / "one.png", image)
    boxes = [f"one.png,wbc,{white[0] - 50},{white[1] - 50},100,100"]
    boxes += [f"one.png,rbc,{col - 37},{row - 37},75,75" for row in (60, 420) for col in (60, 180, 420)]
    (folder / "smear_fields" / "boxes.csv").write_text(
        "\n".join(["image,class,left_px,top_px,width_px,height_px", *boxes]) + "\n", encoding="utf-8"
    )


@needs_scikit_image
def test_threshold_holds_both_readings_against_the_same_truth(tmp_path, capsys):
    # A pale stain, which only a threshold that adapts to it reaches.
    pale = painted([])
    cv2.circle(pale, (300, 180), 30, (150, 105, 170), -1)
    write_smear(tmp_path, pale, (300, 180))
    write(tmp_path / "anaemia_fields" / "one.png", painted([(240, 240)]))
    write(tmp_path / "pbc" / "lymphocyte" / "one.jpg", painted([(180, 180)], shape=(360, 360)))
    write_nuclei(tmp_path, [(120, 120), (360, 120), (240, 330), (500, 330)])

    figures = figures_of(capsys, "threshold", "--data", tmp_path)

    adapted, printed = figures["adapted"], figures["printed"]
    assert (adapted["smear: white cells found"], printed["smear: white cells found"]) == (1.0, 0.0)
    assert adapted["nuclei: F1"] == 1.0
    assert adapted["pbc: centre cell found, as one"] == 1.0
    medians = [printed[f"{name}: median"] for name in ("smear", "anaemia", "nuclei", "pbc")]
    assert medians == pytest.approx([256 / 3.06] * 4)
    assert adapted["smear: median"] > 100


def test_threshold_notices_when_the_segmenter_reads_another(monkeypatch):
    monkeypatch.setattr(Segmenter, "segment", lambda self, image: None)

    with pytest.raises(RuntimeError, match="asked for no threshold"), seeing_threshold.read_as(lambda darkest: 1.0):
        field_of(painted([(240, 240)]), 0.1)


@pytest.mark.parametrize(("red_cell_px", "right"), [(72, 1), (40, 0)])
def test_pixels_holds_the_suggestion_against_the_known_pixel_size(tmp_path, capsys, red_cell_px, right):
    field = np.full((480, 640, 3), GLASS, np.uint8)
    for row in range(60, 440, 110):
        for col in range(60, 600, 110):
            cv2.circle(field, (col, row), red_cell_px // 2, RED_CELL, -1)
    write(tmp_path / "pbc" / "lymphocyte" / "one.jpg", field)
    write(tmp_path / "anaemia_fields" / "one.png", field)
    write_smear(tmp_path, field, (300, 180))
    for copy in range(7):
        write(tmp_path / "smear_fields" / "images" / f"one{copy}.png", field)
    with (tmp_path / "smear_fields" / "boxes.csv").open("a", encoding="utf-8") as rows:
        rows.writelines(f"one{copy}.png,rbc,100,100,75,75\n" for copy in range(7))

    figures = figures_of(capsys, "pixels", "--data", tmp_path)

    assert figures["pbc"] == {"sessions": 1, "offered": 1, "interval_holds_it": right}
    assert figures["smear"]["median"] == pytest.approx(red_cell_px / 75, abs=0.03)
    assert figures["anaemia"]["median"] == pytest.approx(1.0, abs=0.05)
    assert figures["met"] == bool(right)


@pytest.mark.parametrize(("place", "near", "far"), [((180, 180), 1, 1), ((235, 180), 0, 1), ((300, 180), 0, 0)])
def test_pbc_finds_the_cell_in_the_middle_and_no_other(tmp_path, capsys, place, near, far):
    write(tmp_path / "pbc" / "lymphocyte" / "one.jpg", painted([place], shape=(360, 360)))

    figures = figures_of(capsys, "pbc", "--data", tmp_path)

    assert figures["classes"]["lymphocyte"]["near_share"] == near
    assert figures["nucleated"]["far_share"] == far
    assert figures["met"] == bool(near)


def test_clumps_counts_every_tile_and_writes_what_went_wrong(tmp_path, capsys):
    figures = figures_of(capsys, "clumps", "--limit", 12, "--sheet", tmp_path / "wrong.png")

    assert figures["pairs"]["tiles"] == figures["singles"]["tiles"] == 24
    wrong = sum(figures[kind]["fewer"] for kind in ("pairs", "singles"))
    assert (tmp_path / "wrong.png").exists() or wrong == 0


def test_fuzz_bounds_time_and_memory_of_a_frame_in_a_process_of_its_own(capsys):
    figures = figures_of(capsys, "fuzz", "--limit", 2)

    assert figures["shown"]["black"]["outcome"] == "seen"
    assert figures["shown"]["black"]["found"] == 0
    assert figures["shown"]["black"]["peak_mib"] > 0


@pytest.mark.parametrize(("shape", "outcome"), [((40, 60, 3), "seen"), ((7,), "refused: the image is uint8")])
def test_fuzz_tells_what_broke_from_what_was_seen(monkeypatch, shape, outcome):
    monkeypatch.setitem(seeing_fuzz.FRAMES, "black", lambda rng, usual: np.zeros(shape, np.uint8))

    assert seeing_fuzz.look_at("black")["outcome"].startswith(outcome)


def test_a_bench_without_its_data_says_where_it_looked(tmp_path, capsys):
    assert seeing.main(["pbc", "--data", str(tmp_path)]) == 2
    assert str(tmp_path / "pbc") in capsys.readouterr().err


@pytest.mark.parametrize(("place", "code"), [((180, 180), 0), ((300, 180), 1)])
def test_a_missed_figure_ends_a_bench_that_must_meet_it_with_1(tmp_path, place, code):
    write(tmp_path / "pbc" / "lymphocyte" / "one.jpg", painted([place], shape=(360, 360)))

    assert seeing.main(["pbc", "--data", str(tmp_path), "--must"]) == code


@pytest.mark.real_data
@pytest.mark.skipif(
    not (SHARED / "tools" / "compose_slide.py").exists(), reason=f"the composing tool is not in {SHARED / 'tools'}"
)
def test_composed_counts_the_same_slide_twice(capsys):
    figures = figures_of(capsys, "composed", "--data", SHARED / "data", "--limit", 5)

    assert figures["plain"]["frames"] == figures["faulty"]["frames"] > 0
    assert 0 < figures["labelled_found"] <= figures["labelled"]
