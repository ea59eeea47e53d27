from functools import lru_cache
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fnrbc_device.counting.cell import View
from fnrbc_device.counting.measured_range import FEWEST_CROPS, Border
from fnrbc_device.records import Verdict
from fnrbc_device.vision.appearance import QUANTILES, appearance

CLASSES = ("fnrbc", "leukocyte")
UM = 0.105


def cell(rng, red=120, green=90, blue=180, diameter_um=12.0, blur=0.0):
    """A crop of one cell, coloured and sized by chance as cells of one laboratory are."""
    crop = np.full((120, 120, 3), 240, np.uint8)
    radius = round(diameter_um * rng.uniform(0.85, 1.15) / 2 / 0.2)
    colour = np.clip(np.array([red, green, blue]) + rng.normal(0, 12, 3), 0, 230)
    cv2.circle(crop, (60, 60), radius, colour.tolist(), -1)
    cv2.circle(crop, (60, 60), radius // 2, (colour * rng.uniform(0.45, 0.6)).tolist(), -1)
    crop = cv2.GaussianBlur(crop, (0, 0), 1.0 + blur + rng.uniform(0, 0.2))
    return np.clip(crop + rng.normal(0, 2, crop.shape), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def usual_looks():
    rng = np.random.default_rng(5)
    return np.quantile(appearance(np.stack([cell(rng) for _ in range(200)])), QUANTILES, axis=0)


def border(pixel_size_um=UM, looks=True):
    return Border(CLASSES, np.stack([usual_looks()] * 2) if looks else None, pixel_size_um, 0.2)


def count(watched, crops, name="leukocyte"):
    for number, crop in enumerate(crops, 1):
        event = SimpleNamespace(event="counted", cell=number, verdict=Verdict(name, "denominator", 0.99, 0.01))
        watched.see_cells([event], {number: [View(1.0, 0, crop)]})


@pytest.mark.parametrize("seed", range(5))
def test_cells_as_those_that_were_measured_leave_the_count_as_it_is(seed):
    rng = np.random.default_rng(seed)
    watched = border()
    count(watched, [cell(rng) for _ in range(80)])
    assert watched.reasons == ()


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        ({"red": 180, "blue": 120}, "stain_out_of_domain"),
        ({"green": 160}, "stain_out_of_domain"),
        ({"diameter_um": 17.0}, "pixel_size_out_of_domain"),
        ({"diameter_um": 8.0}, "pixel_size_out_of_domain"),
        ({"blur": 2.5}, "focus_out_of_domain"),
    ],
)
def test_cells_of_another_look_make_it_provisional(strange, reason):
    rng = np.random.default_rng(8)
    watched = border()
    count(watched, [cell(rng, **strange) for _ in range(60)])
    assert reason in watched.reasons


def test_too_few_cells_say_nothing():
    rng = np.random.default_rng(8)
    watched = border()
    count(watched, [cell(rng, red=200) for _ in range(FEWEST_CROPS - 1)])
    assert watched.reasons == ()


def test_indeterminate_cells_belong_to_no_class_and_are_not_judged():
    rng = np.random.default_rng(8)
    watched = border()
    count(watched, [cell(rng, red=200) for _ in range(60)], "indeterminate")
    assert watched.reasons == ()


def test_a_bundle_that_does_not_say_how_its_crops_looked_judges_none():
    rng = np.random.default_rng(8)
    watched = border(looks=False)
    count(watched, [cell(rng, red=200) for _ in range(60)])
    assert watched.reasons == ()


@pytest.mark.parametrize("glass", [(255.0, 250.0, 240.0), (60.0, 50.0, 70.0)])
def test_glass_that_is_clipped_or_dim_in_most_frames_is_told(glass):
    watched = border()
    for _ in range(3):
        watched.see_field(glass)
    watched.see_field((230.0, 225.0, 220.0))
    assert watched.reasons == ("light_out_of_domain",)


def test_one_bad_frame_of_many_is_not():
    watched = border()
    for _ in range(9):
        watched.see_field((230.0, 225.0, 220.0))
    watched.see_field((255.0, 255.0, 255.0))
    assert watched.reasons == ()


def test_pixels_too_coarse_for_the_crops_are_told():
    assert border(pixel_size_um=0.3).reasons == ("pixel_size_out_of_domain",)


def test_what_others_found_is_told_while_it_holds():
    watched = border()
    watched.note("pixel_size_out_of_domain")
    assert watched.reasons == ("pixel_size_out_of_domain",)
    watched.note("pixel_size_out_of_domain", holds=False)
    assert watched.reasons == ()
