"""Whether a session's cells look like those that the bundle was measured on, told class by class in plain words."""

import dataclasses

import cv2
import numpy as np
import pytest

from fnrbc_device.errors import BundleError
from fnrbc_device.journal.images import as_png
from fnrbc_device.learning.drift import FEWEST_CROPS, drifts, in_words
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.seal import golden_bytes, seal, write_bundle
from fnrbc_device.records import INDETERMINATE, Verdict
from fnrbc_device.sessions.labels import KeptCell
from fnrbc_device.vision.appearance import FEATURES, QUANTILES, appearance

VERDICTS = {
    "fnrbc": Verdict("fnrbc", "target", 0.99, 0.99),
    "leukocyte": Verdict("leukocyte", "denominator", 0.99, 0.01),
    "indeterminate": Verdict(INDETERMINATE, "ignored", 0.5, 0.5),
}


def painted(seed, name="fnrbc", paler=0, blur=0.0, larger=1.0):
    """A crop as the device cuts it: glass, a cell of its own colour and size, a dark nucleus."""
    rng = np.random.default_rng(seed)
    crop = np.full((120, 120, 3), 240, np.uint8)
    radius, body = {"fnrbc": (26, (215, 170, 180)), "leukocyte": (40, (190, 190, 225))}[name]
    reach = round(larger * (radius + rng.integers(-3, 4)))
    shade = rng.integers(-8, 9)
    cv2.circle(crop, (60, 60), reach, [int(one) + int(shade) for one in body], -1)
    dark = [int(one) + int(shade) + paler for one in (80, 40, 120)]
    cv2.circle(crop, (60, 60), reach // 2, dark, -1)
    noisy = crop + rng.normal(0, 1.5, crop.shape)
    smooth = cv2.GaussianBlur(noisy, (0, 0), blur) if blur else noisy
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def bundle():
    """The shipped one, as if it had been measured on painted cells; of class other there were none."""
    shipped = load_bundle(None)
    looks = np.full((len(shipped.classes), len(QUANTILES), len(FEATURES)), np.nan)
    for name in ("fnrbc", "leukocyte"):
        figures = appearance(np.stack([painted(seed, name) for seed in range(120)]))
        looks[shipped.classes.index(name)] = np.quantile(figures, QUANTILES, axis=0)
    return dataclasses.replace(shipped, appearance=looks)


def session(name="fnrbc", verdict="", label=None, count=40, **changes):
    said = VERDICTS[verdict or name]
    crops = (painted(1000 + i, name, **changes) for i in range(count))
    return [KeptCell("s1", i, said, label, False, (as_png(crop),)) for i, crop in enumerate(crops)]


def told(cells, bundle):
    return {one.feature for one in drifts(cells, bundle) if one.is_told}


def test_other_cells_of_the_same_kind_are_no_drift(bundle):
    cells = session("fnrbc") + session("leukocyte")
    assert told(cells, bundle) == set()
    assert "look like those" in in_words(drifts(cells, bundle), "s1")


def test_how_many_there_are_of_each_class_is_no_drift(bundle):
    assert told(session("fnrbc", count=30) + session("leukocyte", count=120), bundle) == set()


@pytest.mark.parametrize(
    ("changes", "feature", "words"),
    [
        ({"paler": 40}, "nucleus", "paler nuclei"),
        ({"blur": 3.0}, "sharpness", "less sharp"),
        ({"larger": 1.4}, "size_um", "larger"),
        ({"larger": 0.7}, "size_um", "smaller"),
    ],
)
def test_a_difference_is_told_in_plain_words_with_a_cure(bundle, changes, feature, words):
    found = drifts(session("leukocyte", **changes), bundle)
    assert feature in {one.feature for one in found if one.is_told}
    said = in_words(found, "s1")
    assert f"leukocyte: {words}" in said
    assert "train on them" in said
    alike = drifts(session("fnrbc"), bundle)
    assert in_words([*alike, *found], "s1").startswith("s1: crops of leukocyte differ")


def test_what_people_say_that_a_cell_is_goes_before_what_the_machine_says(bundle):
    assert told(session("leukocyte", verdict="fnrbc"), bundle)
    assert not told(session("leukocyte", verdict="fnrbc", label="denominator"), bundle)


def test_undecided_cells_and_classes_that_were_not_measured_say_nothing(bundle):
    assert drifts(session("fnrbc", verdict="indeterminate"), bundle) == []
    assert drifts(session("fnrbc", label="ignored"), bundle) == []


def test_too_few_crops_are_called_too_few(bundle):
    found = drifts(session("fnrbc", count=FEWEST_CROPS - 1, paler=60), bundle)
    assert not any(one.is_told for one in found)
    assert "too few" in in_words(found, "s1")
    assert "too few" in in_words([], "s1")


def test_an_empty_crop_is_measured_as_nothing():
    assert (appearance(np.full((1, 120, 120, 3), 240, np.uint8)) == 0).all()
    assert appearance(np.zeros((0, 120, 120, 3), np.uint8)).shape == (0, len(FEATURES))


def test_a_bundle_that_does_not_say_how_its_crops_looked_is_told_of(bundle):
    with pytest.raises(BundleError, match="export it again"):
        drifts(session(), dataclasses.replace(bundle, appearance=None))


def test_figures_travel_in_the_sealed_bundle_and_bundles_without_them_stay_good(bundle, tmp_path):
    fields = bundle.manifest.model_dump(mode="json", exclude={"format", "bundle_id", "files", "seeing"})
    for looks in (bundle.appearance, None):
        contents = {
            "model.onnx": bundle.model,
            "golden.npz": golden_bytes(bundle.golden_crops, bundle.golden_probabilities, looks),
            "seen.npy": (SHIPPED / "seen.npy").read_bytes(),
            "proof.json": b"{}",
            "MODEL_CARD.md": b"card",
        }
        write_bundle(tmp_path / "made", seal(fields, contents), prove=load_bundle)
        found = load_bundle(tmp_path / "made").appearance
        assert found is None if looks is None else np.array_equal(found, looks, equal_nan=True)
    wrong = {**contents, "golden.npz": golden_bytes(bundle.golden_crops, bundle.golden_probabilities, np.zeros((2, 2)))}
    with pytest.raises(BundleError, match="figures of appearance"):
        write_bundle(tmp_path / "wrong", seal(fields, wrong), prove=load_bundle)
