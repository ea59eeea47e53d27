"""Lobes of one nucleus are one cell; cells that touch are two."""

import tracemalloc

import cv2
import numpy as np
import pytest

from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.clumps import cut_clumps
from fnrbc_device.vision.lobes import join_lobes
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


def pair_of_discs(radius: float, apart: float, centre_xy: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """A mask of two equal discs, side by side."""
    row, col = np.indices(shape)
    x, y = centre_xy
    return np.minimum(*(np.hypot(row - y, col - x - side * apart / 2) for side in (-1, 1))) <= radius


def outlines_in(mask: np.ndarray) -> list[Outline]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [Outline.of(np.asarray(contour, np.int32)[:, 0]) for contour in contours]


def picture_of(mask: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(np.where(mask, 40, 235).astype(np.uint8), (3, 3), 0.8)


def test_a_clump_is_cut_alike_alone_and_among_many() -> None:
    shape, places = (400, 600), [(60 + 110 * col, 50 + 75 * row) for row in range(5) for col in range(5)]
    masks = [pair_of_discs(13 + index % 7, 20 + index % 9, place, shape) for index, place in enumerate(places)]
    together = np.any(masks, axis=0)

    among_many = cut_clumps(outlines_in(together), picture_of(together), 0.25)
    alone = [part for mask in masks for part in cut_clumps(outlines_in(mask), picture_of(mask), 0.25)]

    assert len(places) < len(alone) <= 2 * len(places)
    assert sorted((part.box, part.area_px2) for part in among_many) == sorted(
        (part.box, part.area_px2) for part in alone
    )


def test_boxes_that_lie_in_each_other_by_the_hundred_take_no_more_room_than_the_picture() -> None:
    low = np.full((600, 600), 235, np.uint8)
    corners = np.array([[8, 8], [500, 8], [500, 40], [40, 40], [40, 500], [8, 500]], np.int32)
    sides = np.stack([corners, np.roll(corners, -1, axis=0)])
    hook = np.linspace(*sides, 400).astype(np.int32).transpose(1, 0, 2).reshape(-1, 2)
    hooks = [Outline.of(hook + index % 90) for index in range(300)]
    tracemalloc.start()

    cut = cut_clumps(hooks, low, 0.25)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(cut) >= len(hooks)
    assert peak < 40 * low.size  # all of them on sheets would take more than 200 pictures


@pytest.mark.parametrize("seed", range(5))
def test_which_pieces_are_joined_does_not_depend_on_where_they_lie_in_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (300, 400)
    mask = np.zeros(shape, np.uint8)
    for x, y, radius in rng.uniform((60, 60, 4), (340, 240, 12), (40, 3)):
        cv2.circle(mask, (int(x), int(y)), int(radius), 1, -1)
    far = np.pad(mask, ((2600, 40), (3900, 40)))

    near_joined = join_lobes(outlines_in(mask), picture_of(mask), 0.25, 220.0)
    far_joined = join_lobes(outlines_in(far), picture_of(far), 0.25, 220.0)

    assert len(near_joined) < len(outlines_in(mask))
    assert [one.area_px2 for one in near_joined] == [one.area_px2 for one in far_joined]
    assert [(one.box[0] - 3900, one.box[1] - 2600) for one in far_joined] == [one.box[:2] for one in near_joined]


def test_no_pieces_are_no_nuclei() -> None:
    low = np.full((30, 40), 235, np.uint8)

    assert cut_clumps([], low, 0.25) == []
    assert join_lobes([], low, 0.25, 220.0) == []
