import dataclasses

import numpy as np
import pytest

from fnrbc_device.inference.second_look import LookingTwice, as_counted, look_twice, turned
from fnrbc_device.model.bundle import load_bundle


class Corner:
    """Finds an fNRBC by how bright the first pixel is, which is another one in each symmetry."""

    classes = ("fnrbc", "leukocyte")

    def __init__(self):
        self.asked = 0
        self.closed = False

    def probabilities(self, crops):
        self.asked += len(crops)
        wanted = crops[:, 0, 0, 0].astype(np.float32) / 256 + 0.001
        return np.stack([wanted, 1 - wanted], axis=1).astype(np.float32)

    def close(self):
        self.closed = True


def crops(*corners):
    found = np.zeros((len(corners), 120, 120, 3), np.uint8)
    for crop, values in zip(found, corners, strict=True):
        crop[[0, 0, -1, -1], [0, -1, 0, -1]] = np.array(values, np.uint8)[:, None]
    return found


def test_what_may_be_an_fnrbc_is_looked_at_in_all_eight_symmetries_and_nothing_else():
    network = Corner()
    found = look_twice(network.probabilities, crops((200, 200, 200, 200), (0, 250, 250, 250)), 0, 0.1)
    assert network.asked == 2 + 7
    assert found[1, 0] == pytest.approx(0.001)  # below the limit: its first look stands
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_the_mean_is_that_of_the_logits_and_the_same_however_the_cell_lies():
    network = Corner()
    one = crops((200, 100, 50, 240))
    found = [look_twice(network.probabilities, turned(one, which), 0, 0.0) for which in range(8)]
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-6)
    odds = [np.log(v / (1 - v)) for v in (np.array([200, 100, 50, 240]) / 256 + 0.001)]
    assert found[0][0, 0] == pytest.approx(1 / (1 + np.exp(-np.mean(odds))), abs=1e-5)


def test_there_are_eight_symmetries_and_the_first_leaves_a_crop_alone():
    one = np.random.default_rng(0).integers(0, 256, (1, 120, 120, 3), np.uint8)
    assert len({turned(one, which).tobytes() for which in range(8)}) == 8
    assert np.array_equal(turned(one, 0), one)


def test_no_crops_give_no_probabilities():
    assert look_twice(Corner().probabilities, crops()[:0], 0, 0.1).shape == (0, 2)


def test_a_bundle_of_an_older_fnrbc_is_looked_at_once():
    manifest = load_bundle(None).manifest
    older = manifest.model_copy(update={"second_look_from": None})
    network = Corner()
    assert as_counted(network, older) is network
    assert "second_look_from" not in older.canonical().decode()


def test_closing_closes_the_network():
    network = Corner()
    looking = LookingTwice(network, 0, 0.02)
    assert looking.classes == network.classes
    looking.close()
    assert network.closed


def test_the_shipped_bundle_looks_twice():
    assert dataclasses.is_dataclass(load_bundle(None))
    assert 0 < load_bundle(None).manifest.second_look_from < load_bundle(None).manifest.threshold
