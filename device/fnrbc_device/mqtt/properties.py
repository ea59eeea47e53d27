"""Properties of MQTT 5, which paho has without types."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def limits(packet_bytes: int) -> Properties:
    """Say at the connect how large a message may be that the broker sends to us."""
    connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's is untyped
    connect.MaximumPacketSize = packet_bytes
    return connect


def kept_session(seconds: int) -> Properties:
    """Ask at the connect that the broker keeps what comes while we are away, for so long."""
    connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's is untyped
    connect.SessionExpiryInterval = seconds
    return connect


def expiring(seconds: int | None) -> Properties | None:
    """Let a message be forgotten after a time; None for never."""
    if seconds is None:
        return None
    publish = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's is untyped
    publish.MessageExpiryInterval = seconds
    return publish
