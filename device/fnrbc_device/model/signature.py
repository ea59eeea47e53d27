"""A bundle's detached signature: Ed25519 over its manifest, which holds the hashes of all else.

The hashes prove a bundle whole; only the signature proves who made it.
"""

from pathlib import Path
from typing import Final

from fnrbc_device.errors import BundleError, ConfigError

SIGNATURE: Final = "manifest.sig"
"""64 bytes, beside the manifest."""


def require_signature(manifest: bytes, signature: bytes | None, key: Path, where: Path) -> None:
    """Refuse a bundle that the key's owner did not sign.

    Parameters
    ----------
    manifest
        The file's bytes.
    signature
        The bytes of ``manifest.sig``; None where there is none.
    key
        Ed25519 public key, PEM.
    where
        The bundle, for the sentence.

    Raises
    ------
    BundleError
        It is unsigned, or was altered or signed by somebody else.
    ConfigError
        The key cannot be read, or there is nothing to check it with.
    """
    if signature is None:
        raise BundleError(
            f"the bundle {where} is not signed, and this device takes only what {key} signed; "
            "sign it with fnrbc-export sign"
        )
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise ConfigError(f"the key {key} cannot be used without cryptography; pip install 'fnrbc[signing]'") from None
    try:
        loaded = load_pem_public_key(key.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the key {key} cannot be read ({error}); give an Ed25519 public key as PEM") from None
    if not isinstance(loaded, Ed25519PublicKey):
        raise ConfigError(f"the key {key} is no Ed25519 key; make one with openssl genpkey -algorithm ed25519")
    try:
        loaded.verify(signature, manifest)
    except InvalidSignature:
        raise BundleError(
            f"the bundle {where} was altered, or signed by somebody else than {key} says; get it again from its maker"
        ) from None
