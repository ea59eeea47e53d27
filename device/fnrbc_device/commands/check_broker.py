"""What ``fnrbc check`` asks of the broker: certificates first, then a login as the daemon will make one."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from fnrbc_device.commands.finding import Finding
from fnrbc_device.config import Config
from fnrbc_device.errors import BrokerRefusedError, ConfigError, PublishError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.mqtt.certificates import (
    WARN_DAYS,
    certificates_in,
    out_of_time,
    tls_context,
    validity,
)
from fnrbc_device.mqtt.connection import Connection
from fnrbc_device.mqtt.probe import broker_validity
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.mqtt.wakeup import Wakeup

Span = tuple[datetime, datetime]


def look_at_certificates(config: Config) -> Finding:
    """Hold every certificate that the way to the broker needs against this machine's clock.

    Raises
    ------
    ConfigError
        One cannot be read or does not fit its key.
    """
    mqtt, now = config.mqtt, SystemClock().utc()
    if not mqtt.enabled or mqtt.ca_file is None:
        return Finding("certificate", "not used", "mqtt.ca_file is not set")
    tls_context(mqtt)
    spans = list(_spans(mqtt))
    for whose, span in spans:
        if words := out_of_time(span, now, whose):
            return Finding("certificate", "fault", words)
    whose, (_, end) = min(spans, key=lambda found: found[1][1])
    days = (end - now).days
    if days <= WARN_DAYS:
        words = f"{whose} ends in {days} days, the limit is {WARN_DAYS}; have a new one made"
        return Finding("certificate", "warning", words)
    return Finding("certificate", "ok", f"all are good until {end:%Y-%m-%d} at least")


def look_at_broker(config: Config) -> Finding:
    """Log in over MQTT 5 and out again, beside a daemon that may run: another client id, and no last will."""
    mqtt = config.mqtt
    if not mqtt.enabled:
        return Finding("broker", "not used", "mqtt.enabled is false")
    try:
        with closing(Wakeup()) as wakeup, Connection(mqtt, wakeup, only_look=True) as connection:
            connection.open(lambda: False)
    except BrokerRefusedError as error:
        return Finding("broker", "fault", str(error))
    except PublishError as error:
        return Finding("broker", "warning", f"{error}; counting goes on without it")
    who = f"user {mqtt.username}" if mqtt.username else "this device"
    return Finding("broker", "ok", f"{mqtt.host} port {mqtt.port} speaks MQTT 5 and let {who} in")


def _spans(mqtt: MqttSettings) -> Iterator[tuple[str, Span]]:
    """Whose certificate, and from when to when it is good; of the broker's only where it can be looked at."""
    files: tuple[tuple[str, Path | None], ...] = (
        ("the authority's certificate", mqtt.ca_file),
        ("this device's certificate", mqtt.cert_file),
    )
    for whose, path in files:
        for der in certificates_in(path) if path else ():
            yield f"{whose} {path}", _validity(der, path)
    if span := broker_validity(mqtt):
        yield f"the certificate of the broker at {mqtt.host}:{mqtt.port}", span


def _validity(der: bytes, path: Path | None) -> Span:
    try:
        return validity(der)
    except ValueError as error:
        raise ConfigError(f"{path} holds a certificate that cannot be read ({error}); have a new one made") from error
