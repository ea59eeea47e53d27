import base64
import dataclasses
import re

import numpy as np
import pytest

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Interval
from fnrbc_training import comparison
from fnrbc_training.bylaboratory import OfClass, OfLaboratory
from fnrbc_training.charts import average_precision
from fnrbc_training.comparison import CASES, compare, paper_sized
from fnrbc_training.comparison_page import _worst_first, verdict, write_page


def silent(what, done, total):
    pass


@pytest.fixture(scope="module")
def compared(painted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    found = compare(painted, folder, epochs=1, seed=1, progress=silent)
    return folder, found, write_page(found, folder)


def test_every_network_is_measured_on_crops_that_were_held_out_from_it(compared, painted):
    _, found, _ = compared
    assert [outcome.case for outcome in found.outcomes] == list(CASES)
    for outcome in found.outcomes:
        assert set(outcome.heldout.parts) == {"heldout"}
        assert outcome.probabilities.shape == (len(outcome.heldout), 3)
    assert len(found.of("all", "pnet", "none").heldout) == len(painted.part("heldout"))


def test_the_page_has_all_that_the_comparison_promises_and_nothing_outside_it(compared):
    _, found, page = compared
    text = page.read_text()
    for needed in (
        "Table 2", "Net1, without augmentation", "Net2 (P-net), with augmentation", "Precision and recall",
        "interval holds 0", "by original class", "Every error", "Expected calibration error", "outer ring",
        "By laboratory, the worst first", "P-net, with the styles of other laboratories",
        "96.5 %", "haematoxylin", "78:22", "83.7", "research use only", "Its augmentation changes", "points (",
    ):  # fmt: skip
        assert needed in text, needed
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert text.count("<figure>") == sum(int((~outcome.right).sum()) for outcome in found.outcomes)


def test_the_figures_lie_beside_the_page_and_are_the_ones_inside_it(compared):
    folder, _, page = compared
    pictures = sorted(folder.glob("*.png"))
    assert [p.name for p in pictures] == ["precision-recall-all.png", "precision-recall-paper.png", "reliability.png"]
    for picture in pictures:
        assert base64.b64encode(picture.read_bytes()).decode() in page.read_text()


def test_what_was_trained_is_not_trained_again(compared, painted):
    folder, _, page = compared
    before = page.read_bytes()
    again = compare(painted, folder, epochs=1, seed=1, progress=lambda *_: pytest.fail("trained again"))
    assert write_page(again, folder).read_bytes() == before


def test_the_papers_sample_is_half_positive_and_keeps_its_sides(painted, monkeypatch):
    monkeypatch.setattr(comparison, "PAPER", {"training": 21, "tuning": 4, "heldout": 8})
    drawn = paper_sized(painted, seed=3)
    counts = {part: np.bincount(drawn.part(part).labels != 0).tolist() for part in ("training", "tuning", "heldout")}
    assert counts == {"training": [11, 10], "tuning": [2, 2], "heldout": [4, 4]}
    assert set(drawn.names) <= set(painted.names)


def test_a_set_without_positives_cannot_be_compared(painted):
    with pytest.raises(UsageError, match="lacks fNRBC"):
        paper_sized(painted.where(painted.labels != 0), seed=1)


def test_painted_cells_are_no_evidence(painted, tmp_path):
    marked = dataclasses.replace(painted, simulated=np.ones(len(painted), bool))
    with pytest.raises(UsageError, match="lacks"):
        compare(marked, tmp_path, epochs=1, seed=1, progress=silent)


def test_average_precision_is_that_worked_by_hand_and_follows_the_weights():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, positive, np.ones(4)) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(scores, positive, np.array([1.0, 0, 1, 1])) == 1.0
    assert np.isnan(average_precision(scores, positive, np.array([0.0, 1, 0, 1])))


@pytest.mark.parametrize(
    ("low", "high", "says"), [(0.01, 0.03, "better"), (-0.03, -0.01, "worse"), (-0.01, 0.02, "no difference shown")]
)
def test_a_difference_is_said_only_where_its_interval_leaves_out_nil(low, high, says):
    assert verdict(Interval((low + high) / 2, low, high)).startswith(says)


def test_laboratories_stand_in_the_page_with_the_worst_first(compared):
    _, found, page = compared
    text = page.read_text()
    section = text[text.index("By laboratory") : text.index("How far its probabilities")]
    for outcome in found.outcomes:
        (laboratory,) = outcome.laboratories
        assert sum(of.cells for of in laboratory.classes) == len(outcome.heldout)
    assert section.count("<tr>") == 1 + 3  # Net1, Net2 and P-net with styles, on all data
    best, worst = (_outcome_of(name, found_share) for name, found_share in (("a", 40), ("b", 10)))
    assert _worst_first([dataclasses.replace(found.outcomes[0], laboratories=(best, worst))]) == ["b", "a"]


def _outcome_of(name, fnrbc):
    return OfLaboratory(name, (OfClass("fnrbc", 0, 50, 0, fnrbc, 0),), None, {})
