import numpy as np
import pytest

import network
from fnrbc_device.model.bundle import load_bundle
from painted import PIXEL_SIZE_UM, paint


@pytest.fixture(scope="module")
def pictures():
    found = []
    for seed in range(3):
        for look, positive in (("red", True), ("white", False)):
            image = paint(look, seed)
            field, cell = network.cell_of(image, PIXEL_SIZE_UM)
            found.append(network.Seen(image, field, cell, positive))
    return found


@pytest.mark.parametrize("name", network.CHANGES)
def test_a_change_keeps_the_pictures_form_and_changes_what_it_says(name, pictures):
    image = pictures[0].image
    changed = network.CHANGES[name](image)
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    assert np.array_equal(changed, image) is (name == "as it is")


def test_light_brightens_by_what_it_says_and_saturation_leaves_grey_alone():
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert set(network.CHANGES["light +15 %"](grey).ravel()) == {115}
    assert np.array_equal(network.CHANGES["saturation +20 %"](grey), grey)


def test_a_cell_laid_on_another_picture_is_that_cell_on_that_picture(pictures):
    cell, other = pictures[0], pictures[1]
    laid = network.laid_on(cell, other, PIXEL_SIZE_UM, relit=False)

    assert np.array_equal(laid[:40, :40], other.image[:40, :40])
    row, col = (round(v) for v in cell.cell.centre_rc)
    nucleus = cell.image[row - 10 : row + 11, col - 10 : col + 11].astype(int)
    assert np.abs(laid[140:161, 140:161].astype(int) - nucleus).mean() < 6  # noise, moved by part of a pixel


def test_both_benches_measure_every_picture(pictures):
    bundle = load_bundle(None)
    laid = network.shortcut(pictures, PIXEL_SIZE_UM, bundle)
    assert all(row["of"] == len(pictures) and 0 <= row["changed"] <= 1 for row in laid.values())
    rows = network.perturbed(pictures, PIXEL_SIZE_UM, bundle)
    assert set(rows) == set(network.CHANGES)
    assert rows["as it is"]["picture"] == rows["as it is"]["crop"]


def test_a_cell_that_is_not_found_is_wrong_and_not_of_some_class(pictures):
    bundle = load_bundle(None)
    crops = [network.crop_of(pictures[0].image, PIXEL_SIZE_UM), None]
    assert network.decisions(crops, bundle)[1] == -2
