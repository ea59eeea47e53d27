"""TLS: the context to speak to the broker, and how long certificates are still good."""

import re
import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from fnrbc_device.errors import ConfigError
from fnrbc_device.mqtt.settings import MqttSettings

WARN_DAYS: Final = 30
"""A certificate this close to its end raises an alarm: time enough to have another made."""

_SEQUENCE: Final = 0x30
_UTC_TIME: Final = 0x17
_GENERAL_TIME: Final = 0x18
_VERSION: Final = 0xA0
_DAY_S: Final = 86400.0
_PEM: Final = re.compile(f"{ssl.PEM_HEADER}.*?{ssl.PEM_FOOTER}", re.DOTALL)


class _Socket(ssl.SSLSocket):
    """Closes itself where the handshake fails, for paho leaves it open then."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, or close."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """Make the context that ``settings`` ask for; None for plain text.

    Raises
    ------
    ConfigError
        A certificate or key cannot be read or does not fit.
    """
    if settings.ca_file is None:
        return None
    files = ", ".join(str(one) for one in (settings.ca_file, settings.cert_file, settings.key_file) if one)
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _Socket
        if settings.cert_file is not None:
            # A password would be asked for on the terminal: an empty one makes a locked key an error.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates {files} cannot be used ({error}); give PEM files that the daemon's user can read, "
            "the key beside its certificate and without a password"
        ) from error
    return context


def days_left(cert_file: Path | None, now: datetime) -> int | None:
    """Whole days until a certificate of this device ends, below 0 where it has; None where there is none to read."""
    span = validity_of(cert_file) if cert_file else None
    if span is None:
        return None
    return int((span[1] - now).total_seconds() // _DAY_S)


def warning(cert_file: Path | None, now: datetime) -> str:
    """What to say of a certificate of this device; empty while it is good for long."""
    left = days_left(cert_file, now)
    if left is None or left > WARN_DAYS:
        return ""
    ends = f"has ended {-left} days ago" if left < 0 else f"ends in {left} days"
    return f"the certificate {cert_file} {ends}, the limit is {WARN_DAYS}; have a new one made"


def validity_of(cert_file: Path) -> tuple[datetime, datetime] | None:
    """From when to when the first certificate of a PEM file is good; None where there is none to read."""
    try:
        return validity(next(certificates_in(cert_file)))
    except (OSError, ValueError, StopIteration):
        return None


def certificates_in(path: Path) -> Iterator[bytes]:
    """Yield the certificates of a PEM file, DER, in its order: the device's own, then those of its issuers.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or one is none.
    """
    text = path.read_text("ascii", "replace")
    for one in _PEM.findall(text):
        yield ssl.PEM_cert_to_DER_cert(one)


def out_of_time(span: tuple[datetime, datetime], now: datetime, whose: str) -> str:
    """What to say of a certificate that is not good now; empty where it is."""
    start, end = span
    if now > end:
        return f"{whose} ended on {end:%Y-%m-%d}, and this machine's clock says {now:%Y-%m-%d}; have a new one made"
    if now < start:
        return (
            f"{whose} is good from {start:%Y-%m-%d %H:%M} UTC on, and this machine's clock says "
            f"{now:%Y-%m-%d %H:%M}; set the clock, or wait"
        )
    return ""


def not_after(der: bytes) -> datetime:
    """Read when a certificate ends.

    Raises
    ------
    ValueError
        It is none.
    """
    return validity(der)[1]


def validity(der: bytes) -> tuple[datetime, datetime]:
    """Read from when to when a certificate is good.

    Parameters
    ----------
    der
        The certificate, DER.

    Raises
    ------
    ValueError
        It is none.

    Notes
    -----
    RFC 5280, section 4.1: Certificate, TBSCertificate, then version (optional), serial number, algorithm, issuer and
    the two times of validity. The standard library reads a peer's certificate only.
    """
    try:
        rest = _inside(_inside(der, _SEQUENCE), _SEQUENCE)
        if rest[0] == _VERSION:
            rest = _after(rest)
        times = _inside(_after(_after(_after(rest))), _SEQUENCE)
        return _time(times), _time(_after(times))
    except IndexError as error:
        raise ValueError("the certificate ends too soon") from error


def _bounds(der: bytes) -> tuple[int, int]:
    """Where the content of the first element begins and ends."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    if len(der) < start + length:
        raise IndexError
    return start, start + length


def _inside(der: bytes, tag: int) -> bytes:
    if der[0] != tag:
        raise ValueError(f"no certificate: element {der[0]:#x} where {tag:#x} belongs")
    start, end = _bounds(der)
    return der[start:end]


def _after(der: bytes) -> bytes:
    return der[_bounds(der)[1] :]


def _time(der: bytes) -> datetime:
    if der[0] == _GENERAL_TIME:
        return _moment(_inside(der, _GENERAL_TIME).decode("ascii"))
    text = _inside(der, _UTC_TIME).decode("ascii")
    # RFC 5280, section 4.1.2.5.1: two digits below 50 are of this century.
    return _moment(("20" if text[:2] < "50" else "19") + text)


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
