"""How the publishing stands, as a snapshot for other threads."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """How the publishing stands."""

    connected: bool = False
    publishes: bool = True
    """False on a device without MQTT."""
    backlog: int = 0
    """Records of the log that wait."""
    acked: int = 0
    """Records taken by the broker since the start."""
    refused: int = 0
    """Records and states that the broker refused since the start. They are parked, not sent again."""
    connections: int = 0
    """How often the broker was reached since the start."""
    last_error: str = ""
    """The last trouble, in one sentence; it stays after it is over."""
