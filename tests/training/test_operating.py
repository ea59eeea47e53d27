import numpy as np

from fnrbc_training.metrics import choose_band
from fnrbc_training.operating import THRESHOLD, kinds_of


def test_kinds_are_told_by_the_names_that_data_have():
    named = np.array(["lymphoid", "lymphocyte", "promyelocyte", "blast", "ig", "neutrophil", "leukocyte"])
    assert kinds_of(named).tolist() == ["lymphocyte"] * 2 + ["immature"] * 3 + ["other"] * 2


def test_what_is_likelier_an_fnrbc_than_not_is_one_unless_it_lies_in_the_band():
    low, high = choose_band(np.linspace(0.001, 0.999, 999), THRESHOLD)
    assert low < 0.5 < high
    assert high - low < 0.13
