import json
import shutil
from dataclasses import asdict

import pytest

from fnrbc_device.errors import BundleError
from fnrbc_device.intervals import share
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.error_counts import shipped_errors
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.model.seal import seal

PBC = [
    {"laboratory": "pbc", "class_name": "erythroblast", "role": "target", "right": 230, "wrong": 1, "undecided": 1},
    {"laboratory": "pbc", "class_name": "lymphocyte", "role": "denominator", "right": 83, "wrong": 2, "undecided": 0},
    {"laboratory": "pbc", "class_name": "ig", "role": "denominator", "right": 80, "wrong": 2, "undecided": 1},
    {"laboratory": "pbc", "class_name": "platelet", "role": "ignored", "right": 84, "wrong": 1, "undecided": 0},
]
MUNICH = [
    {"laboratory": "munich", "class_name": "blast", "role": "denominator", "right": 90, "wrong": 10, "undecided": 0}
]


def manifest_with(**metrics):
    fields = json.loads((SHIPPED / "manifest.json").read_text())
    fields["metrics"] = {**{k: v for k, v in fields["metrics"].items() if k != "counts"}, **metrics}
    return Manifest.model_validate_json(json.dumps(fields))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def resealed(folder, counts):
    fields = json.loads((folder / "manifest.json").read_text())
    fields["metrics"]["counts"] = counts
    kept = {k: v for k, v in fields.items() if k not in ("format", "bundle_id", "files")}
    for name, content in seal(kept, {path.name: path.read_bytes() for path in folder.iterdir()}).items():
        (folder / name).write_bytes(content)
    return load_bundle(folder)


def figure(right, of):
    return asdict(share(right, of))


@pytest.mark.parametrize(
    ("right", "of"), [(230, 232), (590, 595), (1, 1), (0, 9), (50, 100), (10_872, 10_948), (4000, 4000), (57, 168)]
)
def test_counts_are_found_behind_a_rate_and_its_exact_interval(right, of):
    manifest = manifest_with(sensitivity=figure(right, of), specificity=figure(right, of), n=2 * of)
    (errors,) = shipped_errors(manifest)

    assert (errors.targets_right, errors.targets) == (right, of)
    assert (errors.leukocytes_right, errors.leukocytes) == (right, of)


def test_figures_that_no_counts_give_are_taken_for_the_cells_that_their_interval_is_as_wide_as():
    wide = {"value": 0.9, "low": 0.8, "high": 0.96}
    (errors,) = shipped_errors(manifest_with(sensitivity=wide, specificity=wide, n=827))
    assert 60 <= errors.targets <= 90
    assert errors.targets_right / errors.targets == pytest.approx(0.9, abs=0.02)


def test_a_bundle_with_counts_tells_each_laboratory_apart(folder):
    pbc, munich = shipped_errors(resealed(folder, PBC + MUNICH).manifest)

    assert (pbc.on, pbc.source) == ("pbc", "shipped")
    assert (pbc.targets_right, pbc.targets_wrong) == (230, 2)  # what is left indeterminate is not counted: it is missed
    assert (pbc.leukocytes_right, pbc.leukocytes_wrong) == (164, 4)  # and no false call
    assert (munich.leukocytes_right, munich.leukocytes_wrong) == (90, 10)
    assert (munich.targets_right, munich.targets_wrong) == (230, 2), "lent by the laboratory that had some"


def test_a_bundle_that_states_rates_alone_keeps_its_name():
    manifest = manifest_with()
    assert b"counts" not in manifest.canonical()
    assert manifest.identify() == manifest.model_copy(update={"bundle_id": "0" * 64}).identify()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (PBC + PBC[:1], "counted twice"),
        (PBC[:1], "the target and the denominator are needed"),
        ([], "at least 1 item"),
        ([{**PBC[0], "right": -1}], "greater than or equal to 0"),
    ],
)
def test_counts_that_say_nothing_are_refused(folder, counts, words):
    with pytest.raises(BundleError, match=words):
        resealed(folder, counts)
