"""Evaluates a bundle as the device uses it: with its way of seeing, cropping, runtime and decision."""

from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from fnrbc_device.errors import UsageError
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.second_look import as_counted
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import Bundle
from fnrbc_training.bylaboratory import OfLaboratory, by_laboratory, said_of_worst
from fnrbc_training.dataset import DENOMINATOR, CropSet
from fnrbc_training.metrics import Performance, false_positives_per_thousand, measure


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of a bundle on data that it never saw."""

    bundle_id: str
    performance: Performance
    threshold: float
    indeterminate: tuple[float, float]
    false_positives: float
    """Taken for fNRBC, for each thousand leukocytes; NaN where there is no leukocyte."""
    left_out: int
    """Crops whose picture the network was trained or tuned on."""
    missed: dict[str, int]
    """Pictures in whose centre no cell was found, by original class."""
    laboratories: tuple[OfLaboratory, ...]
    """Every data set for itself, end to end."""

    def as_json(self) -> dict[str, Any]:
        """Give the object that ``fnrbc-train evaluate --json`` prints."""
        return {
            "metrics": self.performance.figures(),
            "confusion": self.performance.confusion,
            "threshold": self.threshold,
            "indeterminate_band": list(self.indeterminate),
            "false_positives_per_1000_leukocytes": None if isnan(self.false_positives) else self.false_positives,
            "bundle": self.bundle_id,
            "left_out_as_seen": self.left_out,
            "missed": self.missed,
            "worst": said_of_worst(self.laboratories),
            "laboratories": [laboratory.as_json() for laboratory in self.laboratories],
        }


def evaluate(crops: CropSet, bundle: Bundle) -> Evaluation:
    """Measure a bundle on the crops that it has not seen.

    Raises
    ------
    UsageError
        It has seen them all.
    ParityError
        The network here does not compute what was trained.
    """
    unseen = crops.where(~np.isin(crops.digests, bundle.seen))
    if not len(unseen):
        raise UsageError(
            f"all {len(crops)} pictures were used in training this bundle; give pictures that it has not seen"
        )
    classifier = OnnxClassifier(bundle)
    prove(classifier, bundle)
    probabilities = as_counted(classifier, bundle.manifest).probabilities(unseen.crops)
    classifier.close()
    manifest = bundle.manifest
    performance = measure(
        probabilities,
        unseen.labels,
        unseen.originals,
        bundle.classes,
        manifest.target,
        manifest.indeterminate,
    )
    kinds = unseen.labels == manifest.target, unseen.labels == DENOMINATOR
    wanted = probabilities[:, manifest.target]
    return Evaluation(
        bundle.id,
        performance,
        manifest.threshold,
        manifest.indeterminate,
        false_positives_per_thousand(wanted, *kinds, manifest.indeterminate[1]),
        len(crops) - len(unseen),
        _missed(crops),
        by_laboratory(unseen, probabilities, manifest.indeterminate, bundle.seen),
    )


def _missed(crops: CropSet) -> dict[str, int]:
    total: dict[str, int] = {}
    for source in crops.sources:
        for name, count in source.missed.items():
            total[name] = total.get(name, 0) + count
    return total
