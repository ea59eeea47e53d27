"""TLS of the page."""

import ssl
from pathlib import Path

from fnrbc_device.errors import ConfigError


def server_context(cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext | None:
    """Make the context of a server, TLS 1.2 and up; None where there is no certificate.

    Raises
    ------
    ConfigError
        Certificate and key cannot be read, or do not fit.
    """
    if cert_file is None and key_file is None:
        return None
    if cert_file is None or key_file is None:
        raise ConfigError(f"of certificate and key only {cert_file or key_file} is given; give both, or none")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # A password would be asked for on the terminal: an empty one makes a locked key an error.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the page's certificate {cert_file} and key {key_file} cannot be used ({error}); give PEM files that the "
            "daemon's user can read, the key fitting its certificate and without a password"
        ) from error
    return context
