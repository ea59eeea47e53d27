"""Figures by laboratory and class, end to end: a cell that was not found counts as missed.

A network that is right at home may be wrong elsewhere; a mean over laboratories hides it, so the worst one leads.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.intervals import share
from fnrbc_device.model.manifest import UNDECIDED, decide
from fnrbc_device.records import Interval
from fnrbc_training.baseline import area_under_curve
from fnrbc_training.dataset import DENOMINATOR, TARGET, CropSet
from fnrbc_training.metrics import PER_THOUSAND, Probabilities

ALLOWED: Final = (2, 5, 10, 20)
"""False positives a thousand leukocytes at which the sensitivity is given: what a slide with few fNRBC can bear."""


@dataclass(frozen=True, slots=True)
class OfClass:
    """What became of one class, by the name that its data has for it: of erythroblasts that is the maturation."""

    name: str
    label: int
    """Column in ``CLASSES``."""
    cells: int
    missed: int
    """Of them, not found."""
    fnrbc: int
    """Of them, taken for fNRBC."""
    indeterminate: int

    @property
    def taken(self) -> Interval:
        """Share taken for fNRBC, of all cells."""
        return share(self.fnrbc, self.cells)


@dataclass(frozen=True, slots=True)
class OfLaboratory:
    """Figures of a bundle in one laboratory."""

    name: str
    classes: tuple[OfClass, ...]
    auc: float | None
    """Area under the ROC curve of the cells found; None where one kind is absent."""
    at: dict[int, Interval]
    """Sensitivity, end to end, at a threshold that lets so many of a thousand leukocytes through; empty where a kind is
    absent."""

    def total(self, label: int, what: str) -> int:
        """Sum a column over the classes of one label."""
        return sum(int(getattr(of, what)) for of in self.classes if of.label == label)

    @property
    def sensitivity(self) -> Interval | None:
        """Share of the fNRBC that were found and decided for, of all labelled; None where there is none."""
        cells = self.total(TARGET, "cells")
        return share(self.total(TARGET, "fnrbc"), cells) if cells else None

    @property
    def false(self) -> Interval | None:
        """Leukocytes taken for fNRBC, of all, as a share; None where there is none."""
        cells = self.total(DENOMINATOR, "cells")
        return share(self.total(DENOMINATOR, "fnrbc"), cells) if cells else None

    def as_json(self) -> dict[str, Any]:
        """Give the object that stands for a laboratory in ``fnrbc-train evaluate --json``."""
        return {
            "name": self.name,
            "cells": sum(of.cells for of in self.classes),
            "missed": sum(of.missed for of in self.classes),
            "sensitivity": _figure(self.sensitivity),
            "false_positives_per_1000_leukocytes": _figure(self.false, PER_THOUSAND),
            "auc": self.auc,
            "sensitivity_at_false_positives_per_1000": {str(k): _figure(v) for k, v in self.at.items()},
            "classes": {of.name: {**asdict(of), "taken_for_fnrbc": _figure(of.taken)} for of in self.classes},
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """One laboratory's unseen cells."""

    originals: NDArray[np.str_]
    labels: NDArray[np.int64]
    wanted: Probabilities
    """The target's probability."""
    decided: NDArray[np.int64]
    lost: dict[str, int]
    """Not found, by class."""
    lost_labels: dict[str, int]


def by_laboratory(
    crops: CropSet, probabilities: Probabilities, band: tuple[float, float], seen: NDArray[np.uint64]
) -> tuple[OfLaboratory, ...]:
    """Break decisions on unseen cells down.

    Parameters
    ----------
    crops
        Unseen ones; their sources say which cells were not found.
    probabilities
        (N, classes), of the crops.
    band
        The target's probabilities from and up to which nothing is decided.
    seen
        Digests of the pictures that are no evidence, found or not.
    """
    decided = decide(np.asarray(probabilities, np.float64), TARGET, band)
    laboratories, known = crops.laboratories(), set(seen.tolist())
    found = []
    for source in crops.sources:
        here = laboratories == source.name
        lost = {name: sum(d not in known for d in of) for name, of in source.missed_digests.items()}
        cells = _Cells(
            crops.originals[here], crops.labels[here], probabilities[here, TARGET], decided[here],
            {name: count for name, count in lost.items() if count}, source.missed_labels,
        )  # fmt: skip
        if here.any() or cells.lost:
            found.append(_laboratory(source.name, cells))
    return tuple(found)


def worst(laboratories: Sequence[OfLaboratory]) -> tuple[OfLaboratory | None, OfLaboratory | None]:
    """Find the laboratory with the lowest sensitivity, and the one with the most false positives."""
    wanted = [lab for lab in laboratories if lab.sensitivity is not None]
    others = [lab for lab in laboratories if lab.false is not None]
    lowest = min(wanted, key=lambda lab: lab.sensitivity.value if lab.sensitivity else 1.0, default=None)
    falsest = max(others, key=lambda lab: lab.false.value if lab.false else 0.0, default=None)
    return lowest, falsest


def said_of_worst(laboratories: Sequence[OfLaboratory]) -> str:
    """Say what a reader has to know first: how it does where it does worst."""
    lowest, falsest = worst(laboratories)
    words = []
    if lowest is not None and lowest.sensitivity is not None:
        words.append(f"in {lowest.name} {percent(lowest.sensitivity)} of the fNRBC were found and decided for")
    if falsest is not None and falsest.false is not None:
        words.append(f"in {falsest.name} {thousandth(falsest.false)} of a thousand leukocytes were taken for fNRBC")
    return "; ".join(words)


def table(laboratories: Sequence[OfLaboratory]) -> str:
    """Write the table by laboratory and the one by class, Markdown."""
    head = "| laboratory | cells | not found | sensitivity | false a thousand leukocytes | AUC of found | "
    head += " | ".join(f"at {k} false" for k in ALLOWED) + " |"
    rows = [_row(lab) for lab in laboratories]
    classes = [
        f"| {lab.name} | {of.name} | {of.cells} | {of.missed} | {of.fnrbc} | {of.indeterminate} | {percent(of.taken)} |"
        for lab in laboratories
        for of in lab.classes
    ]
    first = "\n".join([head, "|---" * (6 + len(ALLOWED)) + "|", *rows])
    head = "| laboratory | class | cells | not found | as fNRBC | indeterminate | share as fNRBC |"
    second = "\n".join([head, "|---" * 7 + "|", *classes])
    return f"{first}\n\n{second}"


def percent(interval: Interval | None) -> str:
    """Write a share with its interval."""
    if interval is None:
        return "-"
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def thousandth(interval: Interval | None) -> str:
    """Write a share as so many of a thousand."""
    if interval is None:
        return "-"
    low, value, high = (PER_THOUSAND * v for v in (interval.low, interval.value, interval.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _laboratory(name: str, cells: _Cells) -> OfLaboratory:
    labels = {**{of: cells.lost_labels[of] for of in cells.lost}, **dict(zip(*_named(cells), strict=True))}
    classes = tuple(
        _class(of, labels[of], cells.decided[cells.originals == of], cells.lost.get(of, 0)) for of in sorted(labels)
    )
    positive, negative = (cells.wanted[cells.labels == label] for label in (TARGET, DENOMINATOR))
    if not len(positive) or not len(negative):
        return OfLaboratory(name, classes, None, {})
    lost = {label: sum(of.missed for of in classes if of.label == label) for label in (TARGET, DENOMINATOR)}
    at = {k: _sensitivity_at(k, positive, negative, lost[TARGET], lost[DENOMINATOR]) for k in ALLOWED}
    ranked = np.concatenate([positive, negative])
    auc = area_under_curve(ranked, np.arange(len(ranked)) < len(positive), np.ones(len(ranked)))
    return OfLaboratory(name, classes, auc, at)


def _named(cells: _Cells) -> tuple[list[str], list[int]]:
    return [str(of) for of in cells.originals], [int(label) for label in cells.labels]


def _class(name: str, label: int, decided: NDArray[np.int64], missed: int) -> OfClass:
    taken, undecided = int((decided == TARGET).sum()), int((decided == UNDECIDED).sum())
    return OfClass(name, label, len(decided) + missed, missed, taken, undecided)


def _sensitivity_at(
    false: int, positive: Probabilities, negative: Probabilities, lost: int, lost_negative: int
) -> Interval:
    """Sensitivity at the lowest threshold that lets no more leukocytes through, of all that are labelled."""
    allowed = int(false * (len(negative) + lost_negative) / PER_THOUSAND)
    highest = np.sort(negative)[::-1]
    limit = highest[allowed] if allowed < len(highest) else -np.inf
    return share(int((positive > limit).sum()), len(positive) + lost)


def _row(lab: OfLaboratory) -> str:
    auc = "-" if lab.auc is None else f"{lab.auc:.3f}"
    at = [percent(lab.at.get(k)) for k in ALLOWED]
    cells, missed = (sum(getattr(of, what) for of in lab.classes) for what in ("cells", "missed"))
    figures = [lab.name, str(cells), str(missed), percent(lab.sensitivity), thousandth(lab.false), auc, *at]
    return f"| {' | '.join(figures)} |"


def _figure(interval: Interval | None, times: float = 1.0) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"value": times * interval.value, "low": times * interval.low, "high": times * interval.high}
