"""The description of a model bundle: what the network takes, what it gives, what it was measured to do.

Strict on purpose. A network fed in another way than it was trained still gives probabilities, only wrong
ones; so no field that says how to use it has a default, and none may be unknown.
"""

import hashlib
import json
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from fnrbc_device.records import INDETERMINATE, Role

FORMAT: Final = 1
"""Raised when a bundle of the new kind would be misread by an older device."""

SEALED_FILES: Final = ("model.onnx", "golden.npz", "seen.npy", "proof.json", "MODEL_CARD.md")
"""Everything but the manifest, which holds their hashes."""

SEEING_FILES: Final = ("see.onnx", "golden_frames.npz")
"""The second graph, which says where cells are, and what it is proved with; a bundle has both or neither."""

UNDECIDED: Final = -1
"""Stands for *indeterminate* among columns."""

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
ClassName = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9 _.-]{0,31}$")]
"""Fit for every message, table and file name that it goes into."""

MAX_CLASSES: Final = 16
MAX_COUNTS: Final = 1000
MAX_SOURCES: Final = 100


class _Part(BaseModel):
    """No field may be missing, none may be unknown, none changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Precision = Literal["fp32", "fp16", "int8"]
"""What the network computes in. Its inputs and outputs are the same in all three."""


class ClassEntry(_Part):
    """One column of the probabilities."""

    name: ClassName
    role: Role


class Figure(_Part):
    """A measured share and its exact 95 % interval."""

    value: Share
    low: Share
    high: Share


class ClassCounts(_Part):
    """What became of the cells of one class of one laboratory, none of which the network was trained or tuned on."""

    laboratory: Text
    """Where they were stained and photographed."""
    class_name: Text
    """As the laboratory's data name it, such as ``lymphocyte``."""
    role: Role
    """What the class truly is: the target, the denominator or neither."""
    right: Count
    """Rightly told to be the target, or not to be it."""
    wrong: Count
    undecided: Count
    """Left *indeterminate*."""


class Metrics(_Part):
    """What the network was measured to do, with *indeterminate* counted as wrong."""

    accuracy: Figure
    sensitivity: Figure
    specificity: Figure
    ece: Share
    """Expected calibration error of the target's probability, 15 bins."""
    n: Annotated[int, Field(ge=1)]
    indeterminate: Annotated[int, Field(ge=0)]
    measured_on: Text
    """Which cells, and how they were kept apart from the training."""
    counts: Annotated[tuple[ClassCounts, ...], Field(min_length=1)] | None = None
    """By laboratory and class. None in bundles of fnrbc 0.1, which state rates alone; it is not written there."""

    @model_validator(mode="after")
    def _countable(self) -> "Metrics":
        if self.counts is None:
            return self
        named = [(entry.laboratory, entry.class_name) for entry in self.counts]
        if len(set(named)) != len(named):
            raise ValueError("a class of a laboratory is counted twice; each needs one entry")
        kinds = {entry.role for entry in self.counts if entry.right + entry.wrong + entry.undecided}
        if not kinds >= {"target", "denominator"}:
            raise ValueError(f"cells of {sorted(kinds)} were counted; the target and the denominator are needed")
        return self


class Parity(_Part):
    """How closely the model reproduces its checkpoint."""

    largest_difference: Share
    """Of a probability, over all crops of the proof at export."""
    tolerance: Annotated[float, Field(gt=0, le=0.1)]
    """What the device accepts on the golden crops."""
    crops: Annotated[int, Field(ge=1)]


class TrainingData(_Part):
    """What the network learned from."""

    sha256: Sha256
    """Over the crops and their labels."""
    crops: Annotated[int, Field(ge=1)]
    sources: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_SOURCES)]
    licences: Text
    """What using the data obliges to."""


class SeeingEntry(_Part):
    """The network that says where nucleated cells are."""

    recipe: Text
    """Names how its picture is made; see ``vision.centre_picture``."""
    network: Text
    least_heat: Share
    """Of a peak that is a cell where the network alone says so."""
    agreed_heat: Share
    """Of a peak that agrees to a candidate of the threshold."""
    tolerance: Annotated[float, Field(gt=0, le=1)]
    """What the device accepts on the golden frames, of a map's value."""
    largest_difference: Annotated[float, Field(ge=0)]
    """Of a map's value between model and checkpoint, at export."""
    sha256: Sha256
    """Over the pictures that it learned from, and what was known of them."""
    pictures: Annotated[int, Field(ge=1)]
    sources: Annotated[tuple[Text, ...], Field(min_length=1)]


class SiteCalibration(_Part):
    """What tuned a bundle to one laboratory, and what it gained there."""

    name: Text
    """Of the laboratory."""
    parent: Sha256
    """The id of the bundle whose last layers were tuned."""
    cells: dict[Literal["target", "denominator", "ignored"], Count]
    """Reviewed cells of the laboratory, by what they count as."""
    cells_sha256: Sha256
    """Over their crops and labels."""
    auc_before: Share
    auc_after: Share
    """Area under the ROC curve on the laboratory's cells, each judged by a head that was not tuned on it."""
    gain: float
    """By how much less surprised the tuned head is by such a cell: nats, the mean."""
    gain_low: float
    gain_high: float
    """Its 95 % interval, over cells drawn again."""


class Manifest(_Part):
    """The bundle's description. Written canonically, so that not a byte of it can change unnoticed."""

    format: Literal[1]
    bundle_id: Sha256
    """sha256 over this manifest without its id; the manifest holds the hashes of the files."""
    created: AwareDatetime
    software_version: Text
    preprocessing_id: Text
    crop_px: Annotated[int, Field(ge=1)]
    pixel_size_um: Annotated[float, Field(gt=0)]
    """Of a crop."""
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2, max_length=MAX_CLASSES)]
    """In the order of the probabilities' columns."""
    threshold: Share
    """The target's calibrated probability above which a cell rather is one than not."""
    indeterminate: tuple[Share, Share]
    """From the first up to the second probability of the target the network does not decide."""
    temperature: Annotated[float, Field(gt=0)]
    """The logits' divisor that calibrated the probabilities; it is inside the graph already."""
    second_look_from: Share | None = None
    """The target's probability from which on a crop is looked at in all eight symmetries of the square, and the mean
    counts. None in bundles of fnrbc 0.1, which look once; it is not written there."""
    network: Text
    precision: Precision
    metrics: Metrics
    parity: Parity
    training_data: TrainingData
    seeing: SeeingEntry | None = None
    """None in a bundle whose cells are found by the paper's threshold alone."""
    site: SiteCalibration | None = None
    """None in a bundle that no laboratory tuned; it is not written there."""
    files: dict[Text, Sha256]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        roles = [entry.role for entry in self.classes]
        if roles.count("target") != 1 or "denominator" not in roles:
            raise ValueError(f"roles are {roles}; one target and a denominator are needed")
        if INDETERMINATE in (entry.name for entry in self.classes):
            raise ValueError(f"a class is called {INDETERMINATE}, as cells are that were not decided; rename it")
        if len({entry.name for entry in self.classes}) != len(roles):
            raise ValueError("two classes have one name; each needs its own")
        low, high = self.indeterminate
        if not low <= self.threshold <= high:
            raise ValueError(f"threshold {self.threshold} is outside the indeterminate band {low}..{high}")
        if set(self.files) != set(self.sealed_files):
            raise ValueError(f"files are {sorted(self.files)}; {sorted(self.sealed_files)} are needed")
        return self

    @property
    def sealed_files(self) -> tuple[str, ...]:
        """Every file but the manifest."""
        return SEALED_FILES if self.seeing is None else SEALED_FILES + SEEING_FILES

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities' columns."""
        return tuple(entry.name for entry in self.classes)

    @property
    def target(self) -> int:
        """Column of the class that is counted as fNRBC."""
        return next(i for i, entry in enumerate(self.classes) if entry.role == "target")

    def canonical(self) -> bytes:
        """Write this manifest in the one way there is: JSON, indented, fields in the order above, none for None."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()

    def identify(self) -> str:
        """Hash the manifest without its id; it holds the hashes of the files, so this covers all."""
        return hashlib.sha256(self.model_copy(update={"bundle_id": ""}).canonical()).hexdigest()

    def decide(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Column of the class decided for, by row; -1 where the network does not decide.

        Parameters
        ----------
        probabilities
            (N, classes), calibrated.
        """
        return decide(probabilities, self.target, self.indeterminate)


def decide(
    probabilities: NDArray[np.floating[Any]], target: int, indeterminate: tuple[float, float]
) -> NDArray[np.int64]:
    """Decide as ``Manifest.decide`` does, for who has no manifest yet."""
    low, high = indeterminate
    others = probabilities.copy()
    others[:, target] = -1.0
    likeliest = others.argmax(axis=1)
    wanted = probabilities[:, target]
    return np.where(wanted >= high, target, np.where(wanted >= low, UNDECIDED, likeliest))
