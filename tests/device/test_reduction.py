"""The working picture: its scale, its place in the frame, and the colour of glass."""

import cv2
import numpy as np
import pytest

from fnrbc_device.errors import PictureError
from fnrbc_device.vision.reduction import (
    GLASS,
    LOW_PASS_UM,
    WORKING_UM,
    glass_colour,
    halved,
    in_reference,
    low_pass,
    reduce,
    reduce_green,
)
from fnrbc_device.vision.stain import DARK_LEVELS, Anchors, map_of

RED_CELL = np.array([0.085, 0.135, 0.115])
NUCLEUS = np.array([0.62, 0.90, 0.23])


def stained(shares: dict[str, float], glass: tuple[float, ...], seed: int = 0) -> np.ndarray:
    """Columns of glass, red cell and nucleus (optical densities on this glass), with the sensor's noise."""
    rng = np.random.default_rng(seed)
    densities = {"glass": 0 * RED_CELL, "red_cell": RED_CELL, "nucleus": NUCLEUS}
    columns = [np.tile(densities[name], (round(1000 * share), 1)) for name, share in shares.items()]
    density = np.tile(np.concatenate(columns), (700, 1, 1))
    # Red cells are paler in the middle.
    light = np.asarray(glass) * 10.0 ** -(density * rng.uniform(0.4, 1.2, (*density.shape[:2], 1)))
    return np.clip(light + rng.normal(0, 2.0, light.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixel_size_um", "factor"),
    [(0.05, 5), (0.086, 2), (0.1, 2), (0.105, 2), (0.125, 2), (0.16, 1.5625), (0.2, 1.25), (0.22, 1), (0.5, 1)],
)
def test_the_working_pixel_is_as_coarse_as_a_nucleus_allows(pixel_size_um: float, factor: float) -> None:
    reduced = reduce(np.full((60, 80, 3), 200, np.uint8), pixel_size_um)

    assert reduced.factor == pytest.approx(factor)
    assert reduced.pixel_um == pytest.approx(factor * pixel_size_um)
    assert reduced.pixel_um <= max(WORKING_UM, pixel_size_um) + 1e-12
    assert reduced.green.shape == (int(60 / factor), int(80 / factor))


@pytest.mark.parametrize(
    "image",
    [
        np.full((60, 80, 3), np.nan, np.float32),
        np.zeros((60, 80, 3), np.uint16),
        np.zeros((60, 80, 4), np.uint8),
        np.zeros((60, 80), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_picture_is_refused_by_its_type_and_shape(image: np.ndarray) -> None:
    with pytest.raises(PictureError, match=r"give \(H, W, 3\) uint8 RGB"):
        reduce(image, 0.125)


def test_the_working_picture_is_the_low_passed_average_of_the_frames_green() -> None:
    image = np.random.default_rng(3).integers(0, 256, (61, 83, 3), dtype=np.uint8)

    reduced = reduce(image, 0.125)

    blocks = image[:60, :82, 1].reshape(30, 2, 41, 2).mean(axis=(1, 3))
    assert reduced.green.shape == blocks.shape
    smooth = cv2.GaussianBlur(blocks, (3, 3), LOW_PASS_UM / reduced.pixel_um)
    assert np.abs(reduced.green - smooth).max() <= 1.0


@pytest.mark.parametrize("pixel_size_um", [0.05, 0.105, 0.125, 0.14, 0.18, 0.2])
@pytest.mark.parametrize("centre_rc", [(101.0, 143.0), (88.25, 120.5)])
def test_a_working_coordinate_comes_back_to_its_place_in_the_frame(
    pixel_size_um: float, centre_rc: tuple[float, float]
) -> None:
    row, col = np.mgrid[:200, :260]
    # Brighter than its surroundings, so that moments measure it directly.
    spot = 200 * np.exp(-((row - centre_rc[0]) ** 2 + (col - centre_rc[1]) ** 2) / 300)

    reduced = reduce(np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=2), pixel_size_um)

    moments = cv2.moments(reduced.green.astype(np.float32))
    found = (moments["m01"] / moments["m00"], moments["m10"] / moments["m00"])
    assert [reduced.to_frame(value) for value in found] == pytest.approx(centre_rc, abs=0.05)


@pytest.mark.parametrize("glass", [(248, 226, 201), (246, 244, 243), (200, 205, 235), (150, 140, 130)])
@pytest.mark.parametrize("seed", [0, 1])
def test_glass_is_found_whatever_its_tint_where_it_covers_a_tenth_of_the_field(
    glass: tuple[int, int, int], seed: int
) -> None:
    crowded = stained({"red_cell": 0.8, "nucleus": 0.1, "glass": 0.1}, glass, seed)

    assert glass_colour(crowded) == pytest.approx(glass, abs=4)
    assert reduce(crowded, 0.125).glass_rgb == glass_colour(crowded)


def test_a_few_glaring_pixels_are_no_glass() -> None:
    field = stained({"red_cell": 0.3, "nucleus": 0.1, "glass": 0.6}, (220, 205, 190))
    field[:700, :10] = 255

    assert glass_colour(field) == pytest.approx((220, 205, 190), abs=4)


def test_a_field_without_glass_names_the_brightest_thing_in_it() -> None:
    glass = np.array([240.0, 240.0, 240.0])
    full = stained({"red_cell": 0.9, "nucleus": 0.1}, tuple(glass))

    assert (glass_colour(full) >= glass * 10.0**-RED_CELL - 4).all()
    assert (glass_colour(full) < glass).all()


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_a_plain_frame_has_the_colour_that_it_has(level: int) -> None:
    assert glass_colour(np.full((50, 60, 3), level, np.uint8)) == pytest.approx((level,) * 3, abs=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5)])
def test_a_picture_of_a_few_pixels_is_reduced_without_a_fault(shape: tuple[int, int]) -> None:
    reduced = reduce(np.full((*shape, 3), 77, np.uint8), 0.125)

    assert reduced.glass_rgb == pytest.approx((77, 77, 77), abs=1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70_000), (643, 201), (700, 1000)])
def test_the_way_to_the_reference_is_the_same_in_bands_as_at_once(shape):
    rng = np.random.default_rng(0)
    channels = tuple(rng.integers(0, 256, shape, np.uint8) for _ in range(3))
    glass, stain_map = (231.0, 240.0, 235.0), map_of(Anchors((0.9, 1.5, 0.4), (0.13, 0.28, 0.16), 12))

    levels = np.log(np.arange(256) + DARK_LEVELS)
    red, green, blue = (
        (weight * (levels - np.log(at + DARK_LEVELS))).astype(np.float32)[channel]
        for channel, at, weight in zip(channels, glass, stain_map.nuclear_weights, strict=True)
    )
    at_once = cv2.convertScaleAbs(cv2.exp(red + green + blue), alpha=GLASS)

    assert (in_reference(channels, glass, stain_map) == at_once).all()


@pytest.mark.parametrize("shape", [(2, 2), (481, 643), (96, 128)])
def test_a_picture_halved_with_all_its_colours_gives_the_green_that_green_alone_gives(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)

    reduced = reduce_green(image, WORKING_UM / 2)

    assert reduced.factor == 2
    assert (reduced.green == low_pass(halved(np.ascontiguousarray(image[..., 1])), reduced.pixel_um)).all()
