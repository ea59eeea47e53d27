"""The centre network's picture, its maps read as cells, and the three ways to find them."""

import cv2
import numpy as np
import pytest

from fnrbc_device.records import Image
from fnrbc_device.vision.centre_picture import CENTRE_UM, DEEPEST, MAPS, STRIDE, at_centre_scale, centre_picture
from fnrbc_device.vision.centres import Centre, centres_of, outlines_of
from fnrbc_device.vision.reduction import halved, reduce
from fnrbc_device.vision.seeing import CentreModel, Seeing
from fnrbc_device.vision.stain import IDENTITY, Anchors, map_of

UM = 0.25
GLASS = (240.0, 228.0, 210.0)
NUCLEUS, RED_CELL = (70, 40, 130), (225, 180, 190)
PLATELET, PALE_NUCLEUS, CYTOPLASM = (119, 65, 155), (100, 70, 140), (170, 150, 190)


def field(nuclei: list[tuple[int, int, int]], red_cells: list[tuple[int, int]] = ()) -> Image:
    """Discs on glass; row, col, radius px."""
    image = np.empty((400, 480, 3), np.uint8)
    image[...] = np.rint(GLASS)
    for row, col in red_cells:
        cv2.circle(image, (col, row), 15, RED_CELL, -1, cv2.LINE_AA)
    for row, col, radius in nuclei:
        cv2.circle(image, (col, row), radius, NUCLEUS, -1, cv2.LINE_AA)
    noisy = image + np.random.default_rng(1).normal(0, 2, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def empty_maps(rows: int = 40, cols: int = 50) -> np.ndarray:
    maps = np.zeros((MAPS, rows, cols), np.float32)
    maps[0] = -9
    return maps


def put(maps: np.ndarray, row: float, col: float, radius: float, heat: float = 2.0) -> None:
    """A peak, places and radius in pixels of the network's picture."""
    at_row, at_col = (row + 0.5) / STRIDE - 0.5, (col + 0.5) / STRIDE - 0.5
    pixel = (round(at_row), round(at_col))
    maps[:, pixel[0], pixel[1]] = heat, at_row - pixel[0], at_col - pixel[1], np.log(radius), 1


class Knowing:
    """A network that says what it was told of the field; keeps the shapes of a real one."""

    def __init__(self, cells: list[tuple[float, float, float]]) -> None:
        self.cells = cells

    def maps(self, picture: np.ndarray) -> np.ndarray:
        assert picture.dtype == np.float32
        rows, cols = picture.shape[2] // STRIDE, picture.shape[3] // STRIDE
        maps = empty_maps(rows, cols)
        factor = CENTRE_UM / UM
        for row, col, radius in self.cells:
            put(maps, (row + 0.5) / factor - 0.5, (col + 0.5) / factor - 0.5, radius / factor)
        return maps

    def close(self) -> None:
        pass


class Lukewarm(Knowing):
    """A network that is nowhere sure: the same heat at all that it was told of."""

    def __init__(self, cells: list[tuple[float, float, float]], heat: float) -> None:
        super().__init__(cells)
        self.logit = np.log(heat / (1 - heat))

    def maps(self, picture: np.ndarray) -> np.ndarray:
        maps = super().maps(picture)
        maps[0][maps[0] > 0] = self.logit
        return maps


class ForDarkness:
    """A network that takes for a cell what absorbs much green; keeps the shapes of a real one."""

    def maps(self, picture: np.ndarray) -> np.ndarray:
        rows, cols = picture.shape[2] // STRIDE, picture.shape[3] // STRIDE
        maps = empty_maps(rows, cols)
        maps[0] = 8 * (picture[0, 1].reshape(rows, STRIDE, cols, STRIDE).mean(axis=(1, 3)) - 1.4)
        return maps

    def close(self) -> None:
        pass


def seen(image: Image, method: str, cells: list[tuple[float, float, float]]) -> list[tuple[float, float]]:
    seeing = Seeing(UM, CentreModel(Knowing(cells), method, 0.3, 0.1))  # type: ignore[arg-type]  # one of the three
    return [one.centre_rc for one in seeing.see(image, reduce(image, UM), IDENTITY).detections]


@pytest.mark.parametrize("pixel_um", [0.086, 0.105, 0.125, 0.25, 0.35, 0.5])
def test_a_place_keeps_its_place_at_the_networks_scale(pixel_um):
    image = np.full((600, 700, 3), 240, np.uint8)
    cv2.circle(image, (420, 310), round(2 / pixel_um), (60, 30, 120), -1)
    scaled, factor = at_centre_scale(image, pixel_um)
    dark = np.argwhere(scaled[..., 1] < 135)
    row, col = dark.mean(axis=0)
    assert factor == pytest.approx(CENTRE_UM / pixel_um)
    assert ((row + 0.5) * factor - 0.5, (col + 0.5) * factor - 0.5) == pytest.approx((310, 420), abs=0.35 * factor)


def test_glass_is_nothing_and_the_sides_are_filled_up_with_it():
    glass = np.empty((50, 70, 3), np.uint8)
    glass[...] = np.rint(GLASS)
    picture = centre_picture(glass, GLASS, IDENTITY)
    assert picture.shape == (1, 3, 64, 80)
    assert all(side % DEEPEST == 0 for side in picture.shape[2:])
    assert np.abs(picture).max() < 0.01


def test_the_network_sees_the_reference_stain():
    stain_map = map_of(Anchors((1.3, 1.7, 0.9), (0.15, 0.45, 0.18), 10))
    image = field([(100, 100, 14)], [(200, 200)])
    direct = centre_picture(image, GLASS, stain_map)
    around = centre_picture(stain_map.apply(image, GLASS), GLASS, IDENTITY)
    assert np.median(np.abs(direct - around)) < 0.02


def test_a_peak_is_read_with_its_place_and_size():
    maps = empty_maps()
    put(maps, 61.3, 93.8, 9.0)
    (one,) = centres_of(maps, 2.0, CENTRE_UM / 2)
    assert (one.row, one.col) == pytest.approx(((61.3 + 0.5) * 2 - 0.5, (93.8 + 0.5) * 2 - 0.5), abs=0.01)
    assert one.radius == pytest.approx(18.0, abs=0.01)
    assert one.heat == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)


def test_of_two_peaks_within_one_nucleus_the_hotter_stays():
    maps = empty_maps()
    put(maps, 60, 60, 14, heat=1.0)
    put(maps, 60, 67, 14, heat=2.0)
    (one,) = centres_of(maps, 1.0, CENTRE_UM)
    assert one.col == pytest.approx(67, abs=0.01)


def test_two_nuclei_that_touch_stay_two():
    maps = empty_maps()
    put(maps, 60, 60, 9)
    put(maps, 60, 77, 9)
    assert len(centres_of(maps, 1.0, CENTRE_UM)) == 2


def test_a_cold_peak_is_no_cell():
    maps = empty_maps()
    put(maps, 60, 60, 9, heat=-1.0)
    assert centres_of(maps, 1.0, CENTRE_UM, 0.3) == []


def test_nuclei_that_touch_are_outlined_apart():
    reduced = reduce(field([(200, 200, 16), (200, 230, 16)]), UM)
    outlines = outlines_of([Centre(200, 200, 16, 0.9), Centre(200, 230, 16, 0.9)], reduced)
    diameters = [outline.diameter_px for outline in outlines]
    assert diameters == pytest.approx([32, 32], rel=0.12)
    assert outlines[0].points_xy[:, 0].max() <= outlines[1].points_xy[:, 0].min() + 1


def test_the_lobes_of_one_nucleus_are_one_outline():
    reduced = reduce(field([(200, 190, 9), (200, 212, 9)]), UM)
    (outline,) = outlines_of([Centre(200, 201, 18, 0.9)], reduced)
    left, _, width, _ = outline.box
    assert (left, left + width) == pytest.approx((181, 222), abs=3)
    assert outline.area_px2 == pytest.approx(2 * np.pi * 9**2, rel=0.25)


def test_what_stands_out_from_nothing_gets_its_circle():
    reduced = reduce(field([]), UM)
    (outline,) = outlines_of([Centre(150, 160, 12, 0.9)], reduced)
    assert outline.diameter_px == pytest.approx(24, rel=0.15)


def test_without_a_network_the_threshold_finds_the_cells():
    seeing = Seeing(UM)
    image = field([(100, 120, 14), (250, 300, 14)], [(60, 300), (300, 100)])
    assert seeing.method == "threshold"
    assert len(seeing.see(image, reduce(image, UM), IDENTITY).detections) == 2


def agreed(image: Image) -> list[tuple[float, float]]:
    """With a network that is never sure, and contradicts where a candidate is pale."""
    seeing = Seeing(UM, CentreModel(ForDarkness(), "both", 0.9999, 0.3))
    return [one.centre_rc for one in seeing.see(image, reduce(image, UM), IDENTITY).detections]


def test_both_keep_what_the_threshold_finds_and_the_network_agrees_to():
    image = field([(100, 120, 14), (250, 300, 14)], [(60, 300), (300, 100)])
    cv2.circle(image, (400, 200), 14, (110, 80, 150), -1, cv2.LINE_AA)
    by_threshold = Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections
    assert len(by_threshold) == 3
    assert sorted(agreed(image)) == [pytest.approx((100, 120), abs=1), pytest.approx((250, 300), abs=1)]


def test_each_of_a_crowd_is_shown_to_the_network():
    places = [(row, col) for row in range(20, 400, 40) for col in range(20, 480, 40)]
    image = field([(row, col, 12) for row, col in places])
    cv2.circle(image, (20, 20), 12, (110, 80, 150), -1, cv2.LINE_AA)
    assert len(agreed(image)) == len(places) - 1


def test_a_candidate_at_the_frames_border_is_asked_about_like_any_other():
    image = field([(6, 100, 14), (200, 474, 14), (396, 300, 14), (200, 4, 14)])
    assert len(agreed(image)) == 4


@pytest.mark.parametrize(
    ("radius", "colour", "round_it", "is_cell"),
    [
        (9, PLATELET, None, False),
        (9, PALE_NUCLEUS, None, True),
        (9, PLATELET, CYTOPLASM, True),
        (18, PLATELET, None, True),
    ],
    ids=["a platelet", "of a nucleus' hue", "in its cell", "larger"],
)
def test_what_looks_like_a_platelet_is_a_cell_only_if_the_network_says_so(radius, colour, round_it, is_cell):
    image = field([])
    if round_it is not None:
        cv2.circle(image, (300, 250), 20, round_it, -1, cv2.LINE_AA)
    cv2.circle(image, (300, 250), radius, colour, -1, cv2.LINE_AA)
    place = (250.0, 300.0, float(radius))
    assert len(Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections) == 1
    for heat, wanted in ((0.35, is_cell), (0.45, True)):
        seeing = Seeing(UM, CentreModel(Lukewarm([place], heat), "both", 0.4, 0.2))
        assert len(seeing.see(image, reduce(image, UM), IDENTITY).detections) == wanted


@pytest.mark.parametrize(
    ("radius", "colour", "heat", "is_cell"),
    [
        (10, NUCLEUS, 0.1, True),
        (10, PALE_NUCLEUS, 0.1, False),
        (10, PLATELET, 0.1, False),
        (7, NUCLEUS, 0.1, False),
        (16, NUCLEUS, 0.1, False),
        (10, NUCLEUS, 0.02, False),
    ],
    ids=["a late erythroblast", "paler", "a platelet", "as small as a platelet", "larger", "denied"],
)
def test_what_absorbs_as_only_a_nucleus_does_is_one_though_the_network_contradicts(radius, colour, heat, is_cell):
    image = field([])
    cv2.circle(image, (300, 250), radius, colour, -1, cv2.LINE_AA)
    assert len(Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections) == 1
    seeing = Seeing(UM, CentreModel(Lukewarm([(250.0, 300.0, float(radius))], heat), "both", 0.4, 0.2))
    assert len(seeing.see(image, reduce(image, UM), IDENTITY).detections) == is_cell


@pytest.mark.parametrize("place", [(0, 0), (399, 479), (3, 477), (396, 240)])
def test_what_lies_at_the_frames_corner_is_asked_about_without_a_word(place):
    image = field([])
    cv2.circle(image, place[::-1], 10, PLATELET, -1, cv2.LINE_AA)
    seeing = Seeing(UM, CentreModel(Lukewarm([(*map(float, place), 10.0)], 0.35), "both", 0.4, 0.2))
    assert len(seeing.see(image, reduce(image, UM), IDENTITY).detections) <= 1


def test_a_nucleus_lies_where_the_network_is_sure_of_it_not_in_the_middle_of_all_that_is_dark():
    image = field([(200, 200, 14)])
    image[190:210, 200:240] = NUCLEUS  # a shadow beside it, as dark
    (by_threshold,) = Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections
    assert by_threshold.centre_rc[1] > 209
    assert seen(image, "both", [(200.0, 200.0, 14.0)])[0][1] < 207
    cooler = Seeing(UM, CentreModel(Lukewarm([(200.0, 200.0, 14.0)], 0.5), "both", 0.3, 0.1))
    (kept,) = cooler.see(image, reduce(image, UM), IDENTITY).detections
    assert kept.centre_rc == by_threshold.centre_rc


def test_what_touches_a_nucleus_is_no_platelet():
    image = field([(200, 200, 14)])
    cv2.circle(image, (225, 200), 9, PLATELET, -1, cv2.LINE_AA)
    image[:, 215] = np.rint(GLASS)  # a gap of one pixel
    places = [(200.0, 200.0, 14.0), (200.0, 225.0, 9.0)]
    assert len(Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections) == 2
    seeing = Seeing(UM, CentreModel(Lukewarm(places, 0.35), "both", 0.4, 0.2))
    assert len(seeing.see(image, reduce(image, UM), IDENTITY).detections) == 2


def test_where_the_threshold_misses_what_the_network_is_sure_of_the_network_is_believed():
    dark = [(100.0, 120.0, 14.0), (300.0, 120.0, 14.0)]
    pale = [(100.0, 360.0, 14.0), (300.0, 360.0, 14.0)]
    image = field([(int(row), int(col), int(radius)) for row, col, radius in dark])
    for row, col, radius in pale:
        cv2.circle(image, (int(col), int(row)), int(radius), (205, 190, 205), -1, cv2.LINE_AA)
    assert len(Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections) == 2
    outlines = []
    for known in ([*dark, *pale], [*dark, pale[0]]):
        model = CentreModel(Knowing(known), "both", 0.4, 0.1)
        outlines.append(Seeing(UM, model).see(image, reduce(image, UM), IDENTITY).detections)
    assert [len(found) for found in outlines] == [4, 3]
    # Fewer than four sure ones say nothing of a whole frame: there the threshold's outlines stay.
    by_threshold = {one.contour_xy.tobytes() for one in Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections}
    kept = [len(by_threshold & {one.contour_xy.tobytes() for one in found}) for found in outlines]
    assert kept == [0, 2]


def test_in_a_crowd_what_the_network_nearly_calls_a_cell_is_one():
    places = [(row, col) for row in range(150, 300, 34) for col in range(150, 350, 34)]
    image = field([(row, col, 12) for row, col in places])
    known = [(float(row), float(col), 12.0) for row, col in places]
    for heat, missed in ((0.3, 1), (0.38, 0)):
        network = Knowing(known[:-1])
        nearly = Lukewarm(known[-1:], heat)
        network.maps = lambda picture, sure=network.maps, other=nearly.maps: np.where(  # type: ignore[method-assign]
            sure(picture)[0] > 0, sure(picture), other(picture)
        )
        found = Seeing(UM, CentreModel(network, "both", 0.4, 0.2)).see(image, reduce(image, UM), IDENTITY).detections
        assert len(found) == len(places) - missed


def test_nuclei_that_the_threshold_takes_for_one_part_where_the_network_knows_two():
    image = field([(200, 200, 14), (200, 214, 14)])
    assert len(Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections) == 1
    found = seen(image, "both", [(200.0, 195.0, 11.0), (200.0, 219.0, 11.0)])
    assert sorted(found) == [pytest.approx((200, 197), abs=4), pytest.approx((200, 217), abs=4)]


def test_lobes_that_the_threshold_joined_stay_one_where_the_network_knows_two():
    image = field([(200, 200, 14), (200, 214, 14)])
    found = seen(image, "both", [(200.0, 200.0, 14.0), (200.0, 214.0, 14.0)])
    assert found == [pytest.approx((200, 207), abs=2)]


def test_in_a_crowd_the_network_is_believed_alone():
    places = [(row, col) for row in range(150, 300, 34) for col in range(150, 350, 34)]
    image = field([(row, col, 12) for row, col in places])
    known = [(float(row), float(col), 12.0) for row, col in places]
    assert len(seen(image, "both", known)) == len(places)
    assert len(seen(image, "both", known[:-1])) == len(places) - 1


@pytest.mark.parametrize(("radius", "cells"), [(24.0, 1), (16.0, 2)])
def test_pieces_of_one_wide_nucleus_are_one_cell_and_of_a_small_one_two(radius: float, cells: int) -> None:
    image = field([(200, 186, 12), (200, 214, 12)])  # 6 um each, 1 um apart; the nucleus measures 12 or 8 um
    assert len(seen(image, "threshold", [])) == 2
    found = seen(image, "both", [(200.0, 200.0, radius)])
    assert len(found) == cells
    if cells == 1:
        assert found[0] == pytest.approx((200, 200), abs=1)


def test_both_find_a_pale_nucleus_that_only_the_network_sees():
    image = field([(100, 120, 14)])
    cv2.circle(image, (300, 250), 14, (205, 190, 205), -1, cv2.LINE_AA)
    found = seen(image, "both", [(100.0, 120.0, 14.0), (250.0, 300.0, 14.0)])
    assert sorted(found) == [pytest.approx((100, 120), abs=1), pytest.approx((250, 300), abs=2)]


def test_where_both_know_one_cell_the_outline_is_the_thresholds():
    image = field([(100, 120, 14), (250, 300, 14)])
    alone = Seeing(UM).see(image, reduce(image, UM), IDENTITY).detections
    model = CentreModel(Knowing([(103.0, 118.0, 11.0), (248.0, 303.0, 16.0)]), "both", 0.3, 0.1)
    both = Seeing(UM, model).see(image, reduce(image, UM), IDENTITY).detections
    wanted = sorted(one.contour_xy.tobytes() for one in alone)
    assert sorted(one.contour_xy.tobytes() for one in both) == wanted


def test_the_network_alone_finds_what_it_says():
    image = field([(100, 120, 14), (250, 300, 14)], [(60, 300)])
    found = seen(image, "network", [(100.0, 120.0, 14.0)])
    assert found == [pytest.approx((100, 120), abs=1)]


def test_a_cell_beyond_the_frame_is_none():
    image = field([(100, 120, 14)])
    assert seen(image, "network", [(100.0, 120.0, 14.0), (402.0, 200.0, 14.0)]) == [pytest.approx((100, 120), abs=1)]


def test_an_empty_frame_holds_nothing_whoever_looks():
    for method in ("network", "both"):
        assert seen(field([]), method, []) == []


@pytest.mark.parametrize("shape", [(60, 90), (61, 91), (64, 80)])
def test_the_networks_picture_is_the_same_from_the_frame_and_from_its_half(shape):
    image = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    whole, factor = at_centre_scale(image, 0.105)
    reduced = reduce(image, 0.105)
    assert reduced.colours is not None
    half, rest = at_centre_scale(reduced.colours, 0.105 * reduced.factor)
    assert np.array_equal(whole, half)
    assert factor == rest * reduced.factor


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_what_is_half_dark_is_the_same_in_two_halvings(share):
    dark = np.where(np.random.default_rng(6).random((400, 640)) < share, 255, 0).astype(np.uint8)
    averaged = cv2.resize(dark, (160, 100), interpolation=cv2.INTER_AREA)
    assert np.array_equal(halved(halved(dark)) > 127, averaged > 127)


def test_a_pixel_between_nuclei_goes_to_the_one_that_is_nearest_in_radii():
    image = field([(200, 200, 16), (200, 228, 10)])
    reduced = reduce(image, UM)
    outlines = outlines_of([Centre(200, 200, 16, 0.9), Centre(200, 228, 10, 0.9)], reduced)
    border = 200 + 28 * 16 / 26
    assert outlines[0].points_xy[:, 0].max() == pytest.approx(border, abs=1.5)
    assert outlines[1].points_xy[:, 0].min() == pytest.approx(border, abs=1.5)
