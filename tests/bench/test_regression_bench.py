"""The figure that a frame's cost is held against: strict where it was made, loose elsewhere, and always there."""

import json

import pytest

from regression import GROWN, GROWN_ELSEWHERE, KEPT, limit_of

HERE = {"ratio": 2.0, "processor": "this one"}


def test_a_fifth_more_is_too_much_on_the_processor_that_the_figure_was_made_on():
    limit, said = limit_of(HERE, "this one")

    assert limit == pytest.approx(2.0 * GROWN)
    assert said == ""


def test_on_another_processor_the_limit_is_looser_and_that_is_said():
    limit, said = limit_of(HERE, "another one")

    assert limit == pytest.approx(2.0 * GROWN_ELSEWHERE)
    assert "this one" in said


def test_the_figure_that_is_kept_can_be_read():
    kept = json.loads(KEPT.read_text())

    assert kept["ratio"] > 0
    assert "--renew" in kept["renewed by"]
