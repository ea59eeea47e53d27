"""What the configuration says of who may use the pages, and which addresses only this machine has."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LoginPlace = Literal["network", "always"]


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """What the configuration says of it."""

    state_dir: Path | None = None
    """Holds the accounts and the key that signs; None: no accounts, and a key that is lost with the process."""
    login: LoginPlace = "network"
    """Whether this machine's own people log in too, or only who comes over the network."""
    names: tuple[str, ...] = ()
    """Under which others know this machine, beside its addresses."""
    cert_file: Path | None = None
    key_file: Path | None = None


def is_host(host: str) -> bool:
    """Whether a page can listen there: an address, or ``localhost``."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
