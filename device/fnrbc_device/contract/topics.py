"""Where each message goes and how: the topics of one device, their retention, expiry and pace."""

from dataclasses import dataclass
from typing import Final

from fnrbc_device.contract.names import is_segment, require_segment

AVAILABILITY: Final = "availability"
LOG_CELL: Final = "log/cell"
LOG_SESSION: Final = "log/session"
LOG_AUDIT: Final = "log/audit"
LOG_ALARM: Final = "log/alarm"
LOG_RESULT: Final = "log/result"
STATUS: Final = "status"
SESSION: Final = "session"
TALLY: Final = "tally"
HEALTH: Final = "health"
SUMMARY: Final = "summary"
RESULT: Final = "result"
ALARM: Final = "alarm"
THUMB: Final = "thumb"
REPLY: Final = "reply"
COMMAND: Final = "cmd"


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
    RESULT: Delivery(qos=1, retain=True),
}
"""Newest value only, in the order in which they are said at a connect: who, what, how many, how well."""

ALARM_STATE: Final = Delivery(qos=1, retain=True)
"""``alarm/{code}``: how one alarm stands."""

ANSWER: Final = Delivery(qos=1, retain=False, expiry_s=60)
"""``reply/{user}``: never queued by us; the broker forgets it soon."""


def state_delivery(suffix: str) -> Delivery | None:
    """How a state travels, ``tally`` or ``alarm/camera_lost``; None for what is no state of the contract."""
    kind, _, code = suffix.partition("/")
    if kind == ALARM and is_segment(code):
        return ALARM_STATE
    return STATES.get(suffix)


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

    @property
    def commands(self) -> str:
        """The filter that takes in every user's commands to this device."""
        return f"{self.base}/{COMMAND}/+/+"

    def command(self, user: str, verb: str) -> str:
        """Name the topic on which a user gives a command."""
        return f"{self.base}/{COMMAND}/{user}/{verb}"

    def reply(self, user: str) -> str:
        """Name the topic on which a user hears the answer."""
        return f"{self.base}/{REPLY}/{user}"

    def user_and_verb(self, topic: str) -> tuple[str, str]:
        """Read who asks for what from a command's topic; two empty words where it is none."""
        head, _, rest = topic.partition(f"{self.base}/{COMMAND}/")
        user, _, verb = rest.partition("/")
        return ("", "") if head or "/" in verb else (user, verb)
