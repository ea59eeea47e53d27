"""What a row of count events adds up to. The tally is nothing but this sum."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, Literal

from fnrbc_device.intervals import per_hundred, reference_to_go
from fnrbc_device.records import INDETERMINATE, CountEvent, EventName, Role, Tally, Verdict

Column = Literal["fnrbc", "leukocytes", "other", "indeterminate"]

ENTERING: Final[tuple[EventName, ...]] = ("counted", "confirmed")
"""Events that enter a cell into the count with the verdict they carry; the others take it out."""

_COLUMNS: Final[dict[Role, Column]] = {"target": "fnrbc", "denominator": "leukocytes", "ignored": "other"}


def standing(events: Iterable[CountEvent]) -> dict[int, Verdict]:
    """Verdict of every cell that still counts after a row of events.

    *counted* and *confirmed* enter a cell with the verdict they carry; *retracted* and *rejected* take it
    out.
    """
    verdicts: dict[int, Verdict] = {}
    for event in events:
        if event.event in ENTERING:
            verdicts[event.cell] = event.verdict
        else:
            verdicts.pop(event.cell, None)
    return verdicts


def column(verdict: Verdict) -> Column:
    """Where in the tally a verdict counts. *Indeterminate* is a column of its own, whatever the role."""
    return "indeterminate" if verdict.class_name == INDETERMINATE else _COLUMNS[verdict.role]


def recount(events: Iterable[CountEvent]) -> Tally:
    """Add events up. Fields of the tally that events do not hold (frames, area, cells open) stay 0."""
    return tally_of(Counter(column(verdict) for verdict in standing(events).values()))


def tally_of(counts: Counter[Column]) -> Tally:
    """State the counts with all that follows from them alone."""
    fnrbc, leukocytes = counts["fnrbc"], counts["leukocytes"]
    return Tally(
        cells=counts.total(),
        fnrbc=fnrbc,
        leukocytes=leukocytes,
        other=counts["other"],
        indeterminate=counts["indeterminate"],
        fnrbc_per_100_leukocytes=per_hundred(fnrbc, leukocytes) if leukocytes else None,
        leukocytes_to_go=reference_to_go(fnrbc, leukocytes),
    )
