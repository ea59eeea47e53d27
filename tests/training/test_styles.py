import json

import cv2
import numpy as np
import pytest

from fnrbc_device.errors import UsageError
from fnrbc_training.styles import Laboratory, densities, lay_on, load, measure_styles, save, shown, style_of, transport
from fnrbc_training.variation import varied

PURPLE, BLUE = ((90, 40, 130), (190, 160, 210)), ((40, 60, 150), (150, 170, 220))
"""Nucleus and cytoplasm of two laboratories."""


def cell(colours=PURPLE, seed=0, radius=28):
    """A cell with a nucleus of some texture, on glass."""
    rng = np.random.default_rng(seed)
    crop = np.full((120, 120, 3), 240, np.uint8)
    cv2.circle(crop, (60, 60), radius, colours[1], -1, cv2.LINE_AA)
    cv2.circle(crop, (56, 62), radius // 2, colours[0], -1, cv2.LINE_AA)
    stained = crop.min(axis=2) < 230
    noisy = crop + rng.normal(0, 8, crop.shape) * stained[..., None]
    return np.clip(noisy, 0, 240).astype(np.uint8)


def nucleus_of(crop):
    return crop[56:68, 50:62].reshape(-1, 3).mean(axis=0)


def cytoplasm_of(crop):
    return crop[58:64, 76:84].reshape(-1, 3).mean(axis=0)


def test_a_style_laid_on_gives_the_colours_of_the_other_laboratory_to_both_parts():
    own, wanted = style_of(cell(PURPLE)), style_of(cell(BLUE, seed=1))
    styled = lay_on(cell(PURPLE), own, wanted, 1.0)
    assert np.abs(nucleus_of(styled) - BLUE[0]).max() < 12
    assert np.abs(cytoplasm_of(styled) - BLUE[1]).max() < 12


def test_half_the_way_lies_between():
    own, wanted = style_of(cell(PURPLE)), style_of(cell(BLUE, seed=1))
    half = nucleus_of(lay_on(cell(PURPLE), own, wanted, 0.5))
    assert min(PURPLE[0][0], BLUE[0][0]) + 5 < half[0] < max(PURPLE[0][0], BLUE[0][0]) - 5


def test_glass_and_the_outline_stay_as_they_are():
    own, wanted = style_of(cell(PURPLE)), style_of(cell(BLUE, seed=1))
    before = cell(PURPLE)
    after = lay_on(before, own, wanted, 1.0)
    glass = before.min(axis=2) >= 239
    assert np.array_equal(after[glass], before[glass])
    assert np.mean((after.min(axis=2) < 225) == (before.min(axis=2) < 225)) > 0.99


def test_a_crop_without_a_nucleus_has_no_style():
    assert style_of(np.full((120, 120, 3), 240, np.uint8)) is None


def test_densities_and_grey_values_are_two_ways_to_say_one_thing():
    crop = cell()
    assert np.abs(shown(densities(crop)).astype(int) - crop).max() <= 1


def test_the_map_takes_one_covariance_to_the_other():
    rng = np.random.default_rng(2)
    one, other = (np.cov(rng.normal(0, 1, (3, 200)) * np.array([[1], [1.5], [0.8]])) for _ in range(2))
    matrix = transport(one, other).astype(np.float64)
    assert matrix @ one @ matrix.T == pytest.approx(other, abs=0.02)


def test_styles_are_kept_as_numbers_and_read_back(tmp_path):
    lab = measure_styles("here", "the tests", [cell(seed=i) for i in range(12)], most=10)
    save([lab], tmp_path / "styles.json")
    (again,) = load(tmp_path / "styles.json")
    assert (again.name, again.source, len(again.cells)) == ("here", "the tests", 10)
    assert again.whole.means == pytest.approx(lab.whole.means, abs=1e-4)
    assert all(
        isinstance(v, float) for row in json.loads((tmp_path / "styles.json").read_text())[0]["cells"] for v in row
    )


@pytest.mark.parametrize("content", ["", "[]x", '[{"name": "a"}]', '[{"name": "a", "source": "b", "cells": [[1, 2]]}]'])
def test_a_file_that_holds_no_styles_is_one_sentence(tmp_path, content):
    (tmp_path / "styles.json").write_text(content)
    with pytest.raises(UsageError, match="holds no styles"):
        load(tmp_path / "styles.json")


def test_the_shipped_styles_are_of_several_laboratories_and_none_that_is_measured_on():
    shipped = load()
    assert len(shipped) >= 3
    assert not {"atlas", "he_fields"} & {lab.name for lab in shipped}
    assert all(isinstance(lab, Laboratory) and len(lab.cells) >= 10 and lab.source for lab in shipped)


def test_a_varied_crop_keeps_its_shape_and_the_place_of_the_cell():
    rng = np.random.default_rng(0)
    for seed in range(60):
        found = varied(cell(seed=seed), rng)
        assert (found.shape, found.dtype) == ((120, 120, 3), np.uint8)
        dark = found.astype(int).sum(axis=2)
        rows, cols = np.nonzero(dark < (int(dark.min()) + int(np.median(dark))) // 2)
        assert np.hypot(rows.mean() - 60, cols.mean() - 58) < 12
