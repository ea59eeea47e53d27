"""Where each message goes and how: the topics of one device, their retention, expiry and pace."""

import re
from dataclasses import dataclass
from typing import Final

from fnrbc_device.errors import ConfigError

SEGMENT_PATTERN: Final = "^[a-z0-9_-]{1,32}$"
"""What a site, a device or any other part of a topic may be: no wildcard, no slash, no capital to mistype."""

_SEGMENT: Final = re.compile(r"[a-z0-9_-]{1,32}")

AVAILABILITY: Final = "availability"
LOG_CELL: Final = "log/cell"
LOG_SESSION: Final = "log/session"
STATUS: Final = "status"
SESSION: Final = "session"
TALLY: Final = "tally"
HEALTH: Final = "health"
SUMMARY: Final = "summary"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a message travels."""

    qos: int
    retain: bool
    expiry_s: int | None = None
    """The broker forgets it after this time; None for never."""
    min_interval_s: float = 0.0
    """Newer values within this time replace each other unsent."""
    heartbeat_s: float | None = None
    """Sent again after this time although nothing changed, while counting."""


LOG: Final = Delivery(qos=1, retain=False)
"""Records of the log: each once, in order, through the outbox."""

PRESENCE: Final = Delivery(qos=1, retain=True)
"""``online`` and ``offline``."""

STATES: Final[dict[str, Delivery]] = {
    STATUS: Delivery(qos=1, retain=True),
    SESSION: Delivery(qos=1, retain=True),
    TALLY: Delivery(qos=1, retain=True, expiry_s=24 * 3600, min_interval_s=0.5, heartbeat_s=10.0),
    HEALTH: Delivery(qos=0, retain=True, expiry_s=60),
    SUMMARY: Delivery(qos=1, retain=True),
}
"""Newest value only, in the order in which they are said at a connect: who, what, how many, how well."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device, ``fnrbc/v1/{site}/{device}/...``."""

    site: str
    device: str

    def __post_init__(self) -> None:
        require_segment(self.site, "site")
        require_segment(self.device, "device")

    @property
    def base(self) -> str:
        """What every topic of this device starts with."""
        return f"fnrbc/v1/{self.site}/{self.device}"

    def full(self, suffix: str) -> str:
        """Name the whole topic of a suffix such as ``log/cell``."""
        return f"{self.base}/{suffix}"


def require_segment(value: str, what: str) -> None:
    """Refuse what cannot be one part of a topic.

    Raises
    ------
    ConfigError
        The value has other characters than a-z, 0-9, ``_`` and ``-``, or not 1 to 32 of them.
    """
    if not _SEGMENT.fullmatch(value):
        raise ConfigError(f"{what} {value!r} is not 1 to 32 of a-z, 0-9, '_' and '-'; choose such a name")
