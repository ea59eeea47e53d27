"""The pixel size that red cells suggest: right on any stain and at any scale, silent where there are none."""

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.simulated.optics import Optics, Sensor
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.simulated.stain import LookName
from fnrbc_device.records import Image
from fnrbc_device.vision.pixelsize import (
    LARGEST_MEAN_UM,
    RED_CELL_UM,
    SMALLEST_MEAN_UM,
    RedCellRuler,
)
from fnrbc_device.vision.red_cells import red_cell_diameters_px

GLASS = 235.0
FIELD = (960, 1280)


def painted(discs: list[tuple[float, float, float, float]], shape: tuple[int, int] = FIELD, blur: float = 1.5) -> Image:
    """Discs (row, col, diameter in px, optical density) on glass, behind a lens."""
    density = np.zeros(shape, np.float32)
    for row, col, diameter, depth in discs:
        top, left = max(int(row - diameter / 2) - 2, 0), max(int(col - diameter / 2) - 2, 0)
        window = density[top : int(row + diameter / 2) + 3, left : int(col + diameter / 2) + 3]
        rows, cols = np.indices(window.shape)
        inside = diameter / 2 - np.hypot(rows + top - row, cols + left - col)
        np.maximum(window, depth * np.clip(inside + 0.5, 0, 1), out=window)
    light = cv2.GaussianBlur(GLASS * 10.0**-density, (0, 0), blur)
    return np.repeat(np.rint(light).astype(np.uint8)[..., None], 3, axis=2)


def apart(pitch: int, diameter: float, depth: float, shape: tuple[int, int] = FIELD) -> list[tuple[float, ...]]:
    rows, cols = range(pitch, shape[0] - pitch // 2, pitch), range(pitch, shape[1] - pitch // 2, pitch)
    return [(row, col, diameter, depth) for row in rows for col in cols]


def estimate(*images: Image):
    ruler = RedCellRuler()
    for image in images:
        ruler.look(image)
    return ruler.estimate()


@pytest.mark.parametrize("diameter", [14.0, 31.0, 60.0, 97.0])
@pytest.mark.parametrize("depth", [0.05, 0.135, 0.3])
def test_the_diameter_is_that_at_half_the_edges_height_whatever_the_depth(diameter, depth):
    found = red_cell_diameters_px(painted(apart(int(1.6 * diameter) + 8, diameter, depth)))

    assert len(found) > 20
    assert np.median(found) == pytest.approx(diameter, rel=0.02, abs=0.6)


@pytest.mark.parametrize("look", ["giemsa", "he"])
@pytest.mark.parametrize("pixel_um", [0.08, 0.125, 0.2, 0.4])
def test_red_cells_of_a_slide_measure_what_they_measure_at_every_pixel_size(look: LookName, pixel_um: float):
    slide = SimulatedSlide.make(17, look, 30, pixel_um)
    optics = Optics(vignette=0.3, dust=12, noise=2.0)
    sensor = Sensor(optics, FIELD, np.random.default_rng(1))
    truth_um = np.median([cell.diameter_um for cell in slide.bystanders if cell.class_name == "red_cell"])

    corners = np.array([(0, 0), (0, 300), (200, 150), (200, 0)])
    found = estimate(*(sensor.expose(slide.image, corner, np.zeros(2), 0.0, 1.0) for corner in corners))

    assert RED_CELL_UM / found.value_um * pixel_um == pytest.approx(truth_um, rel=0.03)
    assert found.agrees_with(pixel_um)
    assert not found.agrees_with(pixel_um / 1.5)
    assert not found.agrees_with(pixel_um * 1.5)


def test_the_interval_holds_what_slides_differ_by_and_no_number_of_cells_narrows_it_further():
    found = estimate(*[painted(apart(90, 60.0, 0.135))] * 3)

    assert found.low_um <= 1.01 * SMALLEST_MEAN_UM / 60.0
    assert found.high_um >= 0.99 * LARGEST_MEAN_UM / 60.0
    assert found.high_um - found.low_um < 1.1 * (LARGEST_MEAN_UM - SMALLEST_MEAN_UM) / 60.0


def test_the_fewer_and_the_more_unlike_the_cells_the_wider_the_interval():
    rng = np.random.default_rng(4)
    unlike = [(row, col, 60 * rng.uniform(0.85, 1.15), 0.135) for row, col, *_ in apart(90, 60.0, 0.135)]

    wide, narrow = estimate(painted(unlike[:14])), estimate(painted(unlike))

    assert wide.high_um - wide.low_um > 1.1 * (narrow.high_um - narrow.low_um)


def test_a_hand_at_rest_makes_the_estimate_no_surer():
    picture = painted([(r, c, 60 + (r + c) % 7, d) for r, c, _, d in apart(120, 60.0, 0.135)])

    once, again = estimate(picture), estimate(picture, picture, picture)

    assert again.cells == 3 * once.cells
    assert (again.low_um, again.high_um) == pytest.approx((once.low_um, once.high_um), rel=0.001)


def test_platelets_that_outnumber_the_red_cells_do_not_pass_for_them():
    red = apart(150, 60.0, 0.135)
    platelets = [(row + 75, col + shift, 19.0, 0.3) for row, col, *_ in red for shift in (10, 75)]

    assert RED_CELL_UM / estimate(painted([*red, *platelets])).value_um == pytest.approx(60.0, rel=0.02)


def test_nucleated_cells_do_not_pass_for_red_ones():
    red = apart(150, 60.0, 0.135)
    white = [(row + 75, col + 75, 90.0, 0.15) for row, col, *_ in red]
    nuclei = [(row, col, 70.0, 0.9) for row, col, *_ in white]

    found = red_cell_diameters_px(painted([*red, *white, *nuclei]))

    assert len(found) >= 0.9 * len(red)
    assert found.max() < 65


def test_cells_that_touch_are_left_out():
    singles = apart(180, 60.0, 0.135)
    pairs = [(row + 90 + shift, col + 90, 60.0, 0.135) for row, col, *_ in singles[:20] for shift in (-25, 25)]

    found = red_cell_diameters_px(painted([*singles, *pairs]))

    assert found.max() < 65


NOTHING = {
    "empty glass": painted([]),
    "black": np.zeros((*FIELD, 3), np.uint8),
    "white": np.full((*FIELD, 3), 255, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (*FIELD, 3), dtype=np.uint8),
    "a few cells": painted(apart(150, 60.0, 0.135)[:8]),
    "nuclei alone": painted(apart(150, 60.0, 0.9)),
    "one clump": painted(apart(50, 60.0, 0.135)),
    "no common size": painted([(r, c, 120 / (1 + i / 9), d) for i, (r, c, _, d) in enumerate(apart(130, 0, 0.15))]),
    "one pixel": np.full((1, 1, 3), 20, np.uint8),
    "a line": np.full((1, 640, 3), 20, np.uint8),
    "a stamp": painted([(5, 5, 6, 0.3)], (9, 11)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_red_cells_tell_nothing_nothing_is_suggested(name):
    assert estimate(NOTHING[name]) is None


def test_the_ruler_is_done_when_more_cells_would_tell_no_more():
    ruler = RedCellRuler()
    ruler.look(painted([]))
    assert not ruler.done
    for _ in range(2):
        ruler.look(painted(apart(100, 60.0, 0.135)))

    assert ruler.done


def test_a_large_picture_is_measured_in_its_middle():
    whole = painted(apart(90, 60.0, 0.135, (2400, 2600)), (2400, 2600))

    assert RED_CELL_UM / estimate(whole).value_um == pytest.approx(60.0, rel=0.02)
