"""Looks at what answers behind the broker's address, one question at a time, once a connection has failed.

Every look is a connection of its own that gives no name and no password, and is given up after a second.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Literal

from fnrbc_device.errors import ConfigError
from fnrbc_device.mqtt.certificates import tls_context, validity
from fnrbc_device.mqtt.settings import MqttSettings

Spoken = Literal["mqtt5", "mqtt3", "http", "tls", "other", "nothing"]

LOOK_S: Final = 1.0

_CLIENT_ID: Final = b"fnrbc-probe"
_CLEAN: Final = 0x02
_KEEPALIVE_S: Final = 10
_CONNECT: Final = 0x10
_WELCOME: Final = 0x20
_TLS_RECORDS: Final = (0x15, 0x16)
"""RFC 8446, section 5.1: alert, handshake."""
_QUESTION: Final = b"GET / HTTP/1.0\r\n\r\n"


def spoken_at(settings: MqttSettings, given_up: Callable[[], bool]) -> Spoken:
    """Find out what is spoken at the broker's address, where MQTT 5 got no welcome.

    Parameters
    ----------
    given_up
        Asked between two looks; True ends them, with what is known by then.
    """
    for question in (_connect_packet(5), _connect_packet(4), _QUESTION):
        if found := _language(_answer_to(settings, question), question):
            return found
        if given_up():
            return "nothing"
    return "tls" if settings.ca_file is None and broker_validity(settings) else "nothing"


def _language(answer: bytes, question: bytes) -> Spoken | None:
    """What an answer is written in; None where there is none."""
    if _is_welcome(answer):
        # One of MQTT 5 has properties behind its reason; one of 3.1.1 ends there.
        return "mqtt5" if answer[1:2] > b"\2" and question == _connect_packet(5) else "mqtt3"
    if answer and answer[0] in _TLS_RECORDS:
        return "tls"
    if b"HTTP/" in answer:
        return "http"
    return "other" if answer else None


def broker_validity(settings: MqttSettings) -> tuple[datetime, datetime] | None:
    """From when to when the broker's own certificate is good, whoever signed it; None where it shows none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over it: only the certificate is looked at
    try:
        with _connected(settings) as plain, context.wrap_socket(plain, server_hostname=settings.host) as secured:
            return validity(secured.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None


def _connect_packet(level: int) -> bytes:
    """A CONNECT of MQTT 3.1.1 (4) or 5, section 3.1: a new session, no will, no name."""
    properties = b"\0" if level == 5 else b""
    body = b"\0\4MQTT" + bytes([level, _CLEAN, 0, _KEEPALIVE_S]) + properties
    body += len(_CLIENT_ID).to_bytes(2, "big") + _CLIENT_ID
    return bytes([_CONNECT, len(body)]) + body


def _is_welcome(answer: bytes) -> bool:
    return answer[:1] == bytes([_WELCOME])


def _answer_to(settings: MqttSettings, question: bytes) -> bytes:
    """First bytes that come back; none where nothing does in time."""
    try:
        with _connected(settings) as plain:
            context = tls_context(settings)
            spoken = context.wrap_socket(plain, server_hostname=settings.host) if context else plain
            with spoken:
                spoken.sendall(question)
                return spoken.recv(64)
    except (OSError, ValueError, ConfigError):
        return b""


@contextmanager
def _connected(settings: MqttSettings) -> Iterator[socket.socket]:
    with socket.create_connection((settings.host, settings.port), LOOK_S) as connected:
        connected.settimeout(LOOK_S)
        yield connected
