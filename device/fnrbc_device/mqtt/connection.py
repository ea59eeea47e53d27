"""One MQTT 5 connection, driven by the thread that opened it: no thread of paho's, no queue of paho's."""

import contextlib
import selectors
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fnrbc_device.contract.commands import Incoming
from fnrbc_device.contract.topics import AVAILABILITY, PRESENCE, Delivery, Topics
from fnrbc_device.errors import PublishError
from fnrbc_device.mqtt.certificates import tls_context
from fnrbc_device.mqtt.diagnosis import lacking, no_welcome, refused, unreachable, untrusted
from fnrbc_device.mqtt.properties import expiring, limits
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.mqtt.wakeup import Wakeup

CONNECT_TIMEOUT_S: Final = 5.0
"""For the TCP connection, and again for the broker's answer to it."""

WINDOW: Final = 20
"""Messages on their way at once. The broker may ask for fewer."""

ACK_TIMEOUT_S: Final = 20.0
"""A broker that answers later than this is taken for gone; the keep-alive alone notices no stalled one."""

MAX_PACKET_BYTES: Final = 256 * 1024
"""Told to the broker, which keeps larger ones from us. A command has 2 kB; what is larger is refused on record."""

NO_LIMIT: Final = 2**28
"""Bytes of the largest message that MQTT has."""

HEAD_BYTES: Final = 32
"""Of a message beside topic and payload, at most: its head, id and expiry."""

TAKEN_OVER: Final = 0x8E
"""MQTT 5 reason: another client came with our id. Mosquitto 2.0.11 closes the connection without a word."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the broker said to one message."""

    message_id: int
    refused: bool
    reason: str


class Connection:
    """A connection from ``open`` to ``close``, which never comes back: after a loss, make another.

    A fresh paho client each time carries nothing over. Paho would send again, after a reconnect, the states
    that were on their way, *behind* newer ones, and an old tally would stay retained.
    """

    def __init__(self, settings: MqttSettings, wake: Wakeup, *, only_look: bool = False) -> None:
        self._settings = settings
        self._only_look = only_look
        """To see whether we are let in: under a name of its own, without a last will, and asking for nothing."""
        self._topics = Topics(settings.site, settings.device)
        self._wake = wake
        self._client = self._make_client()
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake.waited_for, selectors.EVENT_READ)
        self._window = 0
        self._sent_at_s: dict[int, float] = {}
        self._answers: list[Answer] = []
        self._most_bytes = NO_LIMIT
        self._refused_here = 0
        """Id of the last message that was refused here; the broker's are above 0."""
        self._incoming: list[Incoming] = []
        self._lost: PublishError | None = None
        self._refusal: PublishError | None = None
        self.taken_over = False

    def open(self, cancelled: Callable[[], bool]) -> None:
        """Connect, and wait for the broker's welcome.

        Raises
        ------
        PublishError
            The broker is away, refuses us, or says nothing in time; or ``cancelled`` came true.
        """
        host, port = self._settings.host, self._settings.port
        where = f"{host}:{port}"
        try:
            self._client.connect(host, port, self._settings.keepalive_s, properties=limits(MAX_PACKET_BYTES))
        except ssl.SSLError as error:
            raise untrusted(self._settings, error) from error
        except (OSError, ValueError) as error:
            raise unreachable(self._settings, error) from error
        connected = self._client.socket()
        if connected is not None:
            self._selector.register(connected, selectors.EVENT_READ)
        deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._window and not cancelled():
            if time.monotonic() > deadline_s:
                raise no_welcome(self._settings, f"has not answered within {CONNECT_TIMEOUT_S:.0f} s", cancelled)
            self._await_welcome(cancelled)
        if not self._only_look:
            self._client.subscribe(self._topics.commands, options=SubscribeOptions(qos=1, retainAsPublished=True))
        if cancelled():
            raise PublishError(f"connecting to {where} was given up, for the publisher stops; start it again")

    def _await_welcome(self, cancelled: Callable[[], bool]) -> None:
        try:
            self.poll(0.2)
        except Exception as error:  # paho raises what it likes where the answer is no MQTT 5
            if self._refusal is not None:
                raise self._refusal from error
            raise no_welcome(self._settings, "hung up before its welcome", cancelled) from error

    @property
    def in_flight(self) -> int:
        """Messages sent and not yet answered."""
        return len(self._sent_at_s)

    @property
    def room(self) -> int:
        """Messages that may be sent before an answer is due."""
        return max(0, self._window - self.in_flight)

    def received(self) -> list[Incoming]:
        """Commands that came since the last call, oldest first."""
        found, self._incoming = self._incoming, []
        return found

    def publish(self, suffix: str, payload: str | bytes, delivery: Delivery) -> int:
        """Send one message below our own base; returns the id that its answer will carry.

        With quality of service 0 no answer comes.

        Raises
        ------
        PublishError
            The connection is gone.
        """
        return self.publish_to(self._topics.full(suffix), payload, delivery)

    def publish_to(self, topic: str, payload: str | bytes, delivery: Delivery) -> int:
        """Send one message to any topic; returns the id that its answer will carry.

        Raises
        ------
        PublishError
            The connection is gone.
        """
        size = len(topic.encode()) + len(payload.encode() if isinstance(payload, str) else payload) + HEAD_BYTES
        if size > self._most_bytes:
            return self._refuse_here(size)
        info = self._client.publish(topic, payload, delivery.qos, delivery.retain, expiring(delivery.expiry_s))
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost or PublishError(
                f"the message to {topic} was not sent ({paho.error_string(info.rc)}); the connection is made anew"
            )
        if delivery.qos:
            self._sent_at_s[info.mid] = time.monotonic()
        return info.mid

    def _refuse_here(self, size: int) -> int:
        """Answer in the broker's place: sent all the same, the message would end the connection, again and again."""
        self._refused_here -= 1
        words = f"a message of {size} bytes is above the broker's limit of {self._most_bytes}; raise it there"
        self._answers.append(Answer(self._refused_here, True, words))
        return self._refused_here

    def poll(self, wait_s: float) -> list[Answer]:
        """Read and write what can be; returns the broker's answers since the last call.

        Waits at most ``wait_s``, less where something comes in or the wake socket is written to.

        Raises
        ------
        PublishError
            The connection was lost. Answers that had come before are handed out first.
        """
        if not self._lost:
            self._turn(0.0 if self._answers else wait_s)
        answers, self._answers = self._answers, []
        if answers:
            return answers
        if self._lost:
            raise self._lost
        self._require_answers_in_time()
        return []

    def close(self) -> None:
        """Leave without a word where the connection is lost, else say goodbye. Safe to call twice."""
        self._client.disconnect()
        self._client.on_connect = self._client.on_publish = self._client.on_disconnect = None
        self._client.on_message = None
        self._client.loop_write()
        self._client.loop_misc()
        connected = self._client.socket()
        if connected is not None:
            connected.close()
        self._selector.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._settings.client_id() + ("-check" if self._only_look else ""),
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(0)  # the window is kept here, where it is known what waits
        if not self._only_look:
            client.will_set(self._topics.full(AVAILABILITY), "offline", PRESENCE.qos, PRESENCE.retain)
        if context := tls_context(self._settings):
            client.tls_set_context(context)
        if self._settings.username is not None:
            client.username_pw_set(self._settings.username, self._settings.password())
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_disconnect = self._on_disconnect
        return client

    def _turn(self, wait_s: float) -> None:
        """Wait for the socket or the wake, then let paho read, write and keep the connection alive."""
        connected = self._client.socket()
        if connected is None:
            raise PublishError("the connection to the broker is closed; it is made anew")
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
        self._selector.modify(connected, interest)
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._wake.waited_for:
                self._wake.drain()
            else:
                self._read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()

    def _read(self) -> None:
        self._client.loop_read()
        # What TLS has decrypted already makes no socket readable.
        while isinstance(secured := self._client.socket(), ssl.SSLSocket) and secured.pending():
            self._client.loop_read()

    def _require_answers_in_time(self) -> None:
        oldest_s = min(self._sent_at_s.values(), default=None)
        if oldest_s is not None and time.monotonic() - oldest_s > ACK_TIMEOUT_S:
            raise PublishError(f"the broker has not answered for {ACK_TIMEOUT_S:.0f} s; the connection is made anew")

    def _on_connect(
        self,
        _client: paho.Client,
        _user: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        offered: Properties | None,
    ) -> None:
        refusal = refused(self._settings, reason) if reason.is_failure else lacking(self._settings, offered)
        if refusal is not None:
            self._lost = self._refusal = refusal
            return
        self._window = min(WINDOW, getattr(offered, "ReceiveMaximum", WINDOW))
        self._most_bytes = getattr(offered, "MaximumPacketSize", NO_LIMIT)

    def _on_publish(
        self, _client: paho.Client, _user: Any, mid: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        if self._sent_at_s.pop(mid, None) is not None:
            self._answers.append(Answer(mid, reason.is_failure, str(reason) if reason.is_failure else ""))

    def _on_message(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        # A topic that is no UTF-8 raises when it is read, and names no command of ours.
        with contextlib.suppress(UnicodeDecodeError):
            self._incoming.append(Incoming(message.topic, bytes(message.payload), message.retain))

    def _on_disconnect(
        self,
        _client: paho.Client,
        _user: Any,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if self._lost:
            return
        self.taken_over = reason.value == TAKEN_OVER
        self._lost = PublishError(
            f"another client with the id {self._settings.client_id()} took the connection over; "
            "run one daemon a device name and machine"
            if self.taken_over
            else f"the connection to the broker was lost ({reason}); it is made anew; if that goes on, "
            f"see whether another client has the id {self._settings.client_id()}"
        )
