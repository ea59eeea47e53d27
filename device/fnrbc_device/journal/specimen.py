"""What people write of a slide: what may stand there, and what of it leaves the device."""

import hashlib
import hmac
import unicodedata
from pathlib import Path
from typing import Final

from fnrbc_device.errors import CommandError
from fnrbc_device.host.secret_key import secret_key
from fnrbc_device.language import english

MAX_SPECIMEN: Final = 80
"""Characters; the longest bar codes on slides have some 40."""

MAX_OPERATOR: Final = 80

MAX_NOTE: Final = 500

KEY_NAME: Final = "specimen.key"
"""File in the state folder. Who has it and a list of ids can tell which id a hash stands for."""

HASH_DIGITS: Final = 16
"""64 bits: among a million specimens two have the same hash with a chance of one in 40 million."""

_REFUSED: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control characters, invisible ones that turn or hide what stands beside them, half characters, line breaks."""


def written(name: str, text: str, limit: int) -> str:
    """Take what a person wrote: without the blanks around it, each character in its one composed form.

    Raises
    ------
    CommandError
        ``malformed``: it is too long, or holds what cannot be seen.
    """
    if len(text) > limit:
        words = english(
            "the %(name)s has %(count)s characters, the limit is %(limit)s; shorten it",
            name=name,
            count=len(text),
            limit=limit,
        )
        raise CommandError("malformed", words)
    clean = unicodedata.normalize("NFC", text.strip(" "))
    for place, letter in enumerate(clean, 1):
        if unicodedata.category(letter) in _REFUSED:
            code = f"U+{ord(letter):04X}"
            words = english(
                "the %(name)s holds a control character (%(code)s, number %(place)s); type it without",
                name=name,
                code=code,
                place=place,
            )
            raise CommandError("malformed", words)
    return clean


def specimen_hash(specimen: str, folder: Path) -> str:
    """Hash of a specimen's id under the device's own key: 16 hexadecimal digits, or empty for no id.

    The same id has the same hash on this device and another on any other. Without the key nobody can try out ids.

    Parameters
    ----------
    specimen
        As it is written on the slide.
    folder
        The device's state folder. The key is made there at first use, for its owner's eyes only.

    Raises
    ------
    JournalError
        The key cannot be made or read, or is none.
    """
    if not specimen:
        return ""
    key = secret_key(folder / KEY_NAME, "under which all specimens get other hashes")
    return hmac.new(key, specimen.encode(), hashlib.sha256).hexdigest()[:HASH_DIGITS]
