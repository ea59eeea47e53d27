"""Passwords are kept as scrypt hashes: costly to try, and worthless to who reads the file."""

import base64
import hashlib
import hmac
import secrets
import unicodedata
from typing import Final

from fnrbc_device.errors import UsageError

COST: Final = (14, 8, 5)
"""log2 N, r and p of scrypt (RFC 7914): one of the sets of equal strength of OWASP's Password Storage Cheat Sheet, the
one that needs least memory (16 MiB), since the counting shares the machine. 0.3 s on one core of an EPYC."""

MAX_MEMORY_BYTES: Final = 64 * 1024 * 1024
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32

MIN_CHARS: Final = 12
MAX_CHARS: Final = 256
"""Length is what makes a password strong (NIST SP 800-63B); beyond the upper bound it is some file."""


def hash_password(password: str) -> str:
    """Hash a password with a new salt: ``scrypt$14$8$5$salt$hash``.

    Raises
    ------
    UsageError
        It is too short or too long.
    """
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise UsageError(
            f"the password has {len(password)} characters, not {MIN_CHARS} to {MAX_CHARS}; take a few words together"
        )
    salt = secrets.token_bytes(SALT_BYTES)
    return "$".join(["scrypt", *map(str, COST), _text(salt), _text(_derive(password, salt, COST))])


def is_right(password: str, kept: str) -> bool:
    """Whether a password is the hashed one. Takes the same time whatever the answer."""
    try:
        _, log_n, r, p, salt, wanted = kept.split("$")
        derived = _derive(password, base64.b64decode(salt), (int(log_n), int(r), int(p)))
    except ValueError:
        return False
    return hmac.compare_digest(derived, base64.b64decode(wanted))


def _derive(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    log_n, r, p = cost
    # The same letters typed on another keyboard may come as other code points.
    secret = unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
    return hashlib.scrypt(secret, salt=salt, n=1 << log_n, r=r, p=p, maxmem=MAX_MEMORY_BYTES, dklen=HASH_BYTES)


def _no_account() -> str:
    return "$".join(["scrypt", *map(str, COST), _text(bytes(SALT_BYTES)), _text(bytes(HASH_BYTES))])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


NO_ACCOUNT: Final = _no_account()
"""No password is right for it, and trying one takes as long as for an account that somebody has."""
