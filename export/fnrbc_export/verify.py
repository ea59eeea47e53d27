"""The device's self-test by hand. Torch-free: it runs where the bundle is used."""

from contextlib import closing
from pathlib import Path

from fnrbc_device.inference.centre_network import OnnxCentreNetwork, prove_seeing
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import Bundle, load_bundle


def verify(path: Path, key: Path | None = None) -> tuple[Bundle, float]:
    """Prove a bundle whole, and its model the one that was trained.

    Parameters
    ----------
    path
        A bundle's folder or zip.
    key
        Public key that must have signed it; None for none.

    Returns
    -------
    tuple[Bundle, float]
        The bundle, and the largest difference of a probability on its golden crops.

    Raises
    ------
    BundleError
        It is missing, incomplete, altered, or not signed with the key.
    ParityError
        Its model gives other probabilities than its checkpoint gave, or what sees other maps.
    """
    bundle = load_bundle(path, key)
    if bundle.seeing is not None:
        with closing(OnnxCentreNetwork(bundle.seeing.model)) as network:
            prove_seeing(network, bundle)
    classifier = OnnxClassifier(bundle)
    try:
        return bundle, prove(classifier, bundle)
    finally:
        classifier.close()
