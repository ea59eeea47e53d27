"""Reviewed cells as examples to teach by: positive only as reviewed, each session on one side of a split."""

import csv
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone

import cv2
import numpy as np
import pytest

from fnrbc_device.counting.cell import View
from fnrbc_device.errors import ReviewError, UsageError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.second_look import as_counted
from fnrbc_device.journal.images import as_png
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.learning.dataset import gather, write
from fnrbc_device.learning.reclassifying import in_words, reclassify
from fnrbc_device.model.bundle import digest_of, load_bundle
from fnrbc_device.records import SessionMeta
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.labels import KeptCell, of_sessions

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)

# Classes go round by a cell's number: 0 fnrbc, 1 leukocyte, 2 other, 3 indeterminate.
CELLS = range(1, 21)


@pytest.fixture
def sessions(path, make_step):
    """Counted sessions of twenty cells whose pictures are the shipped bundle's golden crops; one is taken back."""
    golden = load_bundle(None).golden_crops

    def make(count):
        with Journal.open(path) as journal:
            for number in range(1, count + 1):
                name = f"s{number}"
                journal.begin(name, NOON, SessionMeta("0.1.0", "b", "simulation", 0.125))
                kept = {cell: [View(1.0, 0, golden[cell])] for cell in CELLS if cell != 13}
                journal.record(make_step(0, list(CELLS)), Kept(kept))
                journal.record(make_step(1, [20], "retracted"))
                journal.end(NOON, journal.tally(name), complete=True)
        return path

    return make


@pytest.fixture
def decide(path):
    """Writes decisions: session, cell, decision, class, reader."""

    def write_down(*decisions):
        with Decisions(path, "scope", SystemClock()) as reviewing:
            for session, cell, decision, class_name, reader in decisions:
                who = "anna" if reader == 1 else "bert"
                reviewing.decide(session, cell, decision, who, class_name=class_name, reader=reader)

    return write_down


def labels(journal, session="s1"):
    return {one.cell: one.label for one in of_sessions(journal, [session])[session]}


def test_only_cells_that_stand_and_keep_a_picture_are_read(sessions):
    kept = of_sessions(sessions(1), ["s1"])["s1"]
    assert [one.cell for one in kept] == [cell for cell in CELLS if cell not in (13, 20)]
    assert all((one.crop == load_bundle(None).golden_crops[one.cell]).all() for one in kept)


def test_a_cell_is_positive_only_if_all_who_read_it_say_so(sessions, decide):
    journal = sessions(1)
    decide(
        ("s1", 4, "confirmed", "", 1),
        ("s1", 8, "confirmed", "", 1), ("s1", 8, "confirmed", "", 2),
        ("s1", 12, "confirmed", "", 1), ("s1", 12, "reclassified", "leukocyte", 2),
        ("s1", 3, "rejected", "", 1),
        ("s1", 7, "reclassified", "fnrbc", 1),
    )  # fmt: skip
    found = labels(journal)
    assert {cell: found[cell] for cell in (4, 8, 12, 3, 7, 16)} == {
        4: "target", 8: "target", 12: "denominator", 3: "ignored", 7: "target", 16: None,
    }  # fmt: skip


def test_a_decision_that_was_taken_back_teaches_nothing(sessions, decide):
    journal = sessions(1)
    with Decisions(journal, "scope", SystemClock()) as reviewing:
        seq = reviewing.decide("s1", 4, "confirmed", "anna")
        assert labels(journal)[4] == "target"
        reviewing.undo("s1", seq, "anna")
    assert labels(journal)[4] is None


def test_candidates_that_nobody_reviewed_are_left_out_and_other_cells_are_what_the_machine_says(sessions, decide):
    journal = sessions(1)
    decide(("s1", 4, "confirmed", "", 1), ("s1", 5, "reclassified", "other", 1))
    taught = {one.cell.cell: one.role for one in gather(journal, [], reviewed_only=False).examples}
    assert [cell for cell, role in taught.items() if role == "target"] == [4]
    assert taught[5] == "ignored"
    assert taught[9] == "denominator"
    assert not {3, 7, 8, 12, 16} & set(taught)
    assert {one.cell.cell for one in gather(journal, ["s1"], reviewed_only=True).examples} == {4, 5}


def test_a_near_miss_teaches_only_what_somebody_said(path, make_step, decide):
    step, golden = make_step(0, [1, 4, 5, 9]), load_bundle(None).golden_crops
    nearly = [replace(one, verdict=replace(one.verdict, target_probability=0.3)) for one in step.events[2:]]
    step.events[2:] = nearly
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, SessionMeta("0.1.0", "b", "simulation", 0.125))
        journal.record(step, Kept({one.cell: [View(1.0, 0, golden[one.cell])] for one in step.events}))
    decide(("s1", 4, "confirmed", "", 1), ("s1", 5, "confirmed", "", 1))
    taught = {one.cell.cell: one.role for one in gather(path, ["s1"], False).examples}
    assert taught == {1: "denominator", 4: "target", 5: "target"}


def test_sessions_are_the_groups_and_few_of_them_are_split_into_stretches_of_their_pan(sessions, decide):
    journal = sessions(3)
    decide(*((f"s{number}", 4, "confirmed", "", 1) for number in (1, 2, 3)))
    assert {one.group for one in gather(journal, [], False).examples} == {"s1", "s2", "s3"}
    few = gather(journal, ["s1", "s2"], False)
    assert few.by_stretches
    groups = [one.group for one in few.examples if one.cell.session == "s1"]
    assert groups == sorted(groups)  # contiguous in the order of the pan
    assert 3 <= len(set(groups)) <= 10
    assert "say nothing of another slide" in few.in_words(journal)


def test_the_dataset_holds_each_cells_own_pixels_and_nothing_is_overwritten(sessions, decide, tmp_path):
    journal, out = sessions(1), tmp_path / "data"
    decide(("s1", 4, "confirmed", "", 1))
    write(gather(journal, [], False), out, 'M"G\\G \N{MICRO SIGN}', "ours\nalone")
    with (out / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"image", "x", "y", "group", "label"}
    (positive,) = [row for row in rows if row["label"] == "fnrbc"]
    assert positive["image"] == "reviewed/s1-000004.png"
    picture = cv2.imread(str(out / positive["image"]))[..., ::-1]
    assert (picture == load_bundle(None).golden_crops[4]).all()
    with pytest.raises(UsageError, match="holds something already"):
        write(gather(journal, [], False), out, "", "")


def test_what_nobody_reviewed_and_what_is_not_there_is_refused_with_the_cure(sessions):
    journal = sessions(1)
    with pytest.raises(UsageError, match="review candidates first"):
        gather(journal, [], False)
    with pytest.raises(UsageError, match="review candidates first"):
        gather(journal, ["s1"], False)
    with pytest.raises(ReviewError, match="s9"):
        gather(journal, ["s9"], False)


def test_two_bundles_are_held_against_the_readers_on_the_same_views(sessions, decide):
    journal, shipped = sessions(1), load_bundle(None)
    with closing(as_counted(OnnxClassifier(shipped), shipped.manifest)) as looking:
        decided = shipped.manifest.decide(looking.probabilities(shipped.golden_crops))
    # The readers follow the shipped network but for one cell, so it is wrong on that, and on what it does not decide.
    right = [cell for cell in CELLS if cell not in (13, 20) and decided[cell] != -1]
    for index, cell in enumerate(right):
        is_one = (shipped.classes[decided[cell]] == "fnrbc") != (index == 0)
        decide(("s1", cell, "reclassified", "fnrbc" if is_one else "leukocyte", 1))
    found = reclassify(of_sessions(journal, [])["s1"], shipped, shipped)
    assert len(found) == len(right)
    said = in_words(found, "old", "new")
    assert f"old: agrees with the readers on {len(right) - 1}" in said
    assert "0 mended" in said
    assert not any(one.spoiled for one in found)
    with pytest.raises(UsageError, match="review"):
        reclassify([], shipped, shipped)


def test_cells_that_taught_a_network_are_told_apart_from_those_that_judge_it(sessions, decide):
    journal, shipped = sessions(1), load_bundle(None)
    for cell in (1, 2, 3):
        decide(("s1", cell, "reclassified", "leukocyte", 1))
    cells = of_sessions(journal, [])["s1"]
    asked = [one for one in cells if one.label]
    by = [digest_of(one.crop) for one in asked]
    taught = replace(shipped, seen=np.array(sorted(by[:2]), np.uint64))
    for before, now in ((taught, shipped), (shipped, taught)):
        found = reclassify(cells, before, now)
        assert [one.taught for one in found] == [True, True, False]
        assert "of the 1 that neither was taught by: " in in_words(found, "old", "new")
    by_heart = replace(shipped, seen=np.array(sorted(by), np.uint64))
    assert "review a session that taught neither" in in_words(reclassify(cells, by_heart, shipped), "old", "new")


def test_a_bundle_compared_decides_on_the_views_of_a_cell_as_a_count_does(sessions):
    bundle = load_bundle(None)
    one = of_sessions(sessions(1), ["s1"])["s1"][0]
    surest = bundle.golden_probabilities[:, :2].argmax(axis=0)
    is_one, is_none = (as_png(bundle.golden_crops[int(at)]) for at in surest)
    cells = [
        KeptCell("s1", number, one.verdict, "target", False, pngs)
        for number, pngs in enumerate([(is_one,), (is_one, is_one, is_none), (is_one, is_none)])
    ]
    assert [found.now for found in reclassify(cells, bundle, bundle)] == ["target", "target", None]


def test_a_damaged_picture_is_named(sessions):
    kept = of_sessions(sessions(1), ["s1"])["s1"][0]
    broken = type(kept)(kept.session, kept.cell, kept.verdict, None, False, (bytes(9),))
    with pytest.raises(Exception, match="cell 1 of session s1 is damaged"):
        _ = broken.crop
