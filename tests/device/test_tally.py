"""The tally: nothing but the sum of what was recorded."""

import numpy as np
import pytest

from fnrbc_device.counting.recount import recount
from fnrbc_device.counting.tally import TallyKeeper
from fnrbc_device.intervals import per_hundred, reference_to_go
from fnrbc_device.records import INDETERMINATE, CountEvent, EventName, Role, Tally, Verdict

VERDICTS: list[tuple[str, Role]] = [
    ("fnrbc", "target"),
    ("leukocyte", "denominator"),
    ("other", "ignored"),
    (INDETERMINATE, "ignored"),
]


def event(name: EventName, cell: int, kind: int) -> CountEvent:
    verdict = Verdict(*VERDICTS[kind], 0.9, 0.9 if kind == 0 else 0.1)
    return CountEvent(name, cell, verdict, 0, 1.0, 2.0, 3.0, 4.0, 10.0, 0.4, 3, 7, "because")


def kept(events: list[CountEvent]) -> Tally:
    keeper = TallyKeeper()
    for each in events:
        keeper.add_event(each)
    return keeper.tally(0, 0.0, 0)


@pytest.mark.parametrize("seed", range(10))
def test_the_tally_is_the_recount_of_the_events(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, 200)
    events = [event("counted", cell, int(kind)) for cell, kind in enumerate(kinds)]
    for cell in rng.permutation(200)[:50]:
        name = ("retracted", "rejected", "confirmed")[int(rng.integers(3))]
        events.append(event(name, int(cell), int(kinds[cell])))  # type: ignore[arg-type]

    tally = kept(events)
    assert tally == recount(events)
    assert tally.cells == tally.fnrbc + tally.leukocytes + tally.other + tally.indeterminate


def test_a_cell_confirmed_as_another_class_moves_from_one_column_to_the_other() -> None:
    tally = kept([event("counted", 1, 3), event("counted", 2, 1), event("confirmed", 1, 0)])

    assert (tally.cells, tally.fnrbc, tally.indeterminate, tally.leukocytes) == (2, 1, 0, 1)


def test_a_retracted_cell_is_taken_out_of_its_own_column() -> None:
    tally = kept([event("counted", 1, 0), event("counted", 2, 1), event("retracted", 1, 0)])

    assert (tally.cells, tally.fnrbc, tally.leukocytes) == (1, 0, 1)


def test_there_is_no_rate_without_a_leukocyte() -> None:
    assert kept([event("counted", 1, 0)]).fnrbc_per_100_leukocytes is None


def test_the_rate_carries_its_interval() -> None:
    tally = kept([event("counted", 1, 0), *(event("counted", cell, 1) for cell in range(2, 22))])

    assert tally.fnrbc_per_100_leukocytes == per_hundred(1, 20)
    assert tally.fnrbc_per_100_leukocytes is not None
    assert tally.fnrbc_per_100_leukocytes.value == pytest.approx(5.0)


def test_the_tally_says_how_many_more_leukocytes_to_count() -> None:
    tally = kept([event("counted", 1, 0), *(event("counted", cell, 1) for cell in range(2, 22))])

    assert tally.leukocytes_to_go == reference_to_go(1, 20)
    assert kept([event("counted", 1, 1)]).leukocytes_to_go is None


def test_every_frame_is_used_or_rejected_with_its_reason() -> None:
    keeper = TallyKeeper()
    for reason in (None, "blurred", None, "too_fast", "blurred", None):
        keeper.add_frame(reason)  # type: ignore[arg-type]
    keeper.dropped += 4

    tally = keeper.tally(islands=2, area_mm2=0.125, cells_open=3)

    assert (tally.frames, tally.frames_used) == (6, 3)
    assert tally.frames_rejected == {"blurred": 2, "too_fast": 1}
    assert (tally.frames_dropped, tally.islands, tally.unique_area_mm2, tally.cells_open) == (4, 2, 0.125, 3)


def test_a_tally_once_stated_does_not_change() -> None:
    keeper = TallyKeeper()
    keeper.add_frame("blurred")
    stated = keeper.tally(1, 0.0, 0)

    keeper.add_frame("blurred")
    keeper.add_event(event("counted", 1, 0))

    assert (stated.frames, stated.frames_rejected, stated.cells) == (1, {"blurred": 1}, 0)
