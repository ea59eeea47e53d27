"""The proof of an export: the model against its checkpoint, on crops it never saw. Torch-free.

Nothing is rounded in favour of the model: a value that is no number is infinitely far off, an undecided
crop that the checkpoint decided counts as changed.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError
from fnrbc_device.inference.diagnosis import likely_fault
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT, open_session
from fnrbc_device.model.manifest import Precision, decide
from fnrbc_device.records import Image

PROOF_TOLERANCES: Final[dict[Precision, float]] = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.06}
"""Largest difference of a probability, on the machine that exports. Three trained networks needed up to
2e-6 in fp32, 1.1e-3, 2.8e-3 and 4.4e-3 in fp16, and 0.02 to 0.04 in int8."""

DEVICE_TOLERANCES: Final[dict[Precision, float]] = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.1}
"""What a device is allowed on the golden crops: more, for another processor's order of sums and rounding, and far
below what swapped channels or a lost normalisation make (0.3 to 1)."""

DECISIONS_KEPT: Final = 0.999
"""Share of the held-out crops on which model and checkpoint must decide alike."""

ALLOWED_LOSS: Final = 0.002
"""Sensitivity and specificity may fall below the checkpoint's by this much: 0.2 points."""

BATCHES: Final = (1, 2, 3, 7, 16, 33, 64)
"""One crop, the runtimes' optimum and maximum, and odd ones between."""


@dataclass(frozen=True, slots=True, eq=False)
class ProofSet:
    """What a model is proved with, and the checkpoint's word on it."""

    crops: Image
    """(P, 120, 120, 3) uint8 RGB, real and simulated, none of them trained on."""
    wanted: NDArray[np.float32]
    """(P, classes) the checkpoint's probabilities."""
    labels: NDArray[np.int64]
    """(P,) the true columns."""
    heldout: NDArray[np.bool_]
    """(P,) real and held out."""
    target: int
    indeterminate: tuple[float, float]
    temperature: float
    """Of the calibration that must be inside the model."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of held-out crops, 0..1; undecided counts as wrong."""

    sensitivity: float
    specificity: float


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found, and what was wrong with it."""

    precision: Precision
    failures: tuple[str, ...]
    """Sentences; none if the model is proved."""
    crops: int
    heldout: int
    batches: tuple[int, ...]
    largest_difference: float
    """Of a probability, over all crops and batches: the tolerance that would have been needed. 1 where a value is no
    number."""
    tolerance: float
    changed_decisions: int
    """Of the held-out crops."""
    decisions_allowed: int
    checkpoint: Rates
    model: Rates
    model_bytes: int

    @property
    def passed(self) -> bool:
        """Whether a bundle may be made of it."""
        return not self.failures

    def as_json(self) -> bytes:
        """The report as it travels in the bundle."""
        return (json.dumps({"passed": self.passed, **asdict(self)}, indent=2) + "\n").encode()

    def as_table(self) -> str:
        """The report for a terminal, and for the model card."""
        rows: list[tuple[str, Any, Any]] = [
            ("largest difference of a probability", f"{self.largest_difference:.2g}", f"{self.tolerance:.2g}"),
            ("changed decisions", f"{self.changed_decisions} of {self.heldout}", f"{self.decisions_allowed}"),
            ("sensitivity", *_against(self.model.sensitivity, self.checkpoint.sensitivity)),
            ("specificity", *_against(self.model.specificity, self.checkpoint.specificity)),
        ]
        head = [f"| {self.precision}, {self.model_bytes / 1e6:.2f} MB | found | allowed |", "|---|---|---|"]
        return "\n".join([*head, *(f"| {name} | {found} | {allowed} |" for name, found, allowed in rows)])


def prove_model(model: bytes, precision: Precision, against: ProofSet) -> Proof:
    """Hold a model against its checkpoint, at every batch size that matters.

    Parameters
    ----------
    model
        ONNX.
    precision
        What it computes in, which says how far it may be off.
    against
        At least one crop of it held out.

    Raises
    ------
    BundleError
        It has other names, types or shapes than a device takes, or onnxruntime refuses it.
    """
    if not against.heldout.any():
        raise BundleError(
            f"none of the proof's {len(against.crops)} crops is held out; train again with fnrbc-train fit"
        )
    session = open_session(model, against.wanted.shape[1])
    found = {batch: _run(session, against.crops, batch) for batch in BATCHES}
    worst = max(_difference(values, against.wanted) for values in found.values())
    held = against.heldout
    checkpoint = _decide(against.wanted[held], against)
    decided = _decide(found[max(BATCHES)][held], against)
    proof = Proof(
        precision=precision,
        failures=(),
        crops=len(against.crops),
        heldout=int(held.sum()),
        batches=BATCHES,
        largest_difference=worst,
        tolerance=PROOF_TOLERANCES[precision],
        changed_decisions=int((decided != checkpoint).sum()),
        decisions_allowed=int((1 - DECISIONS_KEPT) * held.sum() + 1e-9),
        checkpoint=_rates(checkpoint, against),
        model=_rates(decided, against),
        model_bytes=len(model),
    )
    return _judged(proof, lambda: _likely_fault(session, against))


def _likely_fault(session: onnxruntime.InferenceSession, against: ProofSet) -> str:
    """Tried on the crops that the checkpoint is least sure of, which show most."""
    rows = np.argsort(against.wanted.max(axis=1))[: max(BATCHES)]
    return likely_fault(
        lambda crops: _run(session, crops, max(BATCHES)), against.crops[rows], against.wanted[rows], against.temperature
    )


def _judged(proof: Proof, fault: Callable[[], str]) -> Proof:
    failures = []
    if not proof.largest_difference <= proof.tolerance:  # not >, which a value that is no number would pass
        failures.append(
            f"a probability is off by {proof.largest_difference:.2g}, {proof.tolerance:.2g} is allowed in "
            f"{proof.precision}: {fault()}"
        )
    if proof.changed_decisions > proof.decisions_allowed:
        failures.append(
            f"{proof.changed_decisions} of {proof.heldout} held-out crops are decided otherwise, "
            f"{proof.decisions_allowed} are allowed"
        )
    for name in ("sensitivity", "specificity"):
        ours, theirs = getattr(proof.model, name), getattr(proof.checkpoint, name)
        if ours < theirs - ALLOWED_LOSS:
            failures.append(f"{name} is {100 * ours:.2f} %, the checkpoint's is {100 * theirs:.2f} %")
    return replace(proof, failures=tuple(failures))


def _run(session: onnxruntime.InferenceSession, crops: Image, batch: int) -> NDArray[np.float32]:
    parts: list[Any] = [session.run([OUTPUT], {INPUT: crops[i : i + batch]})[0] for i in range(0, len(crops), batch)]
    return np.concatenate(parts)


def _difference(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    if not np.isfinite(found).all() or not np.isfinite(wanted).all():
        return 1.0
    # Rows that sum to something else are no probabilities, however near each value is.
    return float(max(np.abs(found - wanted).max(), np.abs(found.sum(axis=1) - 1).max()))


def _decide(probabilities: NDArray[np.float32], against: ProofSet) -> NDArray[np.int64]:
    return decide(probabilities, against.target, against.indeterminate)


def _rates(decided: NDArray[np.int64], against: ProofSet) -> Rates:
    labels = against.labels[against.heldout]
    positive = labels == against.target
    # A negative cell is right when it is decided for anything but the target; -1 is undecided.
    negative_right = (decided != against.target) & (decided >= 0)
    return Rates(_share(decided[positive] == against.target), _share(negative_right[~positive]))


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else 1.0


def _against(ours: float, theirs: float) -> tuple[str, str]:
    return f"{100 * ours:.2f} %", f"{100 * (theirs - ALLOWED_LOSS):.2f} %"
