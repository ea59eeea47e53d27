"""The paper's comparison on our data: Net1 and Net2, with and without augmentation, at the paper's size and on all.

The eight networks differ in nothing else. A ninth is P-net with the styles of other laboratories, as it ships. Painted
cells are left out: they are no evidence. At the paper's size 465 pictures train (70 of them tune temperature and
threshold) and 130 are held out, half of them fNRBC.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Interval
from fnrbc_training import checkpoint, metrics
from fnrbc_training.augmentation import Augmentation
from fnrbc_training.baseline import background_auc
from fnrbc_training.bylaboratory import OfLaboratory, by_laboratory
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.dataset import CLASSES, TARGET, CropSet, Part
from fnrbc_training.finishing import network_text, predict
from fnrbc_training.pnet import NetName
from fnrbc_training.recipe import Recipe
from fnrbc_training.styles import Laboratory
from fnrbc_training.train import fit

Size = Literal["paper", "all"]

PAPER: Final[dict[Part, int]] = {"training": 395, "tuning": 70, "heldout": 130}
"""Pictures of each part: 465 and 130 as in the paper, positives and negatives about equal."""

MORE_EPOCHS: Final = 4
"""At the paper's size, where an epoch has an eighth of the steps: with as many epochs no network had settled."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the paper's Table 2, at one size."""

    size: Size
    net: NetName
    augmentation: Augmentation

    @property
    def title(self) -> str:
        """As the report calls it."""
        if self.augmentation == "styles":
            return "P-net, with the styles of other laboratories"
        net = {"net1": "Net1", "pnet": "Net2 (P-net)"}[self.net]
        return f"{net}, {'without' if self.augmentation == 'none' else 'with'} augmentation"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one network gave on the crops held out from it."""

    case: Case
    heldout: CropSet
    probabilities: NDArray[np.float64]
    """(N, classes), calibrated."""
    band: tuple[float, float]
    threshold: float
    learned_from: int
    """Crops trained or tuned on."""
    laboratories: tuple[OfLaboratory, ...]
    """Figures by laboratory, end to end: of those that it learned from what was held out, of the others all."""

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(N,) which are fNRBC."""
        return np.asarray(self.heldout.labels == TARGET)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) which were decided rightly; undecided ones were not."""
        return metrics.rightly_decided(self.probabilities, self.heldout.labels, TARGET, self.band)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All outcomes, and what the background alone gives away."""

    outcomes: tuple[Outcome, ...]
    background: tuple[Interval, Interval]
    """Area under the ROC curve from whole pictures' outer rings, and from crops' outer rings."""
    crops: CropSet
    epochs: int
    seed: int

    def of(self, size: Size, net: NetName, augmentation: Augmentation) -> Outcome:
        """Pick one outcome."""
        return next(o for o in self.outcomes if o.case == Case(size, net, augmentation))


SIZES: Final[tuple[Size, ...]] = ("paper", "all")
NETS: Final[tuple[NetName, ...]] = ("net1", "pnet")
AUGMENTATIONS: Final[tuple[Augmentation, ...]] = ("none", "symmetries")

CASES: Final = (
    *(Case(*case) for case in itertools.product(SIZES, NETS, AUGMENTATIONS)),
    Case("all", "pnet", "styles"),
)


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What all networks have in common."""

    folder: Path
    epochs: int
    seed: int
    styles: Sequence[Laboratory]
    elsewhere: Sequence[CropSet]


def compare(
    crops: CropSet,
    folder: Path,
    epochs: int,
    seed: int,
    progress: Progress,
    styles: Sequence[Laboratory] = (),
    elsewhere: Sequence[CropSet] = (),
) -> Comparison:
    """Train what is not trained yet, and measure all of it.

    Parameters
    ----------
    crops
        As ``fnrbc-train cut`` made them; painted ones are not used.
    folder
        Where the checkpoints go. Finished ones of the same data and recipe are used again.
    epochs
        On all data; at the paper's size ``MORE_EPOCHS`` times as many.
    seed
        Of the training, and of the paper-sized sample.
    progress
        Told after every epoch.
    styles
        Of other laboratories, for the network that learns with them.
    elsewhere
        Sets of other laboratories, to measure on alone.

    Raises
    ------
    UsageError
        There are too few real crops.
    """
    real = crops.where(~crops.simulated)
    subsets: dict[Size, CropSet] = {"paper": paper_sized(real, seed), "all": real}
    given = _Given(folder, epochs, seed, styles, elsewhere)
    outcomes = tuple(_outcome(case, subsets[case.size], given, progress) for case in CASES)
    return Comparison(outcomes, background_auc(real), real, epochs, seed)


def paper_sized(crops: CropSet, seed: int) -> CropSet:
    """Draw as many pictures as the paper had, or as many as there are, from the parts that they are in.

    Raises
    ------
    UsageError
        A part has no fNRBC, or nothing else.
    """
    rng = np.random.default_rng(seed)
    chosen: list[NDArray[np.int64]] = []
    for part, count in PAPER.items():
        kinds = [np.flatnonzero((crops.parts == part) & of) for of in (crops.labels == TARGET, crops.labels != TARGET)]
        each = min(count // 2, *(len(rows) for rows in kinds))
        if not each:
            raise UsageError(f"the {part} part lacks fNRBC or other cells; cut a data set that has both")
        odd = min(count - 2 * each, 1) if each == count // 2 and len(kinds[0]) > each else 0
        chosen += [rng.choice(kinds[0], each + odd, replace=False), rng.choice(kinds[1], each, replace=False)]
    return crops.where(np.sort(np.concatenate(chosen)))


def _outcome(case: Case, crops: CropSet, given: _Given, progress: Progress) -> Outcome:
    epochs = given.epochs * (MORE_EPOCHS if case.size == "paper" else 1)
    recipe = Recipe(case.net, epochs, case.augmentation, given.seed)
    path = given.folder / f"{case.size}-{case.net}-{case.augmentation}.pt"
    found = _finished(path, crops, recipe)
    if found is None:

        def told(what: str, done: int, total: int) -> None:
            progress(f"{case.size}, {case.title}: {what}", done, total)

        fit(crops, recipe, path, told, laboratories=given.styles)
        found = checkpoint.load(path)
    heldout = dataclasses.replace(crops.part("heldout"), sources=crops.sources)
    low, high = found.about["indeterminate"]
    probabilities = [_probabilities(found, of) for of in (heldout, *given.elsewhere)]
    return Outcome(
        case=case,
        heldout=heldout,
        probabilities=probabilities[0],
        band=(low, high),
        threshold=float(found.about["threshold"]),
        learned_from=int(found.about["training_data"]["crops"]),
        laboratories=tuple(
            laboratory
            for of, its in zip((heldout, *given.elsewhere), probabilities, strict=True)
            for laboratory in by_laboratory(of, its, (low, high), found.seen)
        ),
    )


def _probabilities(found: Checkpoint, crops: CropSet) -> NDArray[np.float64]:
    return metrics.softmax(predict(found.network().network, crops.crops), float(found.about["temperature"]))


def _finished(path: Path, crops: CropSet, recipe: Recipe) -> Checkpoint | None:
    """A checkpoint of exactly this training; None where it has to be trained."""
    if not path.exists():
        return None
    found = checkpoint.load(path)
    same = found.about["training_data"]["sha256"] == crops.sha256() and found.about["network"] == network_text(recipe)
    return found if same else None


def confusion(outcome: Outcome) -> dict[str, dict[str, int]]:
    """Decisions by original class."""
    measured = metrics.measure(
        outcome.probabilities, outcome.heldout.labels, outcome.heldout.originals, CLASSES, TARGET, outcome.band
    )
    return measured.confusion
