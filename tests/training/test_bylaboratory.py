import dataclasses

import numpy as np
import pytest

from fnrbc_training.bylaboratory import by_laboratory, said_of_worst, table, worst


@pytest.fixture
def elsewhere(painted):
    """The painted cells again, as another laboratory's, ten of whose fNRBC and two of whose leukocytes were missed."""
    (source,) = painted.sources
    missed = {"fnrbc": list(range(900, 910)), "leukocyte": [910, 911]}
    other = dataclasses.replace(
        source, name="other", missed_digests=missed, missed_labels={"fnrbc": 0, "leukocyte": 1},
        missed={name: len(of) for name, of in missed.items()},
    )  # fmt: skip
    return dataclasses.replace(painted, names=np.array([f"other/{name}" for name in painted.names]), sources=(other,))


def certain(crops, wrong=()):
    found = np.full((len(crops), 3), 0.02)
    found[np.arange(len(crops)), crops.labels] = 0.96
    for row in wrong:
        found[row] = [0.96, 0.02, 0.02] if crops.labels[row] else [0.02, 0.96, 0.02]
    return found


NONE = np.array([], np.uint64)


def test_what_was_not_found_counts_as_missed(elsewhere):
    (lab,) = by_laboratory(elsewhere, certain(elsewhere), (0.4, 0.6), NONE)
    assert lab.sensitivity.value == pytest.approx(40 / 50)
    assert lab.false.value == 0
    assert {of.name: (of.cells, of.missed) for of in lab.classes} == {
        "fnrbc": (50, 10), "leukocyte": (42, 2), "other": (40, 0),
    }  # fmt: skip
    assert lab.at[10].value == pytest.approx(40 / 50)


def test_a_missed_cell_whose_picture_trained_is_no_evidence(elsewhere):
    seen = np.arange(900, 905, dtype=np.uint64)
    (lab,) = by_laboratory(elsewhere, certain(elsewhere), (0.4, 0.6), seen)
    assert lab.sensitivity.value == pytest.approx(40 / 45)


def test_false_positives_are_of_all_leukocytes_and_have_an_interval(elsewhere):
    leukocytes = np.flatnonzero(elsewhere.labels == 1)[:3]
    (lab,) = by_laboratory(elsewhere, certain(elsewhere, leukocytes), (0.4, 0.6), NONE)
    assert lab.false.value == pytest.approx(3 / 42)
    assert lab.false.low < 3 / 42 < lab.false.high
    assert lab.at[10].value < 0.8  # the three are as high as any fNRBC


def test_the_worst_laboratory_is_said_first(painted, elsewhere):
    good = by_laboratory(painted, certain(painted), (0.4, 0.6), NONE)
    bad = by_laboratory(elsewhere, certain(elsewhere, [50]), (0.4, 0.6), NONE)
    lowest, falsest = worst([*good, *bad])
    assert lowest.name == falsest.name == "other"
    assert said_of_worst([*good, *bad]).startswith("in other 80.0 %")
    assert "| other | fnrbc | 50 | 10 |" in table([*good, *bad])


def test_a_laboratory_without_fnrbc_has_false_positives_and_no_sensitivity(elsewhere):
    white = elsewhere.where(elsewhere.labels == 1)
    (source,) = white.sources
    only = dataclasses.replace(source, missed_digests={}, missed_labels={})
    (lab,) = by_laboratory(dataclasses.replace(white, sources=(only,)), certain(white), (0.4, 0.6), NONE)
    assert (lab.sensitivity, lab.auc, lab.at) == (None, None, {})
    assert lab.false.value == 0
    assert lab.as_json()["sensitivity"] is None
