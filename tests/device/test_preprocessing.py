"""Cropping: the same cell gives the same crop, whatever the light, the tint and the camera's pixel."""

import cv2
import numpy as np
import pytest

from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, GLASS, MARGIN_UM, crop

NUCLEUS = np.array([0.62, 0.90, 0.23])
BODY = np.array([0.25, 0.25, 0.06])
RED_CELL = np.array([0.085, 0.135, 0.115])
WHITE = np.array([240.0, 240.0, 240.0])

Disc = tuple[float, float, float, np.ndarray]
"""Row and column in um from the cell, diameter in um, optical density of red, green and blue."""

CELL: list[Disc] = [(0.0, 0.0, 10.0, BODY), (0.0, 0.5, 6.0, NUCLEUS)]


def field(
    discs: list[Disc], pixel_size_um: float, light_rgb: np.ndarray = WHITE, at_um: tuple[float, float] = (20.0, 25.0)
) -> tuple[Image, Detection]:
    """A field of 40 x 50 um with discs on glass, and the detection of the last of them."""
    shape = (int(40 / pixel_size_um), int(50 / pixel_size_um))
    row_um, col_um = (np.indices(shape) + 0.5) * pixel_size_um
    density = np.zeros((*shape, 3))
    for row, col, diameter, depth in discs:
        inside = diameter / 2 - np.hypot(row_um - at_um[0] - row, col_um - at_um[1] - col)
        density = np.maximum(density, depth / (1 + np.exp(-np.clip(inside / 0.06, -50, 50)))[..., None])
    row, col, diameter, _ = discs[-1]
    centre = ((at_um[0] + row) / pixel_size_um - 0.5, (at_um[1] + col) / pixel_size_um - 0.5)
    return np.rint(light_rgb * 10.0**-density).astype(np.uint8), detection(centre, diameter / pixel_size_um)


def detection(centre_rc: tuple[float, float], diameter_px: float) -> Detection:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = diameter_px / 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = np.rint(circle + centre_rc[::-1]).astype(np.int32)
    return Detection(centre_rc, outline, 1, 6.0, diameter_px / 2, True)


def far_from_nucleus(um: float) -> np.ndarray:
    """Pixels of a crop that lie this far and more outside a nucleus of 6 um."""
    offset = np.arange(CROP_PX) - (CROP_PX / 2 - 0.5)
    return np.hypot(*np.meshgrid(offset, offset, indexing="ij")) * CROP_PIXEL_SIZE_UM > 3.0 + um


def dark_diameter_um(picture: Image) -> float:
    """Diameter of what is as dark as a nucleus."""
    return 2 * float(np.sqrt((picture[..., 1] < 90).sum() / np.pi)) * CROP_PIXEL_SIZE_UM


@pytest.mark.parametrize("pixel_size_um", [0.05, 0.105, 0.125, 0.2, 0.4])
def test_a_crop_has_one_size_and_holds_the_nucleus_in_its_middle(pixel_size_um: float) -> None:
    cut = crop(*field(CELL, pixel_size_um), pixel_size_um, tuple(WHITE))

    rows, cols = np.nonzero(cut[..., 1] < 90)
    assert cut.shape == (120, 120, 3)
    assert cut.dtype == np.uint8
    assert (rows.mean(), cols.mean()) == pytest.approx((59.5, 59.5), abs=0.5)


def test_beyond_the_margin_there_is_nothing_but_glass() -> None:
    neighbours = [(8.0, 3.0, 8.0, RED_CELL), (-7.0, -7.0, 9.0, NUCLEUS), (0.0, 12.0, 9.0, NUCLEUS)]

    cut = crop(*field([*neighbours, *CELL], 0.125), 0.125, tuple(WHITE))

    assert (cut[far_from_nucleus(MARGIN_UM + 1.0)] == GLASS).all()
    assert (cut[~far_from_nucleus(MARGIN_UM - 0.8)][:, 1] < GLASS).mean() > 0.8


@pytest.mark.parametrize("light", [0.85, 0.95, 1.05])
@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.0, 0.94, 0.84), (0.88, 0.97, 1.0)])
def test_light_and_tint_do_not_change_a_crop(light: float, tint: tuple[float, float, float]) -> None:
    dimmed = light * np.array(tint) * WHITE

    cut = crop(*field(CELL, 0.125, dimmed), 0.125, tuple(dimmed))
    reference = crop(*field(CELL, 0.125), 0.125, tuple(WHITE))

    assert np.abs(cut.astype(int) - reference).max() <= 3


@pytest.mark.parametrize("pixel_size_um", [0.05, 0.105, 0.125, 0.2])
def test_a_cell_has_its_size_whatever_the_cameras_pixel(pixel_size_um: float) -> None:
    cut = crop(*field(CELL, pixel_size_um), pixel_size_um, tuple(WHITE))

    assert dark_diameter_um(cut) == pytest.approx(6.0, abs=0.25)


@pytest.mark.parametrize("pixel_size_um", [0.05, 0.105, 0.2])
def test_two_cameras_give_nearly_the_same_crop(pixel_size_um: float) -> None:
    cut = crop(*field(CELL, pixel_size_um), pixel_size_um, tuple(WHITE)).astype(int)
    reference = crop(*field(CELL, 0.125), 0.125, tuple(WHITE)).astype(int)

    assert np.abs(cut - reference).mean() <= 2.0


@pytest.mark.parametrize("shift_um", [(0.0, 0.03), (0.05, 0.0), (-0.06, 0.04)])
def test_a_crop_does_not_depend_on_where_the_pixels_lie(shift_um: tuple[float, float]) -> None:
    moved = (20.0 + shift_um[0], 25.0 + shift_um[1])

    cut = crop(*field(CELL, 0.125, at_um=moved), 0.125, tuple(WHITE)).astype(int)
    reference = crop(*field(CELL, 0.125), 0.125, tuple(WHITE)).astype(int)

    assert np.abs(cut - reference).mean() <= 2.0


@pytest.mark.parametrize("at_um", [(1.0, 25.0), (39.0, 25.0), (20.0, 1.0), (20.0, 49.0), (0.5, 0.5), (39.5, 49.5)])
@pytest.mark.parametrize("pixel_size_um", [0.05, 0.125, 0.2])
def test_a_cell_at_the_frames_border_is_cropped_like_any_other(
    at_um: tuple[float, float], pixel_size_um: float
) -> None:
    cut = crop(*field(CELL, pixel_size_um, at_um=at_um), pixel_size_um, tuple(WHITE))

    assert cut.shape == (120, 120, 3)
    assert (cut[far_from_nucleus(MARGIN_UM + 1.0)] == GLASS).all()
    assert cut[58:62, 58:62, 1].max() < 90


def test_the_frame_is_left_as_it_was() -> None:
    image, cell = field(CELL, 0.125)
    before = image.copy()
    image.setflags(write=False)

    crop(image, cell, 0.125, tuple(WHITE))

    assert (image == before).all()


def test_a_field_without_light_gives_a_crop_all_the_same() -> None:
    image, cell = field(CELL, 0.125)

    assert crop(np.zeros_like(image), cell, 0.125, (0.0, 0.0, 0.0)).shape == (120, 120, 3)


@pytest.mark.parametrize("pixel_size_um", [0.086, 0.2, 0.3])
def test_a_crop_is_the_light_over_that_of_glass_inside_the_mask_and_glass_outside(pixel_size_um):
    image, found = field(CELL, pixel_size_um, np.array([200.0, 190.0, 180.0]))
    bright = crop(image, found, pixel_size_um, (200.0, 190.0, 180.0)).astype(int)
    plain = crop(image, found, pixel_size_um, (GLASS, GLASS, GLASS)).astype(float)
    inside = far_from_nucleus(-1.0) == 0
    wanted = np.minimum(plain * GLASS / np.array([200.0, 190.0, 180.0]), 255)
    assert np.abs(bright[inside] - wanted[inside]).max() <= 1.2
    assert (bright[far_from_nucleus(MARGIN_UM + 1.0)] == GLASS).all()


@pytest.mark.parametrize("pixel_size_um", [0.03, 0.05, 0.105, 0.2, 0.4])
@pytest.mark.parametrize("at_um", [(20.0, 25.0), (0.4, 0.3), (39.5, 13.0), (12.0, 49.6)])
@pytest.mark.parametrize("diameter_um", [2.5, 6.0, 20.0])
def test_what_is_left_out_beyond_the_mask_changes_no_pixel_of_a_crop(pixel_size_um, at_um, diameter_um):
    image, found = field([(0.0, 0.0, diameter_um, NUCLEUS)], pixel_size_um, at_um=at_um)
    image = np.clip(image + np.random.default_rng(0).normal(0, 30, image.shape), 0, 255).astype(np.uint8)
    glass = (231.0, 217.5, 243.0)

    assert (crop(image, found, pixel_size_um, glass) == plain_crop(image, found, pixel_size_um, glass)).all()


def plain_crop(image: Image, found: Detection, pixel_size_um: float, glass: tuple[float, float, float]) -> Image:
    """A crop by the whole square: low-passed, divided by the light and blended with glass all over."""
    scale = pixel_size_um / CROP_PIXEL_SIZE_UM
    (row, col), half = found.centre_rc, int(np.ceil(0.5 * CROP_PX / scale)) + 2
    way = np.array([[scale, 0.0, CROP_PX / 2 - 0.5 - scale * col], [0.0, scale, CROP_PX / 2 - 0.5 - scale * row]])
    mask = np.zeros((CROP_PX, CROP_PX), np.uint8)
    hull = cv2.convexHull(np.rint(found.outline_xy @ way[:, :2].T + way[:, 2]).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 255)
    cv2.polylines(mask, [hull], True, 255, thickness=2 * round(MARGIN_UM / CROP_PIXEL_SIZE_UM) + 1)
    if scale < 0.75:
        top, left = max(int(row) - half, 0), max(int(col) - half, 0)
        image = cv2.GaussianBlur(image[top : int(row) + half, left : int(col) + half], (0, 0), 0.35 / scale)
        way[:, 2] += scale * left, scale * top
    square = cv2.warpAffine(image, way, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lit = np.clip(square * (GLASS / np.array(glass, np.float32)), 0, 255)
    alpha = (cv2.GaussianBlur(mask, (0, 0), 1.0).astype(np.float32) / 255.0)[..., None]
    return np.rint(lit * alpha + GLASS * (1 - alpha)).astype(np.uint8)
