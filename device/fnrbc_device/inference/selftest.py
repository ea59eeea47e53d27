"""Proof that the network here is the network that was trained: it must reproduce its golden crops."""

import numpy as np

from fnrbc_device.errors import ParityError
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.inference.diagnosis import likely_fault
from fnrbc_device.model.bundle import Bundle


def prove(classifier: Classifier, bundle: Bundle) -> float:
    """Hold a classifier against the checkpoint's own probabilities.

    Parameters
    ----------
    classifier
        Made from this bundle, by whatever runtime.
    bundle
        With golden crops and the tolerance that its export stated.

    Returns
    -------
    float
        Largest difference of a probability, 0..1.

    Raises
    ------
    ParityError
        A difference above the tolerance, or something that is no probability.
    """
    found = classifier.probabilities(bundle.golden_crops)
    wanted = bundle.golden_probabilities
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise ParityError(
            f"the golden crops give {found.shape} with {np.count_nonzero(~np.isfinite(found))} values "
            f"that are no numbers; {wanted.shape} finite ones are needed, export the bundle again"
        )
    difference = float(np.abs(found - wanted).max())
    tolerance = bundle.manifest.parity.tolerance
    if difference > tolerance:
        temperature = bundle.manifest.temperature
        fault = likely_fault(classifier.probabilities, bundle.golden_crops, wanted, temperature)
        raise ParityError(
            f"a probability of the golden crops is off by {difference:.2g}, {tolerance:.2g} is allowed: {fault}; "
            "this runtime does not compute what was trained, export the bundle again"
        )
    return difference
