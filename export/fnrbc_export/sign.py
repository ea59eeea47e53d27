"""Signs a bundle, so that devices with the public key know who made it."""

from pathlib import Path

from fnrbc_device.errors import UsageError
from fnrbc_device.model.bundle import MANIFEST, load_bundle
from fnrbc_device.model.signature import SIGNATURE


def sign(bundle: Path, key: Path) -> Path:
    """Write the signature of a bundle beside its manifest.

    Parameters
    ----------
    bundle
        A bundle's folder.
    key
        Ed25519 private key, PEM, without a password.

    Returns
    -------
    Path
        The signature.

    Raises
    ------
    UsageError
        It is no folder, the key is no Ed25519 key, or there is nothing to sign with.
    BundleError
        The bundle is not whole.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise UsageError("signing needs cryptography; pip install 'fnrbc[signing]'") from None
    if not bundle.is_dir():
        raise UsageError(f"{bundle} is no folder; unpack the bundle, sign it, and pack it again")
    load_bundle(bundle)
    try:
        loaded = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"the key {key} cannot be read ({error}); give an Ed25519 private key as PEM") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise UsageError(f"the key {key} is no Ed25519 key; make one with openssl genpkey -algorithm ed25519")
    part = bundle / (SIGNATURE + ".part")
    part.write_bytes(loaded.sign((bundle / MANIFEST).read_bytes()))
    return part.replace(bundle / SIGNATURE)
