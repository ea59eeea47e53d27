"""What may be part of a topic: the names of sites, devices and users."""

import re
from typing import Final

from fnrbc_device.errors import ConfigError

SEGMENT_PATTERN: Final = "^[a-z0-9_-]{1,32}$"
"""What a site, a device or any other part of a topic may be: no wildcard, no slash, no capital to mistype."""

_SEGMENT: Final = re.compile(r"[a-z0-9_-]{1,32}")


def is_segment(value: str) -> bool:
    """Whether a value can be one part of a topic."""
    return _SEGMENT.fullmatch(value) is not None


def require_segment(value: str, what: str) -> None:
    """Refuse what cannot be one part of a topic.

    Raises
    ------
    ConfigError
        The value has other characters than a-z, 0-9, ``_`` and ``-``, or not 1 to 32 of them.
    """
    if not is_segment(value):
        raise ConfigError(f"{what} {value!r} is not 1 to 32 of a-z, 0-9, '_' and '-'; choose such a name")
