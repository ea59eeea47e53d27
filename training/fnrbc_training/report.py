"""What a person should know of a network before using it: the model card."""

from collections.abc import Sequence
from typing import Any, Final

from fnrbc_device.records import Interval
from fnrbc_device.vision.preprocessing import MARGIN_UM
from fnrbc_training.dataset import Source
from fnrbc_training.metrics import SENSITIVITY, Performance

USE: Final = """\
**For research use only. Not for use in diagnostic procedures.**

It must not be used to decide on the care of a patient, to screen, or to replace a reader. It has not been
measured on fetal cells: the nucleated red cells it learned from come from stained smears whose patients
are not described as fetal. It has not been measured on the H&E-stained cells of the paper that describes
P-net, so its figures do not repeat that paper's. Other stains, cameras, preparations and diseases are outside
what was measured; simulated cells, which it also learned from, are no evidence for any of them."""

SPLIT: Final = """\
Labels count as fNRBC, leukocyte or other as the data's description says; erythroblasts (nucleated red cells)
stand for fNRBC. Exact duplicates were dropped before the split, near ones kept on one side. Each class, in the order
of its file numbers, was cut into 20 contiguous blocks: 4, 9, 14 and 19 were held out, 7 and 17 tuned temperature,
threshold and band, the rest trained; of manifests whole groups were. Where there are no donor ids, a donor may be
on both sides of a block's border. Simulated
cells were never held out. The held-out figures were looked at several times while augmentation, batch size and
the width of the indeterminate band were settled, so they flatter a little."""


def model_card(
    about: dict[str, Any],
    performance: Performance,
    sources: Sequence[Source],
    background: tuple[Interval, Interval],
    parameters: int,
    false_positives: tuple[float, ...],
) -> str:
    """Write the card.

    Parameters
    ----------
    about
        The manifest's fields that the training settled.
    performance
        On the held-out crops.
    sources
        What it learned from.
    background
        Areas under the ROC curve of the background-only baseline, over whole groups: of whole pictures, of crops.
    parameters
        Of the network.
    false_positives
        Per thousand leukocytes: of the tuning crops, of the held-out ones.
    """
    low, high = about["indeterminate"]
    parts = [
        "# Model card: P-net",
        "Tells fetal nucleated red blood cells (fNRBC) from leukocytes and from other things, "
        "one 120 x 120 px crop (24 um) at a time.",
        "## What it is for, and what not",
        USE,
        "## What it is",
        f"{about['network']}; {parameters:,} parameters. Crops are cut by `{about['preprocessing_id']}`. "
        f"Calibrated with temperature {about['temperature']:.3f}. The threshold of the fNRBC's probability is "
        f"{about['threshold']:.3f}: there at least {100 * SENSITIVITY:g} % of the tuning crops' fNRBC were found, with "
        f"{false_positives[0]:.1f} false positives a thousand leukocytes ({false_positives[1]:.1f} on the held-out "
        f"crops). From {low:.3f} up to {high:.3f} a cell is *indeterminate*.",
        "## What it learned from",
        _sources_table(sources),
        *_agreement(sources),
        SPLIT,
        "## What was measured",
        f"On {about['metrics']['measured_on']}. *Indeterminate* counts as wrong. "
        "Intervals are exact (Clopper-Pearson), 95 %, and take cells as independent.",
        _figures_table(performance),
        "Decisions by original class:",
        _confusion_table(performance.confusion),
        "## What the background gives away",
        "A logistic regression on nothing but the colours of the held-out pictures' outer ring reaches "
        f"an area under the ROC curve of {area(background[0])} (chance is 0.5); on the outer ring of the "
        f"crops, in which all that is further than {MARGIN_UM:g} um from the nucleus was replaced, "
        f"{area(background[1])}. Intervals are 95 %, over whole groups.",
    ]
    return "\n\n".join(parts) + "\n"


def _sources_table(sources: Sequence[Source]) -> str:
    rows = [
        f"| {s.name}{' (simulated)' if s.simulated else ''} | {s.source} | {s.stain} | {s.pixel_size_um:g} "
        f"| {s.pictures} | {s.duplicates} | {_missed(s)} |"
        for s in sources
    ]
    head = "| data | source | stain | um/px | pictures | duplicates dropped | no cell found |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *rows])


def _agreement(sources: Sequence[Source]) -> list[str]:
    """How far readers agree, a paragraph a source that had several."""
    said = {s.name: ", ".join(f"{pair} {kappa:.3f}" for pair, kappa in s.kappas.items()) for s in sources}
    return [
        f"{name}: a cell counts as fNRBC only if every reader says so; Cohen's kappa of {kappas}."
        for name, kappas in said.items()
        if kappas
    ]


def _missed(source: Source) -> str:
    found = [f"{name} {count}" for name, count in sorted(source.missed.items()) if count]
    return f"{sum(source.missed.values())} ({', '.join(found)})" if found else "0"


def _figures_table(performance: Performance) -> str:
    rows = [
        ("accuracy", _percent(performance.accuracy)),
        ("sensitivity (fNRBC found)", _percent(performance.sensitivity)),
        ("specificity", _percent(performance.specificity)),
        ("expected calibration error", f"{100 * performance.ece:.2f} %"),
        ("indeterminate", f"{performance.indeterminate} of {performance.n}"),
    ]
    return "\n".join(["| figure | value (95 % interval) |", "|---|---|", *(f"| {n} | {v} |" for n, v in rows)])


def area(interval: Interval) -> str:
    """Write an area under a curve with its interval."""
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.2f} % ({100 * interval.low:.2f} to {100 * interval.high:.2f})"


def _confusion_table(confusion: dict[str, dict[str, int]]) -> str:
    columns = list(next(iter(confusion.values())))
    rows = [f"| {name} | {' | '.join(str(row[c]) for c in columns)} |" for name, row in confusion.items()]
    return "\n".join([f"| class | {' | '.join(columns)} |", "|---|" + "---|" * len(columns), *rows])
