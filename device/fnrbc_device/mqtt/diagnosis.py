"""Why the broker cannot be used: each cause is tried by itself, and named with its own cure."""

import errno
import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fnrbc_device.errors import BrokerRefusedError, PublishError
from fnrbc_device.host.clock import clock_fault
from fnrbc_device.mqtt.certificates import certificates_in, out_of_time, validity, validity_of
from fnrbc_device.mqtt.probe import broker_validity, spoken_at
from fnrbc_device.mqtt.settings import MqttSettings

UNSUPPORTED_VERSION: Final = "Unsupported protocol version"

_REFUSALS: Final[dict[str, str]] = {
    "Client identifier not valid": "does not take our client id {id}; allow it there, or give another mqtt.device",
    "Bad user name or password": "does not know {user} with this password; mend username or password_file",
    "Not authorized": "does not let {user} in; mend username, password_file or its access list",
    "Banned": "has banned {user} or this address; lift that there",
    "Bad authentication method": "wants another way to log in than a password or a certificate; allow one there",
    "Topic name invalid": "takes no topics of our kind; let {user} write below fnrbc/v1 there",
    "Retain not supported": "keeps no retained messages, which a last will needs; turn that on there",
    "QoS not supported": "takes no message with quality of service 1; turn that on there",
    "Use another server": "sends us to another one; mend mqtt.host",
    "Server moved": "has moved; mend mqtt.host",
}
"""What a refusal at the login means, by its name in MQTT 5, section 3.2.2.2."""

_PASSING: Final = ("Server unavailable", "Server busy", "Quota exceeded", "Connection rate exceeded")
"""Refusals that are over by themselves."""

_NAME: Final = (62, 64)
_NOT_YET, _ENDED = 9, 10
_AUTHORITY: Final = (2, 7, 18, 19, 20, 21)
"""OpenSSL's X509_V_ERR: another name or address, not yet valid, ended, no authority of ours."""

_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_OLD_TLS: Final = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE")
_OURS: Final = ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "CERTIFICATE_REQUIRED",
                "ALERT_UNSUPPORTED_CERTIFICATE", "ALERT_HANDSHAKE_FAILURE")  # fmt: skip


def unreachable(settings: MqttSettings, error: Exception) -> PublishError:
    """Why no connection came about at all."""
    where = f"the broker at {settings.host}:{settings.port}"
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror):
        return PublishError(f"{where} has no address ({error.strerror}); mend mqtt.host, or this machine's name server")
    if isinstance(error, ConnectionRefusedError):
        return PublishError(f"{where} cannot be reached ({error}); start it there, or mend host and port")
    if isinstance(error, TimeoutError):
        return PublishError(f"{where} does not answer ({error}); see whether it runs, and what firewall is between")
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return PublishError(f"{where} cannot be reached ({error}); connect this machine to that network")
    if isinstance(error, ConnectionError) and settings.ca_file is not None:
        return _hung_up_on_tls(settings, str(error))
    return PublishError(f"{where} cannot be reached ({error}); start it, or mend host and port")


def untrusted(settings: MqttSettings, error: ssl.SSLError, now: datetime | None = None) -> BrokerRefusedError:
    """Why TLS did not come about."""
    where, reason = f"the broker at {settings.host}:{settings.port}", getattr(error, "reason", None) or str(error)
    now = now or datetime.now(timezone.utc)
    if isinstance(error, ssl.SSLCertVerificationError):
        return BrokerRefusedError(f"{where} is not trusted: {_distrust(settings, error, now)}")
    if any(reason.startswith(name) for name in _NO_TLS):
        return _without_tls(settings)
    if reason.startswith("UNEXPECTED_EOF"):
        return _hung_up_on_tls(settings, reason)
    if reason in _OLD_TLS:
        return BrokerRefusedError(f"{where} speaks only a TLS older than 1.2; renew it there")
    if any(name in reason for name in _OURS):
        return BrokerRefusedError(_our_certificate(settings, now))
    return BrokerRefusedError(f"{where} and this device found no common TLS ({reason}); see the broker's log")


def refused(settings: MqttSettings, reason: ReasonCode) -> PublishError:
    """Why the broker refused the login."""
    where, name = f"the broker at {settings.host}:{settings.port}", str(reason)
    user = f"user {settings.username}" if settings.username else "who gives no username"
    if name == UNSUPPORTED_VERSION:
        return _older_mqtt(settings)
    if name in _PASSING:
        return PublishError(f"{where} refused us for now ({name}); it is tried again")
    cause = _REFUSALS.get(name, "says no more; see its log").format(user=user, id=settings.client_id())
    return BrokerRefusedError(f"{where} refused us ({name}): it {cause}")


def lacking(settings: MqttSettings, offered: Properties | None) -> BrokerRefusedError | None:
    """Why a broker that let us in cannot be used after all; None where it can.

    What it says of itself with its welcome (MQTT 5, section 3.2.2.3) is heeded: sent all the same, a message ends the
    connection again and again.
    """
    if getattr(offered, "MaximumQoS", 1) < 1:
        return _lacks(settings, "QoS not supported")
    if getattr(offered, "RetainAvailable", 1) == 0:
        return _lacks(settings, "Retain not supported")
    return None


def _lacks(settings: MqttSettings, name: str) -> BrokerRefusedError:
    return BrokerRefusedError(f"the broker at {settings.host}:{settings.port} {_REFUSALS[name]}")


def no_welcome(settings: MqttSettings, how: str, given_up: Callable[[], bool]) -> PublishError:
    """Why a connection brought no welcome.

    Parameters
    ----------
    how
        What happened: to follow the broker's address.
    given_up
        Asked between two looks, of a second each; True ends them.
    """
    where = f"the broker at {settings.host}:{settings.port}"
    spoken = spoken_at(settings, given_up)
    if spoken == "mqtt3":
        return _older_mqtt(settings)
    if spoken == "http":
        return BrokerRefusedError(f"{where} {how}: a web server is there; mend mqtt.port, mostly 1883, with TLS 8883")
    if spoken == "tls":
        return BrokerRefusedError(f"{where} {how}: it speaks TLS at this port; set ca_file, or mend mqtt.port")
    if spoken == "other":
        return BrokerRefusedError(f"{where} {how}: what answers there is no MQTT; mend mqtt.host and mqtt.port")
    if settings.ca_file is not None and spoken == "nothing":
        # With TLS 1.3 the broker looks at our certificate after the handshake, and just hangs up.
        return BrokerRefusedError(f"{where} {how}; {_our_certificate(settings, datetime.now(timezone.utc))}")
    if spoken == "mqtt5":
        return PublishError(f"{where} {how}, though it speaks MQTT 5; see its log, and how many clients it allows")
    return PublishError(f"{where} {how}; see whether MQTT 5 is spoken there")


def _hung_up_on_tls(settings: MqttSettings, how: str) -> BrokerRefusedError:
    """Tell a port without TLS from one that does not want us: by asking it in plain text."""
    if spoken_at(settings.model_copy(update={"ca_file": None}), lambda: False) in ("mqtt5", "mqtt3", "http", "other"):
        return _without_tls(settings)
    return BrokerRefusedError(
        f"the broker at {settings.host}:{settings.port} hung up on TLS ({how}); see its log, and whether it speaks "
        "TLS at this port, as it mostly does at 8883"
    )


def _without_tls(settings: MqttSettings) -> BrokerRefusedError:
    where = f"the broker at {settings.host}:{settings.port}"
    return BrokerRefusedError(f"{where} speaks no TLS at this port; mend mqtt.port, mostly 8883 with TLS")


def _older_mqtt(settings: MqttSettings) -> BrokerRefusedError:
    return BrokerRefusedError(
        f"the broker at {settings.host}:{settings.port} speaks MQTT 3.1.1 and no MQTT 5, without which a refused "
        "record would be lost in silence; turn MQTT 5 on there, or take another broker, such as mosquitto 2"
    )


def _distrust(settings: MqttSettings, error: ssl.SSLCertVerificationError, now: datetime) -> str:
    code = error.verify_code
    if code in _NAME:
        return f"its certificate is for another name than {settings.host}; set mqtt.host to a name that it gives"
    if code in _AUTHORITY:
        return f"its certificate is signed by another authority than that of {settings.ca_file}; mend ca_file"
    if code in (_NOT_YET, _ENDED):
        return clock_fault(now) or _out_of_time(settings, now)
    return f"{error.verify_message}; mend its certificate there, or ca_file here"


def _out_of_time(settings: MqttSettings, now: datetime) -> str:
    """Which certificate is not good now: that of the authority, or the broker's own."""
    for ca in certificates_in(settings.ca_file) if settings.ca_file else ():
        if words := out_of_time(validity(ca), now, f"the authority's certificate {settings.ca_file}"):
            return words
    span = broker_validity(settings)
    words = out_of_time(span, now, "its certificate") if span else ""
    return words or "a certificate of its chain is not good now; see its dates, and this machine's clock"


def _our_certificate(settings: MqttSettings, now: datetime) -> str:
    """Why the broker does not want the certificate that we show."""
    path: Path | None = settings.cert_file
    if path is None:
        return "it wants a certificate of this device; set cert_file and key_file"
    span = validity_of(path)
    if words := out_of_time(span, now, f"this device's certificate {path}") if span else "":
        return words
    return f"it does not accept the certificate {path}; see whether its authority is the one that the broker trusts"
