"""The comparison's figures, as PNG files."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import UsageError
from fnrbc_device.intervals import share
from fnrbc_training.comparison import Outcome
from fnrbc_training.dataset import TARGET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS: Final = 10
"""Of the reliability diagram: with more, most of them hold a handful of cells."""

CORNER: Final = 0.9
"""From which precision and recall the corner is shown: good networks differ only there."""

DOTS_PER_INCH: Final = 110


def precision_and_recall(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall at each distinct score from the highest down, each cell weighing as its weight says.

    Parameters
    ----------
    scores
        (N,) the higher, the rather a target.
    positive
        (N,) which are.
    weights
        (N,) 1 each, or how often each was drawn.
    """
    order = np.argsort(-scores, kind="stable")
    true, drawn = np.cumsum((positive * weights)[order]), np.cumsum(weights[order])
    last_of_ties = np.append(np.diff(scores[order]) != 0, True) & (drawn > 0)
    true, drawn = true[last_of_ties], drawn[last_of_ties]
    return true / drawn, true / true[-1] if true[-1] else np.full(len(true), np.nan)


def average_precision(scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Area under the precision-recall curve, as the sum of its steps; NaN without a positive."""
    precision, recall = precision_and_recall(scores, positive, weights)
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def precision_recall_chart(outcomes: Sequence[Outcome], title: str) -> bytes:
    """Draw the paper's precision-recall figure, a curve a network: whole, and the corner in which good ones differ."""
    figure = _figure(width=9.0)
    for axes, least in zip(figure.subplots(1, 2), (0.0, CORNER), strict=True):
        for outcome in outcomes:
            weights = np.ones(len(outcome.heldout))
            precision, recall = precision_and_recall(outcome.probabilities[:, TARGET], outcome.positive, weights)
            axes.step(np.append(0, recall), np.append(1, precision), where="post", label=outcome.case.title)
        limits = (least, 1 + (1 - least) / 50)
        axes.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=limits, ylim=limits)
    figure.axes[0].legend(loc="lower left")  # where no good network's curve runs; in the corner it would hide one
    figure.suptitle(title)
    return _png(figure)


def reliability_chart(outcome: Outcome) -> bytes:
    """Draw what probabilities promise against what comes true."""
    promised, truth = outcome.probabilities[:, TARGET], outcome.positive
    bins = np.minimum((promised * BINS).astype(int), BINS - 1)
    filled = [b for b in range(BINS) if (bins == b).any()]
    figure = _figure(width=6.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for b in filled:
        of, x = share(int(truth[bins == b].sum()), int((bins == b).sum())), float(promised[bins == b].mean())
        axes.errorbar(x, of.value, [[of.value - of.low], [of.high - of.value]], marker="o", color="C0", capsize=3)
        axes.annotate(str(int((bins == b).sum())), (x, of.value), textcoords="offset points", xytext=(6, -12))
    title = f"{outcome.case.title}; numbers: cells, bars: 95 %"
    axes.set(xlabel="probability of fNRBC", ylabel="share that is", title=title, xlim=(-0.05, 1.1))
    return _png(figure)


def _figure(width: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("the report's figures need the package matplotlib; pip install 'fnrbc[training]'") from None
    return Figure(figsize=(width, 4.5), dpi=DOTS_PER_INCH, layout="constrained")


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    # Without the software's version and the date, the same figures give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
