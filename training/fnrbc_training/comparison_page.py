"""The comparison as one page that a person can read, with nothing outside it, and its figures as PNG files."""

import base64
from html import escape
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import FnrbcError
from fnrbc_device.records import Image, Interval
from fnrbc_device.vision.preprocessing import MARGIN_UM
from fnrbc_training import bootstrap, charts, metrics
from fnrbc_training.bylaboratory import thousandth
from fnrbc_training.comparison import MORE_EPOCHS, Comparison, Outcome, Size, confusion
from fnrbc_training.dataset import CLASSES, TARGET
from fnrbc_training.paper import DIFFERENCES, FIGURES, INCONSISTENCIES
from fnrbc_training.report import area

TITLES: Final[dict[Size, str]] = {"paper": "At the paper's sample size", "all": "On all data"}

STYLE: Final = """\
body{font:15px/1.5 sans-serif;max-width:64em;margin:2em auto;padding:0 1em;color:#222}
h3{margin-bottom:0}h2{margin-top:2em;border-bottom:1px solid #bbb}summary{cursor:pointer;margin:.6em 0}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1em 0;font-size:14px}
td,th{border:1px solid #bbb;padding:.25em .6em;text-align:left}th{background:#f2f2f2}td+td{white-space:nowrap}
figure{display:inline-block;margin:.3em;width:185px;font-size:11px;vertical-align:top;overflow-wrap:anywhere}
img.chart{max-width:100%}"""


def write_page(comparison: Comparison, folder: Path) -> Path:
    """Write ``comparison.html`` and its figures into a folder; returns the page.

    Raises
    ------
    UsageError
        matplotlib is not installed.
    FnrbcError
        The folder cannot be written to.
    """
    pictures = _charts(comparison)
    page = folder / "comparison.html"
    text = _page(comparison, pictures)
    try:
        for name, content in pictures.items():
            (folder / name).write_bytes(content)
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FnrbcError(f"{page} cannot be written ({error}); free some space and run compare again") from None
    return page


def _charts(comparison: Comparison) -> dict[str, bytes]:
    curves = {
        f"precision-recall-{size}.png": charts.precision_recall_chart(
            [comparison.of(size, "net1", "symmetries"), comparison.of(size, "pnet", "symmetries")], title
        )
        for size, title in TITLES.items()
    }
    return {**curves, "reliability.png": charts.reliability_chart(comparison.of("all", "pnet", "symmetries"))}


def _page(comparison: Comparison, pictures: dict[str, bytes]) -> str:
    sections = [
        "<h1>P-net against the paper</h1>",
        "<p><b>For research use only. Not for use in diagnostic procedures.</b></p>",
        _about(comparison),
        _list(tuple(_in_short(comparison, size) for size in TITLES)),
        *(part for size in TITLES for part in _sized(comparison, size, pictures)),
        "<h2>By laboratory, the worst first</h2>",
        *_by_laboratory(comparison),
        "<h2>How far its probabilities can be trusted</h2>",
        _chart(pictures["reliability.png"]),
        f"<p>{_calibration(comparison.of('all', 'pnet', 'symmetries'))}</p>",
        "<h2>What the background alone gives away</h2>",
        f"<p>{_background(comparison.background)}</p>",
        "<h2>The paper's figures beside ours</h2>",
        _beside(comparison),
        _list(DIFFERENCES),
        "<h2>Where the paper contradicts itself, and what was done</h2>",
        _list(INCONSISTENCIES),
        "<h2>Every error</h2>",
        *(_gallery(outcome) for outcome in comparison.outcomes),
    ]
    head = f'<meta charset="utf-8"><title>P-net against the paper</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(sections)}</body></html>\n'


def _about(comparison: Comparison) -> str:
    sources = "; ".join(f"{s.source} ({s.stain})" for s in comparison.crops.sources if not s.simulated)
    return (
        f"<p>Trained and measured on {len(comparison.crops)} crops of {escape(sources)}. The split is by group, before "
        f"any augmentation; {comparison.epochs} epochs on all data, {MORE_EPOCHS * comparison.epochs} at the paper's "
        f"size, seed {comparison.seed}; every network with the same recipe. Intervals are 95 %, from "
        f"{bootstrap.RESAMPLES} resamples of whole groups; where every cell is right, they are exact (Clopper-Pearson) "
        "and take cells as independent. <i>Indeterminate</i> counts as wrong. One seed each: the intervals hold the "
        "choice of the cells, not that of the seed.</p>"
    )


def _in_short(comparison: Comparison, size: Size) -> str:
    gains = _gains(comparison, size)
    augmented, brought_back = gains["augmentation, Net2"], gains["Net2 over Net1, with augmentation"]
    right = figures_of(comparison.of(size, "pnet", "symmetries"))["accuracy"]
    return (
        f"{TITLES[size]} Net2 with augmentation is right on {percent(right)} of the cells. Its augmentation changes "
        f"that by {percent(augmented, 'points')}: {verdict(augmented)}. The input image brought back, which Net1 "
        f"lacks, changes it by {percent(brought_back, 'points')}: {verdict(brought_back)}."
    )


def _sized(comparison: Comparison, size: Size, pictures: dict[str, bytes]) -> list[str]:
    outcomes = [o for o in comparison.outcomes if o.case.size == size]
    best = comparison.of(size, "pnet", "symmetries")
    counts = f"{outcomes[0].learned_from} crops learned from, {len(best.heldout)} held out"
    return [
        f"<h2>{TITLES[size]}: {counts}</h2>",
        "<h3>Methods (the paper's Table 2)</h3>",
        _methods(outcomes),
        "<h3>Differences</h3>",
        _differences(comparison, size),
        "<h3>Precision and recall</h3>",
        _chart(pictures[f"precision-recall-{size}.png"]),
        "<h3>Net2 with augmentation, by original class</h3>",
        _confusion(best),
    ]


def _methods(outcomes: list[Outcome]) -> str:
    rows = [[o.case.title, *map(percent, figures_of(o).values()), _undecided(o)] for o in outcomes]
    return table(["network", *figures_of(outcomes[0]), "indeterminate"], rows)


def figures_of(outcome: Outcome) -> dict[str, Interval]:
    """Accuracy, sensitivity, specificity and average precision with their intervals."""
    right, positive, groups = outcome.right, outcome.positive, outcome.heldout.groups
    scores = outcome.probabilities[:, TARGET]
    return {
        "accuracy": bootstrap.share_by_group(right, groups),
        "sensitivity": bootstrap.share_by_group(right[positive], groups[positive]),
        "specificity": bootstrap.share_by_group(right[~positive], groups[~positive]),
        "average precision": bootstrap.bootstrapped(
            groups, lambda weights: charts.average_precision(scores, positive, weights)
        ),
    }


def _gains(comparison: Comparison, size: Size) -> dict[str, Interval]:
    """By what share of the cells the first of two networks is better."""
    pairs = {
        "augmentation, Net1": (comparison.of(size, "net1", "symmetries"), comparison.of(size, "net1", "none")),
        "augmentation, Net2": (comparison.of(size, "pnet", "symmetries"), comparison.of(size, "pnet", "none")),
        "Net2 over Net1, with augmentation": (
            comparison.of(size, "pnet", "symmetries"), comparison.of(size, "net1", "symmetries")
        ),
        "Net2 over Net1, without": (comparison.of(size, "pnet", "none"), comparison.of(size, "net1", "none")),
    }  # fmt: skip
    return {
        name: bootstrap.difference_by_group(with_it.right, without.right, with_it.heldout.groups)
        for name, (with_it, without) in pairs.items()
    }


def _differences(comparison: Comparison, size: Size) -> str:
    gains = _gains(comparison, size)
    rows = [[name, percent(gained, "points"), verdict(gained)] for name, gained in gains.items()]
    return table(["what", "accuracy gained", "which says"], rows)


def verdict(gained: Interval) -> str:
    """Say in words what a difference with its interval shows."""
    if gained.low > 0:
        return "better"
    if gained.high < 0:
        return "worse"
    return "no difference shown: the interval holds 0"


def _by_laboratory(comparison: Comparison) -> list[str]:
    shown = [o for o in comparison.outcomes if o.case.size == "all" and o.case.augmentation != "none"]
    rows = [
        [laboratory.name, outcome.case.title, _or_none(laboratory.sensitivity), thousandth(laboratory.false),
         "-" if laboratory.auc is None else f"{laboratory.auc:.3f}"]
        for name in _worst_first(shown)
        for outcome in shown
        for laboratory in outcome.laboratories
        if laboratory.name == name
    ]  # fmt: skip
    said = (
        "<p>End to end: a cell that was not found counts as missed, one that is indeterminate as not taken for an "
        "fNRBC. Of laboratories that the networks learned from only cells held out. Intervals are exact "
        "(Clopper-Pearson) and take cells as independent.</p>"
    )
    return [said, table(["laboratory", "network", "sensitivity", "false a thousand leukocytes", "AUC of found"], rows)]


def _worst_first(outcomes: list[Outcome]) -> list[str]:
    """Names of laboratories: those where fewest fNRBC were found, then those with most false positives."""
    worst: dict[str, tuple[float, float]] = {}
    for laboratory in (laboratory for outcome in outcomes for laboratory in outcome.laboratories):
        found, false = worst.get(laboratory.name, (1.0, 0.0))
        if laboratory.sensitivity is not None:
            found = min(found, laboratory.sensitivity.value)
        if laboratory.false is not None:
            false = max(false, laboratory.false.value)
        worst[laboratory.name] = (found, false)
    return sorted(worst, key=lambda name: (worst[name][0], -worst[name][1]))


def _or_none(interval: Interval | None) -> str:
    return "-" if interval is None else percent(interval)


def _beside(comparison: Comparison) -> str:
    ours = figures_of(comparison.of("paper", "pnet", "symmetries"))
    whole = figures_of(comparison.of("all", "pnet", "symmetries"))
    rows = [[name, said, percent(ours[name]), percent(whole[name])] for name, said in FIGURES.items()]
    return table(["Net2 with augmentation", "paper", "ours, at its size", "ours, on all data"], rows)


def _calibration(outcome: Outcome) -> str:
    promised, truth = outcome.probabilities[:, TARGET], outcome.positive
    error = bootstrap.bootstrapped(
        outcome.heldout.groups, lambda weights: metrics.expected_calibration_error(promised, truth, weights)
    )
    return (
        f"Expected calibration error of {outcome.case.title}, on all data: {percent(error)}. The diagram's bars are "
        "exact (Clopper-Pearson) and take cells as independent."
    )


def _background(areas: tuple[Interval, Interval]) -> str:
    return (
        "A logistic regression that sees nothing but the colours of the outer ring reaches an area under the ROC curve "
        f"of {area(areas[0])} on whole pictures (chance is 0.5), and of {area(areas[1])} on the crops that the "
        f"networks see, in which all that is further than {MARGIN_UM:g} um from the nucleus was replaced."
    )


def _confusion(outcome: Outcome) -> str:
    found = confusion(outcome)
    columns = list(next(iter(found.values())))
    return table(["class", *columns], [[name, *(str(row[c]) for c in columns)] for name, row in found.items()])


def _gallery(outcome: Outcome) -> str:
    wrong = np.flatnonzero(~outcome.right)
    figures = "".join(_error(outcome, int(row)) for row in wrong)
    title = f"{TITLES[outcome.case.size]}: {outcome.case.title}, {len(wrong)} of {len(outcome.heldout)}"
    # What is read first is open: the network that the paper ends with.
    shown = " open" if (outcome.case.net, outcome.case.augmentation) == ("pnet", "symmetries") else ""
    return f"<details{shown}><summary>{title}</summary>{figures}</details>"


def _error(outcome: Outcome, row: int) -> str:
    heldout = outcome.heldout
    said = f"labelled {CLASSES[heldout.labels[row]]}; probability of fNRBC {outcome.probabilities[row, TARGET]:.2f}"
    picture = _source(_png(heldout.crops[row]))
    return f'<figure><img src="{picture}" alt=""><br>{escape(str(heldout.names[row]))}<br>{said}</figure>'


def _undecided(outcome: Outcome) -> str:
    low, high = outcome.band
    wanted = outcome.probabilities[:, TARGET]
    undecided = (wanted >= low) & (wanted < high)
    return f"{undecided.sum()}: {percent(bootstrap.share_by_group(undecided, outcome.heldout.groups))}"


def percent(interval: Interval, unit: str = "%") -> str:
    """Write a share with its interval."""
    return f"{100 * interval.value:.1f} {unit} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write an HTML table."""

    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f'<div class="wide"><table>{line(head, "th")}{"".join(line(row, "td") for row in rows)}</table></div>'


def _list(sentences: tuple[str, ...]) -> str:
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def _chart(content: bytes) -> str:
    return f'<p><img class="chart" src="{_source(content)}" alt=""></p>'


def _source(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _png(crop: Image) -> bytes:
    encoded: NDArray[np.uint8] = cv2.imencode(".png", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[1]
    return encoded.tobytes()
