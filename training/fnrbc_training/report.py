"""What a person should know of a network before using it: the model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fnrbc_device.intervals import share
from fnrbc_device.records import Interval
from fnrbc_device.vision.preprocessing import MARGIN_UM
from fnrbc_training.bylaboratory import OfLaboratory, said_of_worst, table, thousandth
from fnrbc_training.dataset import DENOMINATOR, Source
from fnrbc_training.metrics import Performance
from fnrbc_training.operating import Kind, kinds_of

WORDS: Final[dict[Kind, str]] = {
    "lymphocyte": "lymphocytes",
    "immature": "immature granulocytes and blasts",
    "other": "other leukocytes",
}

USE: Final = """\
**For research use only. Not for use in diagnostic procedures.**

It must not be used to decide on the care of a patient, to screen, or to replace a reader. It has not been
measured on fetal cells: the nucleated red cells it learned from come from stained smears whose patients
are not described as fetal. No labelled erythroid cell stained with H&E, the stain of the paper that describes
P-net, was seen in training or measuring: on H&E what it says is provisional until a site has calibrated it with its
own reviewed cells, and its figures do not repeat that paper's. Other stains, cameras, preparations and diseases are
outside what was measured; simulated cells, which it also learned from, are no evidence for any of them."""

SIBLING: Final = """\
`make bundle` gives a sibling of this network, not its bits, wherever data, software or processor differ from those of
this training: a sibling's figures are its own, and stand in its own card."""

SPLIT: Final = """\
Labels count as fNRBC, leukocyte or other as the data's description says; erythroblasts (nucleated red cells)
stand for fNRBC. Exact duplicates were dropped before the split, near ones kept on one side. Each class, in the order
of its file numbers, was cut into 20 contiguous blocks: 4, 9, 14 and 19 were held out, 7 and 17 tuned temperature
and band, the rest trained; of manifests whole groups were. Where there are no donor ids, a donor may be
on both sides of a block's border. Simulated
cells were never held out. The held-out figures, and those of the other laboratories, were looked at several times while
augmentation, epochs, the second look and the band were settled, so they flatter."""


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """All that a card tells."""

    about: dict[str, Any]
    """The manifest's fields that the training settled."""
    performance: Performance
    """On the held-out crops."""
    laboratories: tuple[OfLaboratory, ...]
    """End to end: what was held out of every source, and whole sets of laboratories that nothing was trained on."""
    sources: Sequence[Source]
    """What it learned from."""
    measured: Sequence[Source]
    """What it was measured on alone."""
    background: tuple[Interval, Interval]
    """Areas under the ROC curve of the background-only baseline, over whole groups: of whole pictures, of crops."""
    parameters: int
    """Of the network."""


def model_card(card: Card) -> str:
    """Write the card, the worst laboratory first."""
    about, (low, high) = card.about, card.about["indeterminate"]
    parts = [
        "# Model card: P-net",
        "Tells fetal nucleated red blood cells (fNRBC) from leukocytes and from other things, "
        "one 120 x 120 px crop (24 um) at a time.",
        f"**Where it does worst:** {said_of_worst(card.laboratories)}. These are end to end: a cell that was not found "
        "counts as missed.",
        "## What it is for, and what not",
        USE,
        "## What was measured, by laboratory",
        "Of laboratories that it learned from, only cells held out; of the others "
        f"({', '.join(s.name for s in card.measured) or 'none here'}), all. Intervals are exact (Clopper-Pearson), "
        "95 %, and take cells as independent. *At k false*: the sensitivity at a threshold that lets k of a thousand "
        "of that laboratory's leukocytes through.",
        table(card.laboratories),
        "## What a slide gets",
        f"The threshold of the fNRBC's calibrated probability is {about['threshold']:g}, the mean over the eight "
        "symmetries where a cell is looked at twice. It is a fixed point, not tuned for this network. Which leukocytes "
        "a slide has decides its false positives; a slide of another mix gets the sum of its shares times these, of a "
        "thousand leukocytes each:",
        _kinds_table(card.laboratories),
        f"From {low:.3f} up to {high:.3f} a cell is *indeterminate*.",
        "## What it is",
        f"{about['network']}; {card.parameters:,} parameters. Crops are cut by `{about['preprocessing_id']}`. "
        f"Calibrated with temperature {about['temperature']:.3f}.",
        SIBLING,
        "## What it learned from",
        _sources_table(card.sources),
        *_agreement(card.sources),
        SPLIT,
        "## All held-out cells together",
        f"On {about['metrics']['measured_on']}. *Indeterminate* counts as wrong.",
        _figures_table(card.performance),
        "Decisions by original class:",
        _confusion_table(card.performance.confusion),
        "## What the background gives away",
        "A logistic regression on nothing but the colours of the held-out pictures' outer ring reaches "
        f"an area under the ROC curve of {area(card.background[0])} (chance is 0.5); on the outer ring of the "
        f"crops, in which all that is further than {MARGIN_UM:g} um from the nucleus was replaced, "
        f"{area(card.background[1])}. Intervals are 95 %, over whole groups.",
    ]
    return "\n\n".join(parts) + "\n"


def _kinds_table(laboratories: Sequence[OfLaboratory]) -> str:
    """Leukocytes taken for fNRBC, by laboratory and kind."""
    rows = []
    for lab in laboratories:
        of = [c for c in lab.classes if c.label == DENOMINATOR]
        kinds = kinds_of(np.array([c.name for c in of]))
        sums = {k: [sum(getattr(c, w) for c, at in zip(of, kinds, strict=True) if at == k) for w in ("fnrbc", "cells")]
                for k in WORDS}  # fmt: skip
        told = [thousandth(share(false, cells)) if cells else "-" for false, cells in sums.values()]
        rows.append(f"| {lab.name} | {' | '.join(told)} |")
    head = f"| a thousand of | {' | '.join(WORDS.values())} |"
    return "\n".join([head, "|---" * (1 + len(WORDS)) + "|", *rows])


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
