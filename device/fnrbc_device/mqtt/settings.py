"""What the configuration says about MQTT."""

import hashlib
import ipaddress
import socket
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from fnrbc_device.contract.names import SEGMENT_PATTERN
from fnrbc_device.errors import ConfigError
from fnrbc_device.host.text_file import text_of

MACHINE_ID: Final = Path("/etc/machine-id")

MAX_PASSWORD_BYTES: Final = 4096
"""A password file longer than this is some other file."""

_MAX_FILE_BYTES: Final = 4 * (MAX_PASSWORD_BYTES + 1)
"""So many are read: no encoding takes more for a letter."""

Segment = Annotated[str, StringConstraints(pattern=SEGMENT_PATTERN)]


class MqttSettings(BaseModel):
    """How to reach the broker, and who to be there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    """False: count without a broker; the outbox keeps what would have been sent."""
    ca_file: Path | None = None
    """Certificate of the authority that signed the broker's; with it TLS is spoken, and nothing else."""
    cert_file: Path | None = None
    """This device's certificate, where the broker wants one."""
    key_file: Path | None = None
    host: Annotated[str, StringConstraints(min_length=1, max_length=253)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    site: Segment = "lab"
    device: Segment = "fnrbc"
    """Unique within the site: two devices of one name would throw each other out."""
    username: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    password_file: Path | None = None
    """A file that holds the password alone, so that no password stands in the configuration."""
    keepalive_s: Annotated[int, Field(ge=5, le=600)] = 15
    """The broker says ``offline`` for us when it has heard nothing for 1.5 times as long."""
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """So long a record that the broker took can be replayed."""
    keep_mb: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Above this size the oldest of these go sooner. What waits for the broker always stays."""

    thumbnails: bool = False
    """Send small pictures of candidates: they leave the device."""
    home_assistant: bool = False
    """Tell Home Assistant, at the same broker, of this device and its sensors."""

    @field_validator("key_file")
    @classmethod
    def _key_goes_with_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key is not None and None in (info.data.get("cert_file"), info.data.get("ca_file")):
            raise ValueError("key_file needs ca_file and cert_file beside it; give all three")
        return key

    @field_validator("host")
    @classmethod
    def _plain_text_stays_here(cls, host: str, info: ValidationInfo) -> str:
        if info.data.get("ca_file") is None and not _is_loopback(host):
            raise ValueError("plain text is spoken on loopback only; set ca_file to speak TLS with this broker")
        return host

    def password(self) -> str | None:
        """Read the password; None where there is none.

        Raises
        ------
        ConfigError
            The file cannot be read, is empty or far too long.
        """
        if self.password_file is None:
            return None
        try:
            secret = _typed(self.password_file)
        except OSError as error:
            raise ConfigError(
                f"password_file {self.password_file} cannot be read ({error.strerror}); "
                "give its path and let the daemon's user read it"
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"password_file {self.password_file} is no text ({error}); write the password alone into it"
            ) from error
        if not 0 < len(secret.encode()) <= MAX_PASSWORD_BYTES:
            raise ConfigError(
                f"password_file {self.password_file} has {len(secret.encode())} bytes, not 1 to {MAX_PASSWORD_BYTES}; "
                "write the password alone into it"
            )
        return secret

    def client_id(self) -> str:
        """Name this client: product, device and a trace of site and machine, the same at every start.

        A second machine with the same device name is another client: both stay connected and their records
        differ in ``epoch``. The same machine twice is one client, and the broker says so by a takeover.
        """
        trace = hashlib.sha256(f"{self.site}/{self.device}/".encode() + _machine()).hexdigest()
        return f"fnrbc-{self.device}-{trace[:8]}"


def _typed(path: Path) -> str:
    """The password in a file, whatever editor wrote it: without the line's end, which is none of it."""
    with path.open("rb") as file:
        return text_of(file.read(_MAX_FILE_BYTES)).strip(" \t\r\n\v\f")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _machine() -> bytes:
    """Something that stays with this machine. Hashed before it is shown: the id itself is private."""
    try:
        return MACHINE_ID.read_bytes().strip()
    except OSError:
        return socket.gethostname().encode()
