"""How well a network decides, and the calibration and limits that make it decide so.

Positive is the fNRBC. A cell that the network leaves *indeterminate* counts as wrong.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.intervals import share
from fnrbc_device.model.manifest import UNDECIDED, decide
from fnrbc_device.records import INDETERMINATE, Interval, Role

Probabilities = NDArray[np.floating[Any]]

BINS: Final = 15
"""Of the expected calibration error."""

INDETERMINATE_SHARE: Final = 0.0025
"""Largest share of the tuning crops that the band may leave undecided: more costs more than it saves."""

BAND_LIMIT: Final = 0.25
"""Largest half of the band, log-odds: a probability of 0.44 to 0.56, where deciding is little better than a coin.
Without a limit the band filled the empty middle of 413 tuning crops, and 4 of 828 held-out ones fell into it."""

PER_THOUSAND: Final = 1000

TEMPERATURES: Final = (0.05, 20.0)
"""Searched for the temperature; well-trained networks lie at 0.3 to 3."""


@dataclass(frozen=True, slots=True)
class Performance:
    """Figures of one network on one set of crops."""

    accuracy: Interval
    sensitivity: Interval
    specificity: Interval
    ece: float
    """Expected calibration error of the target's probability, 15 bins, 0..1."""
    n: int
    indeterminate: int
    confusion: dict[str, dict[str, int]]
    """Decisions by original class."""

    def figures(self) -> dict[str, Any]:
        """All but the confusion, as JSON would hold it."""
        found = asdict(self)
        del found["confusion"]
        return found


def measure(
    probabilities: Probabilities,
    labels: NDArray[np.int64],
    originals: Sequence[str] | NDArray[np.str_],
    classes: Sequence[str],
    target: int,
    band: tuple[float, float],
) -> Performance:
    """Hold decisions against labels.

    Parameters
    ----------
    probabilities
        (N, classes), calibrated.
    labels
        (N,) true columns.
    originals
        (N,) classes as the data names them.
    classes
        Names of the columns.
    target
        Column of the positive class.
    band
        The target's probabilities from and up to which nothing is decided.
    """
    decided = decide(probabilities, target, band)
    positive, undecided = labels == target, decided == UNDECIDED
    right = rightly_decided(probabilities, labels, target, band)
    return Performance(
        accuracy=share(int(right.sum()), len(labels)),
        sensitivity=share(int(right[positive].sum()), int(positive.sum())),
        specificity=share(int(right[~positive].sum()), int((~positive).sum())),
        ece=expected_calibration_error(probabilities[:, target], positive, np.ones(len(labels))),
        n=len(labels),
        indeterminate=int(undecided.sum()),
        confusion=_confusion(decided, originals, classes),
    )


def class_counts(
    probabilities: Probabilities,
    labels: NDArray[np.int64],
    originals: Sequence[str] | NDArray[np.str_],
    laboratories: Sequence[str] | NDArray[np.str_],
    roles: Sequence[Role],
    target: int,
    band: tuple[float, float],
) -> list[dict[str, Any]]:
    """Count decisions by laboratory and class, as a manifest's ``metrics.counts`` states them.

    Parameters
    ----------
    probabilities, labels, originals, target, band
        As for ``measure``.
    laboratories
        (N,) where each crop's cell was stained and photographed.
    roles
        Of the columns.
    """
    undecided = decide(probabilities, target, band) == UNDECIDED
    right = rightly_decided(probabilities, labels, target, band)
    keys = [(str(lab), str(name), int(label)) for lab, name, label in zip(laboratories, originals, labels, strict=True)]
    outcomes = Counter(zip(keys, right.tolist(), undecided.tolist(), strict=True))
    return [
        {
            "laboratory": laboratory,
            "class_name": name,
            "role": roles[label],
            "right": outcomes[key, True, False],
            "wrong": outcomes[key, False, False],
            "undecided": outcomes[key, False, True],
        }
        for key in sorted(set(keys))
        for laboratory, name, label in (key,)
    ]


def rightly_decided(
    probabilities: Probabilities, labels: NDArray[np.int64], target: int, band: tuple[float, float]
) -> NDArray[np.bool_]:
    """(N,) which crops were decided, and rightly told to be the target or not."""
    decided = decide(probabilities, target, band)
    return np.asarray(((decided == target) == (labels == target)) & (decided != UNDECIDED))


def expected_calibration_error(
    probabilities: Probabilities, truth: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """Mean distance between what a probability promises and what comes true, over 15 equal bins.

    Parameters
    ----------
    probabilities
        (N,) 0..1.
    truth
        (N,) what came true.
    weights
        (N,) 1 each, or how often each was drawn.
    """
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights * (probabilities - truth), BINS)
    return float(np.abs(gaps).sum() / max(weights.sum(), 1.0))


def softmax(logits: Probabilities, temperature: float) -> NDArray[np.float64]:
    """(N, classes) probabilities of (N, classes) logits."""
    scaled = logits.astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def choose_temperature(logits: Probabilities, labels: NDArray[np.int64]) -> float:
    """Find the temperature under which the tuning crops are least surprising.

    Held against Platt's targets, (n + 1) / (n + 2) for the true class, since a tuning set without an error
    would otherwise call for certainty, and n crops do not give more than that [1]_. n is all of them, for there
    is one temperature for all classes.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin
       Classifiers, 1999, 61-74.
    """
    classes = logits.shape[1]
    wrong = 1 / (len(labels) + 2)
    targets = np.full(logits.shape, wrong / (classes - 1))
    targets[np.arange(len(labels)), labels] = 1 - wrong

    def surprise(log_temperature: float) -> float:
        likely = np.maximum(softmax(logits, float(np.exp(log_temperature))), 1e-12)
        return float(-(targets * np.log(likely)).sum(axis=1).mean())

    grid = np.linspace(np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1]), 600)
    return float(np.exp(min(grid, key=surprise)))


def false_positives_per_thousand(
    probabilities: Probabilities, positive: NDArray[np.bool_], leukocyte: NDArray[np.bool_], threshold: float
) -> float:
    """Cells taken for the target that are not, for each thousand leukocytes; NaN where there is none.

    Parameters
    ----------
    probabilities
        (N,) the target's.
    positive, leukocyte
        (N,) which are the target and which the denominator.
    threshold
        From which on a cell is taken for the target.
    """
    false = int(((probabilities >= threshold) & ~positive).sum())
    return PER_THOUSAND * false / int(leukocyte.sum()) if leukocyte.any() else float("nan")


def choose_band(probabilities: Probabilities, threshold: float) -> tuple[float, float]:
    """Find the widest band round the threshold that leaves few tuning crops undecided.

    Symmetric in log-odds, and no wider than ``BAND_LIMIT`` to each side.
    """
    middle = float(_log_odds(np.array([threshold]))[0])
    distances = np.sort(np.abs(_log_odds(probabilities) - middle))
    allowed = min(int(INDETERMINATE_SHARE * len(probabilities)), len(distances) - 1)
    half = min(float(distances[allowed]), BAND_LIMIT)
    return _probability(middle - half), _probability(middle + half)


def _log_odds(probabilities: Probabilities) -> NDArray[np.float64]:
    inside = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(inside / (1 - inside)))


def _probability(odds: float) -> float:
    return float(1 / (1 + np.exp(-odds)))


def _confusion(
    decided: NDArray[np.int64], originals: Sequence[str] | NDArray[np.str_], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    columns = [*classes, INDETERMINATE]  # UNDECIDED is -1: the last one
    names = [str(name) for name in originals]
    counts = Counter(zip(names, (columns[d] for d in decided), strict=True))
    return {name: {column: counts[name, column] for column in columns} for name in sorted(set(names))}
