"""Lobes of one nucleus are one cell; cells that touch are two."""

import cv2
import numpy as np
import pytest

from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.measuring import measure
from fnrbc_device.vision.outline import Outline
from fnrbc_device.vision.segmentation import Segmenter

GLASS = 240.0
NUCLEUS, BODY = 0.9, 0.2
MIDDLE = np.array([150.0, 150.0])

Disc = tuple[np.ndarray, float, float]
"""Centre (row, col) in um from the middle, diameter in um, optical density."""


def found(discs: list[Disc], pixel_size_um: float = 0.125) -> list[Detection]:
    return Segmenter(pixel_size_um).segment(painted(discs, pixel_size_um)).detections


def painted(discs: list[Disc], pixel_size_um: float) -> Image:
    """Discs on glass, through a lens; the densest wins."""
    row, col = np.mgrid[:300, :300]
    density = np.zeros((300, 300))
    for centre_um, diameter_um, depth in discs:
        centre = MIDDLE + centre_um / pixel_size_um
        edge = diameter_um / pixel_size_um / 2 - np.hypot(row - centre[0], col - centre[1])
        density = np.maximum(density, depth / (1 + np.exp(-np.clip(2 * edge, -50, 50))))
    light = np.rint(GLASS * 10.0**-density).astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=2)


def towards(angle_deg: float, length_um: float) -> np.ndarray:
    angle = np.deg2rad(angle_deg)
    return length_um * np.array([np.sin(angle), np.cos(angle)])


def lobed(lobes: int, angle_deg: float, gap_um: float) -> list[Disc]:
    """A granulocyte: lobes of 3.6 um in an open ring, a pale body of 13 um round them."""
    step = 2 * np.degrees(np.arcsin((3.6 + gap_um) / 2 / 3.2))
    places = [towards(angle_deg + index * min(step, 360 / lobes), 3.2) for index in range(lobes)]
    return [(np.zeros(2), 13.0, BODY), *((place, 3.6, NUCLEUS) for place in places)]


@pytest.mark.parametrize("lobes", [2, 3, 4, 5])
@pytest.mark.parametrize("angle_deg", [0, 40, 100])
@pytest.mark.parametrize("gap_um", [-0.4, 0.4])
def test_the_lobes_of_one_nucleus_are_one_cell(lobes: int, angle_deg: float, gap_um: float) -> None:
    field = Segmenter(0.125).segment(painted(lobed(lobes, angle_deg, gap_um), 0.125))
    (detection,) = field.detections

    assert detection.nucleus_diameter_um == pytest.approx(3.6 * np.sqrt(lobes), rel=0.2)
    assert 10.0 < measure(detection, field).diameter_um < 14.0


@pytest.mark.parametrize("gap_um", [-0.3, 0.5, 1.5])
@pytest.mark.parametrize("angle_deg", [0, 30, 75])
def test_two_large_lobes_in_one_body_are_one_cell(gap_um: float, angle_deg: float) -> None:
    apart = towards(angle_deg, (5.0 + gap_um) / 2)

    assert len(found([(np.zeros(2), 14.0, BODY), (apart, 5.0, NUCLEUS), (-apart, 5.0, NUCLEUS)])) == 1


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("angle_deg", [0, 25, 45, 90, 130])
@pytest.mark.parametrize(("body_um", "nucleus_um"), [(10.0, 6.0), (8.0, 6.0), (12.0, 6.5)])
def test_two_cells_whose_bodies_touch_are_two(
    overlap: float, angle_deg: float, body_um: float, nucleus_um: float
) -> None:
    apart = towards(angle_deg, body_um * (1 - overlap) / 2)
    layers = ((body_um, BODY), (nucleus_um, NUCLEUS))
    discs = [(side * apart, size, depth) for side in (-1, 1) for size, depth in layers]

    detections = found(discs)

    assert len(detections) == 2
    for side in (-1, 1):
        place = MIDDLE + side * apart / 0.125
        assert min(np.hypot(*(place - detection.centre_rc)) for detection in detections) <= 4


@pytest.mark.parametrize("angle_deg", [0, 30, 90, 140])
@pytest.mark.parametrize("off_um", [0.0, 1.2])
def test_a_small_lymphocyte_that_touches_an_fnrbc_is_a_cell_of_its_own(angle_deg: float, off_um: float) -> None:
    small = towards(angle_deg, 7.6)
    large = [(np.zeros(2), 10.4, BODY), (towards(angle_deg, off_um), 6.0, NUCLEUS)]

    assert len(found([*large, (small, 5.2, BODY), (small, 4.8, NUCLEUS)])) == 2


@pytest.mark.parametrize("diameter_um", [5.5, 7.0, 9.0])
@pytest.mark.parametrize("angle_deg", [0, 20, 45, 90])
@pytest.mark.parametrize("pixel_size_um", [0.105, 0.125, 0.2])
def test_two_bare_nuclei_that_overlap_by_a_tenth_are_two(
    diameter_um: float, angle_deg: float, pixel_size_um: float
) -> None:
    apart = towards(angle_deg, 0.45 * diameter_um)

    detections = found([(apart, diameter_um, NUCLEUS), (-apart, diameter_um, NUCLEUS)], pixel_size_um)

    assert len(detections) == 2
    for detection in detections:
        assert detection.nucleus_diameter_um == pytest.approx(diameter_um, rel=0.15)


def test_three_bare_nuclei_in_a_row_are_three() -> None:
    assert len(found([(towards(20, 6.3 * step), 7.0, NUCLEUS) for step in (-1, 0, 1)])) == 3


@pytest.mark.parametrize("angle_deg", [0, 35, 90])
def test_a_kidney_shaped_nucleus_is_one_cell(angle_deg: float) -> None:
    bend = [(towards(angle_deg + turn, 3.0), 5.0, NUCLEUS) for turn in range(0, 181, 15)]

    assert len(found([(np.zeros(2), 15.0, BODY), *bend])) == 1


def test_every_lobe_of_a_cut_nucleus_stays_part_of_it() -> None:
    # Two lobes large enough for nuclei, and a third that is too small for one.
    lobes = [(towards(0, 3.4), 5.2, NUCLEUS), (towards(95, 3.4), 5.2, NUCLEUS), (towards(190, 3.6), 4.2, NUCLEUS)]

    (detection,) = found([(np.zeros(2), 15.0, BODY), *lobes])

    painted_um2 = np.pi / 4 * (5.2**2 + 5.2**2 + 4.2**2)
    assert np.pi / 4 * detection.nucleus_diameter_um**2 == pytest.approx(painted_um2, rel=0.2)


@pytest.mark.parametrize("radius", [4, 9.5, 20])
def test_an_outline_measures_the_pixels_that_it_covers(radius: float) -> None:
    row, col = np.mgrid[:80, :90]
    mask = (np.hypot(row - 38.0, col - 47.0) <= radius).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)

    outline = Outline.of(np.asarray(contours[0], np.int32)[:, 0, :])

    assert outline.area_px2 == pytest.approx(mask.sum(), rel=0.06)
    assert outline.centre_xy == pytest.approx((47.0, 38.0), abs=0.1)
    assert outline.diameter_px == pytest.approx(2 * radius, abs=1.0)


def test_an_outline_of_a_single_line_has_a_centre() -> None:
    outline = Outline.of(np.array([[3, 5], [4, 5], [5, 5]], np.int32))

    assert outline.centre_xy == pytest.approx((4.0, 5.0))
