"""How often a network was right and wrong where it was measured: what a count is corrected by.

Counts and not rates: of rates alone nobody can tell how well they are known.
"""

from collections.abc import Iterable
from typing import Final

from fnrbc_device.intervals import clopper_pearson
from fnrbc_device.model.manifest import ClassCounts, Figure, Manifest
from fnrbc_device.records import ErrorCounts

_NEARBY: Final = 60
"""Numbers of cells that are tried round the one whose interval is as wide as the stated one."""


def shipped_errors(manifest: Manifest) -> tuple[ErrorCounts, ...]:
    """Errors as a bundle ships them, one for each laboratory that it was measured in.

    A laboratory without fNRBC, or without leukocytes, lends those of all the others together. Of a bundle that states
    rates alone, the counts that these rates and their exact intervals come from; there, what was left indeterminate
    stands among the wrong ones, and what is neither fNRBC nor leukocyte among the leukocytes.
    """
    stated = manifest.metrics.counts
    if stated is None:
        return (_derived(manifest),)
    laboratories = dict.fromkeys(entry.laboratory for entry in stated)
    return tuple(_of_laboratory(name, stated) for name in laboratories)


def _of_laboratory(name: str, stated: tuple[ClassCounts, ...]) -> ErrorCounts:
    mine = [entry for entry in stated if entry.laboratory == name]
    targets = _with_role("target", mine) or _with_role("target", stated)
    leukocytes = _with_role("denominator", mine) or _with_role("denominator", stated)
    return ErrorCounts(
        targets_right=sum(entry.right for entry in targets),
        targets_wrong=sum(entry.wrong + entry.undecided for entry in targets),
        leukocytes_right=sum(entry.right + entry.undecided for entry in leukocytes),
        leukocytes_wrong=sum(entry.wrong for entry in leukocytes),
        source="shipped",
        on=name,
    )


def _with_role(role: str, entries: Iterable[ClassCounts]) -> list[ClassCounts]:
    return [entry for entry in entries if entry.role == role]


def _derived(manifest: Manifest) -> ErrorCounts:
    metrics = manifest.metrics
    found, targets = _counts_behind(metrics.sensitivity, metrics.n)
    kept, others = _counts_behind(metrics.specificity, metrics.n)
    return ErrorCounts(found, targets - found, kept, others - kept, "shipped", metrics.measured_on)


def _counts_behind(figure: Figure, at_most: int) -> tuple[int, int]:
    """Successes and trials whose exact interval a figure states, or comes nearest to."""

    def width(trials: int) -> float:
        low, high = clopper_pearson(round(figure.value * trials), trials)
        return high - low

    few, many = 1, at_most
    while few < many:
        middle = (few + many) // 2
        few, many = (middle + 1, many) if width(middle) > figure.high - figure.low else (few, middle)
    tried = range(max(1, few - _NEARBY), min(at_most, few + _NEARBY) + 1)
    trials = min(tried, key=lambda trials: _distance(figure, trials))
    return round(figure.value * trials), trials


def _distance(figure: Figure, trials: int) -> float:
    successes = round(figure.value * trials)
    low, high = clopper_pearson(successes, trials)
    return abs(low - figure.low) + abs(high - figure.high) + abs(successes / trials - figure.value)
