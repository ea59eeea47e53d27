"""Segmentation: every nucleated cell once and at its place, nothing where there is none, a steady threshold."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.optics import Optics, Sensor
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.simulated.stain import LookName
from fnrbc_device.records import Field, Image
from fnrbc_device.vision.measuring import measure
from fnrbc_device.vision.segmentation import (
    DARKEST_MODE_LIMIT,
    DENOMINATOR,
    Segmenter,
    first_extreme,
    literal_threshold,
    threshold,
)

UM = 0.125
LOOKS: tuple[LookName, LookName] = ("giemsa", "he")
GLASS = 240.0


def painted(discs: list[tuple[float, float, float, float]], shape: tuple[int, int] = (480, 640)) -> Image:
    """Discs (row, col, diameter in um, optical density) on glass, through a lens; the densest wins."""
    density = np.zeros(shape)
    for centre_row, centre_col, diameter_um, depth in discs:
        radius = diameter_um / UM / 2
        top, left = max(int(centre_row - radius) - 8, 0), max(int(centre_col - radius) - 8, 0)
        window = density[top : top + int(2 * radius) + 18, left : left + int(2 * radius) + 18]
        row, col = np.indices(window.shape)
        edge = radius - np.hypot(row + top - centre_row, col + left - centre_col)
        np.maximum(window, depth / (1 + np.exp(-np.clip(2 * edge, -50, 50))), out=window)
    light = np.rint(GLASS * 10.0**-density).astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=2)


def cell(row: float, col: float) -> list[tuple[float, float, float, float]]:
    return [(row, col, 10.0, 0.2), (row, col, 6.0, 0.9)]


def centres(field: Field) -> np.ndarray:
    return np.array([detection.centre_rc for detection in field.detections]).reshape(-1, 2)


def slide(seed: int, look: LookName, cells: int = 60, **densities: float) -> SimulatedSlide:
    return SimulatedSlide.make(seed, look, cells, UM, **densities)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("seed", range(3))
def test_every_nucleated_cell_is_found_once_at_its_place(seed: int, look: LookName) -> None:
    smear = slide(seed, look)
    truth = np.array([(cell.row_px, cell.col_px) for cell in smear.truth])
    sensor = Sensor(Optics(dust=0, vignette=0.04), smear.image.shape[:2], np.random.default_rng(seed))
    exposed = sensor.expose(smear.image, np.zeros(2), np.zeros(2), 0.0, 1.0)

    found = centres(Segmenter(UM).segment(exposed))

    apart_um = UM * np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1))
    nearest = apart_um.argmin(axis=1)
    owned = np.bincount(nearest[apart_um.min(axis=1) <= 3.0], minlength=len(truth))
    assert (owned == 1).all(), [(smear.truth[i].class_name, owned[i]) for i in np.flatnonzero(owned != 1)]
    # An eosinophil's granules may be as dark as its nucleus; of touching cells one may be given the other's lobe.
    plain = [c.partner is None and c.class_name != "eosinophil" for c in smear.truth]
    assert apart_um.min(axis=0)[plain].max() <= 1.0
    assert len(found) <= 1.05 * len(truth)  # where three red cells overlap it is as dark as a nucleus


@pytest.mark.parametrize("seed", [0, 5, 12])
def test_where_nothing_else_lies_no_lobe_of_any_nucleus_is_lost(seed: int) -> None:
    bare = slide(seed, "giemsa", red_cells_per_mm2=0, platelets_per_mm2=0, debris_per_mm2=0)
    truth = np.array([(cell.row_px, cell.col_px) for cell in bare.truth])

    found = centres(Segmenter(UM).segment(bare.image))

    assert len(found) == len(truth)
    assert UM * np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1)).min(axis=0).max() <= 0.5


@pytest.mark.parametrize("level", [0, 60, 128, 200, 240, 255])
def test_an_empty_field_has_no_cells_and_no_threshold(level: int) -> None:
    noisy = np.random.default_rng(0).normal(level, 2.0, (480, 640, 3))

    field = Segmenter(UM).segment(np.clip(noisy, 0, 255).astype(np.uint8))

    assert field.detections == []
    assert field.threshold == 0.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("density", [0.10, 0.135, 0.17])
def test_red_cells_alone_are_no_cells_to_count(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    grid = [(row, col) for row in range(50, 960, 100) for col in range(50, 1280, 100)]
    discs = [(row, col, rng.uniform(7, 8), density * rng.uniform(0.8, 1.2)) for row, col in grid]

    field = Segmenter(UM).segment(painted(discs, (960, 1280)))

    assert field.detections == []
    assert field.threshold == 0.0


def test_what_was_learned_of_nuclei_does_not_make_cells_of_red_cells() -> None:
    segmenter = Segmenter(UM)
    red = [(row, col, 7.5, 0.15) for row in range(50, 480, 90) for col in range(50, 640, 90)]
    segmenter.segment(painted([*cell(200, 300), *cell(300, 500)]))

    field = painted(red)
    assert [len(segmenter.segment(field).detections) for _ in range(60)] == [0] * 60


@pytest.mark.parametrize("darkest", [0.0, 15.0, 38.0, 92.5, 130.0])
def test_the_threshold_is_the_formula_without_the_outer_bracket(darkest: float) -> None:
    assert threshold(darkest) == pytest.approx(darkest + (256 - darkest) / 3.06)
    assert DENOMINATOR == 3.06


def test_the_formula_as_printed_is_a_constant() -> None:
    assert literal_threshold() == pytest.approx(83.7, abs=0.05)


@pytest.mark.parametrize("darkest", [20, 33, 60, 110])
def test_the_darkest_mode_is_the_nuclei_however_small_their_share(darkest: int) -> None:
    greys = np.arange(256)
    modes = {darkest: 0.003, 170: 0.4, 240: 0.597}
    histogram = sum(share * np.exp(-0.5 * ((greys - grey) / 6.0) ** 2) / 15.04 for grey, share in modes.items())

    assert first_extreme(np.asarray(histogram)) == pytest.approx(darkest, abs=2)


def test_a_few_dark_pixels_are_no_mode() -> None:
    histogram = np.zeros(256)
    histogram[[240, 170, 30]] = [0.6, 0.3999, 0.0001]

    assert first_extreme(histogram) is None
    assert DARKEST_MODE_LIMIT <= 170


def test_the_threshold_in_use_follows_from_the_stain_of_the_nuclei() -> None:
    grey_of_nuclei = GLASS * 10.0**-0.9

    field = Segmenter(UM).segment(painted([*cell(150, 200), *cell(300, 450)]))

    assert field.threshold == pytest.approx(threshold(grey_of_nuclei), abs=2.5)


def test_the_threshold_drifts_but_never_jumps_when_the_field_changes() -> None:
    dark = painted([d for c in [(120, 120), (240, 300), (360, 500)] for d in cell(*c)])
    pale = painted([(row, col, 7.0, 0.55) for row, col in [(120, 120), (240, 300), (360, 500)]])
    segmenter = Segmenter(UM)
    settled = [segmenter.segment(dark).threshold for _ in range(40)][-1]

    after = [segmenter.segment(pale).threshold for _ in range(20)]

    assert Segmenter(UM).segment(pale).threshold - settled > 15  # a frame judged alone would jump
    assert np.abs(np.diff([settled, *after])).max() <= 3.0


@pytest.mark.parametrize("look", LOOKS)
def test_the_threshold_is_steady_over_the_fields_of_a_slide(look: LookName) -> None:
    smear = slide(5, look)
    segmenter = Segmenter(UM)
    corners = [(row, col) for row in range(0, 1200, 120) for col in range(0, 1600, 160)]

    fields = [segmenter.segment(smear.image[row : row + 480, col : col + 640]) for row, col in corners]

    seen = [field.threshold for field in fields if field.threshold]
    assert len(seen) > 80
    assert np.abs(np.diff(seen)).max() <= 6.0


@pytest.mark.parametrize("light", [0.6, 0.85, 1.0])
def test_dimmer_light_finds_the_same_cells_at_the_same_threshold(light: float) -> None:
    image = painted([*cell(150, 200), *cell(300, 450)])
    dimmed = np.rint(image * light).astype(np.uint8)

    field, bright = Segmenter(UM).segment(dimmed), Segmenter(UM).segment(image)

    assert field.threshold == pytest.approx(bright.threshold, abs=3)
    assert np.abs(centres(field) - centres(bright)).max() <= 1.0


def odd_frames() -> dict[str, Image]:
    rng = np.random.default_rng(1)
    smear = slide(2, "giemsa", 20).image[:480, :640]
    board = (255 * (np.indices((480, 640)).sum(0) % 2)).astype(np.uint8)
    return {
        "black": np.zeros((480, 640, 3), np.uint8),
        "white": np.full((480, 640, 3), 255, np.uint8),
        "noise": rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
        "inverted": 255 - smear,
        "saturated": np.where(smear > 128, 255, 0).astype(np.uint8),
        "checkerboard": np.repeat(board[..., None], 3, axis=2),
        "coarse checkerboard": np.kron(board[:24, :32], np.ones((20, 20), np.uint8))[..., None].repeat(3, 2),
        "one pixel": np.full((1, 1, 3), 20, np.uint8),
        "a line": smear[:1],
        "a stamp": smear[:9, :11],
        "half black": np.concatenate([smear[:240], np.zeros((240, 640, 3), np.uint8)]),
    }


@pytest.mark.parametrize("name", odd_frames())
def test_no_frame_however_odd_ends_the_segmentation(name: str) -> None:
    segmenter = Segmenter(UM)
    segmenter.segment(painted(cell(200, 300)))

    for odd in (Segmenter(UM).segment(odd_frames()[name]), segmenter.segment(odd_frames()[name])):
        assert 0.0 <= odd.threshold <= 256.0
        assert np.isfinite(centres(odd)).all()
    assert Segmenter(UM).segment(painted(cell(200, 300))).detections


@pytest.mark.parametrize(
    "centre_rc", [(20.0, 300.0), (460.0, 300.0), (240.0, 20.0), (240.0, 620.0), (2.0, 2.0), (478.0, 636.0)]
)
def test_a_cell_at_the_border_waits_for_a_frame_that_shows_it_whole(centre_rc: tuple[float, float]) -> None:
    at_border, inside = Segmenter(UM).segment(painted([*cell(*centre_rc), *cell(240, 320)])).detections

    if np.hypot(inside.centre_rc[0] - 240, inside.centre_rc[1] - 320) > 5:
        at_border, inside = inside, at_border
    assert inside.whole
    assert not at_border.whole


def test_a_cell_just_inside_the_border_is_whole() -> None:
    (detection,) = Segmenter(UM).segment(painted(cell(34.0, 320.0))).detections

    assert detection.whole


@pytest.mark.parametrize(("nucleus_um", "off_um"), [(5.0, 0.0), (5.0, 0.5), (6.5, 1.0), (8.0, 0.0), (8.0, 0.9)])
def test_what_is_measured_is_what_was_painted(nucleus_um: float, off_um: float) -> None:
    discs = [(240.0, 320.0, 10.0, 0.2), (240.0, 320.0 + off_um / UM, nucleus_um, 0.9)]

    field = Segmenter(UM).segment(painted(discs))
    (detection,) = field.detections
    body = measure(detection, field)

    assert detection.centre_rc == pytest.approx((240.0, 320.0 + off_um / UM), abs=1.0)
    assert detection.nucleus_diameter_um == pytest.approx(nucleus_um, abs=0.4)
    assert body.diameter_um == pytest.approx(10.0, abs=0.7)  # a lens makes all things wider
    assert body.nucleus_ratio == pytest.approx((nucleus_um / 10.0) ** 2, abs=0.08)
    assert body.off_centre_um == pytest.approx(off_um, abs=0.25)
    assert body.density == pytest.approx(0.9, abs=0.16)  # its rim is paler


@pytest.mark.parametrize("diameter_um", [0.8, 1.5, 2.2])
def test_specks_of_stain_are_no_cells(diameter_um: float) -> None:
    specks = [(row, col, diameter_um, 0.9) for row in range(60, 480, 120) for col in range(60, 640, 120)]

    found = Segmenter(UM).segment(painted([*cell(240, 320), *specks]))

    assert len([d for d in found.detections if d.nucleus_diameter_um < 4]) == 0


def test_a_smudge_larger_than_any_cell_is_none() -> None:
    assert Segmenter(UM).segment(painted([(240, 320, 30.0, 0.9)])).detections == []
