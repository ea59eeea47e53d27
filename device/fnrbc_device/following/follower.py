"""``fnrbc follow``: listens to the log of one device or of all of a site, and keeps copies without a gap."""

import hashlib
import logging
import os
import ssl
import time
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fnrbc_device.contract.names import is_segment
from fnrbc_device.errors import UsageError
from fnrbc_device.following.devices import FollowedDevice
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.mqtt.certificates import tls_context
from fnrbc_device.mqtt.diagnosis import no_welcome, refused, unreachable, untrusted
from fnrbc_device.mqtt.properties import expiring, kept_session
from fnrbc_device.mqtt.settings import MqttSettings

SESSION_S: Final = 24 * 3600
"""The broker keeps what comes while we are away for a day, as far as its queue goes; replays bring the rest."""

REQUEST_S: Final = 10
"""By the contract: a command that nobody took by then is gone."""

TURN_S: Final = 0.2
RECONNECT_S: Final = 1.0
RECONNECT_LAST_S: Final = 15.0

CONNECT_S: Final = 5.0
"""For the TCP connection, and again for the broker's welcome."""

MAX_DEVICES: Final = 1000

_log = logging.getLogger(__name__)


class _NoWelcomeError(Exception):
    """The broker did not welcome us; its words say why."""


class Follower:
    """Keeps the copies. All in the caller's thread.

    Parameters
    ----------
    settings
        The broker and who to be there: ``site``, and ``username`` under which replays are asked for.
    device
        Whom to follow; None for every device of the site.
    folder
        Where the copies lie. Another follower must not write there at the same time.
    """

    def __init__(self, settings: MqttSettings, device: str | None, folder: Path) -> None:
        self._settings = settings
        self._user = settings.username or "follow"
        if not is_segment(self._user):
            raise UsageError(f"user {self._user!r} is not 1 to 32 of a-z, 0-9, '_' and '-'; choose such a name")
        self._base = f"fnrbc/v1/{settings.site}"
        self._whose = device or "+"
        self._folder = folder
        self._devices: dict[str, FollowedDevice] = {}
        self._welcomed = False
        self._refused = ""

    def run(self, stop: Event) -> list[Path]:
        """Follow until told to stop; returns the files that were written to.

        Raises
        ------
        FolderHeldError
            Another process writes there.
        ConfigError
            The folder cannot be written, or a password or certificate cannot be read.
        """
        with hold_state_folder(self._folder, "fnrbc follow"):
            try:
                self._follow(stop)
            finally:
                paths = [path for device in self._devices.values() for path in device.close()]
        return paths

    @property
    def troubled(self) -> bool:
        """Whether the copy of some device could not be written in the end."""
        return any(device.troubled for device in self._devices.values())

    @property
    def differing(self) -> int:
        """Records that were refused: another is held under their number."""
        return sum(device.differing for device in self._devices.values())

    @property
    def lost(self) -> int:
        """Records that are missing in the copies for good."""
        return sum(device.lost for device in self._devices.values())

    def _follow(self, stop: Event) -> None:
        pause_s = RECONNECT_S
        while not stop.is_set():
            client = self._make_client()
            try:
                client.connect(
                    self._settings.host, self._settings.port, self._settings.keepalive_s,
                    clean_start=False, properties=kept_session(SESSION_S),
                )  # fmt: skip
                self._listen(client, stop)
                pause_s = RECONNECT_S
            except (OSError, ValueError, _NoWelcomeError) as error:
                _log.warning("%s; trying again in %.0f s", _why(self._settings, error), pause_s)
                pause_s = min(2 * pause_s, RECONNECT_LAST_S)
            finally:
                _leave(client)
            stop.wait(pause_s)

    def _listen(self, client: paho.Client, stop: Event) -> None:
        self._welcomed, self._refused = False, ""
        until_s = time.monotonic() + CONNECT_S
        while not stop.is_set():
            if not self._turn(client) or self._refused:
                if not (self._welcomed or self._refused):
                    raise self._unwelcome("hung up before its welcome", stop)
                _log.warning("%s", self._refused or "the connection to the broker was lost; it is made anew")
                return
            if self._welcomed:
                self._ask(client)
            elif time.monotonic() > until_s:
                raise self._unwelcome(f"has not answered within {CONNECT_S:.0f} s", stop)
            for device in self._devices.values():
                device.sync()

    def _unwelcome(self, how: str, stop: Event) -> "_NoWelcomeError":
        return _NoWelcomeError(no_welcome(self._settings, how, stop.is_set))

    def _turn(self, client: paho.Client) -> bool:
        """Read and write what can be; False where the connection is gone."""
        try:
            return client.loop(TURN_S) == MQTTErrorCode.MQTT_ERR_SUCCESS
        except Exception:
            if self._welcomed:
                raise
            return False  # paho raises what it likes where the answer is no MQTT 5

    def _ask(self, client: paho.Client) -> None:
        """Ask devices for what is missing. Not retained, and gone soon: a late request would be refused."""
        for name, device in self._devices.items():
            request = device.request(time.monotonic(), datetime.now(timezone.utc))
            if request is not None:
                topic = f"{self._base}/{name}/cmd/{self._user}/replay"
                client.publish(topic, request, qos=1, properties=expiring(REQUEST_S))

    def _make_client(self) -> paho.Client:
        settings = self._settings
        # One id a folder: two followers on one machine would throw each other out.
        place = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:8]
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            f"{settings.client_id()}-{self._user}-{place}",
            protocol=paho.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        if context := tls_context(settings):
            client.tls_set_context(context)
        if settings.username is not None and settings.password_file is not None:
            client.username_pw_set(settings.username, settings.password())
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        return client

    def _on_connect(
        self,
        client: paho.Client,
        _user: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused = str(refused(self._settings, reason))
            return
        heard = ("availability", "status", "session", "tally", "health", "summary", "log/+", f"reply/{self._user}")
        client.subscribe([(f"{self._base}/{self._whose}/{suffix}", 1) for suffix in heard])
        self._welcomed = True

    def _on_message(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        name, _, suffix = message.topic.removeprefix(f"{self._base}/").partition("/")
        if not is_segment(name) or (name not in self._devices and len(self._devices) >= MAX_DEVICES):
            return
        device = self._devices.setdefault(name, FollowedDevice(self._folder, name))
        device.hear(suffix, bytes(message.payload))


def _why(settings: MqttSettings, error: Exception) -> Exception:
    """The cause in words, as the daemon's publisher says it."""
    if isinstance(error, _NoWelcomeError):
        return error
    return untrusted(settings, error) if isinstance(error, ssl.SSLError) else unreachable(settings, error)


def _leave(client: paho.Client) -> None:
    client.disconnect()
    client.loop_write()
    client.loop_misc()
    connected = client.socket()
    if connected is not None:
        connected.close()
