"""A server that answers whatever bytes a test wants, and the certificates of a laboratory's own authority."""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address

import pytest

ACCEPTED, WRONG_VERSION, WRONG_LOGIN = bytes([0x20, 2, 0, 0]), bytes([0x20, 2, 0, 1]), bytes([0x20, 2, 0, 5])


@contextmanager
def server(answer, context=None):
    """Answer each connection's first words with what ``answer`` makes of them, then hang up."""
    ended = threading.Event()

    def serve(listener):
        while not ended.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(2)
                    spoken = context.wrap_socket(connection, server_side=True) if context else connection
                    with spoken:
                        if said := answer(spoken.recv(4096)):
                            spoken.sendall(said)
                        spoken.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join(10)


def level(packet):
    """The protocol's level in a CONNECT of MQTT."""
    return packet[packet.index(b"\0\4MQTT") + 6] if b"\0\4MQTT" in packet else 0


def welcome(said):
    return bytes([0x20, 3, 0, 0, 0])


def tls(path, key, ca=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path, key)
    if ca:
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)


class Authority:
    """Certificates of a laboratory's own authority, each for as long as a test wants."""

    def __init__(self, folder, start=NOW - 30 * DAY, end=NOW + 3650 * DAY):
        pytest.importorskip("cryptography", reason="cryptography is not installed")
        folder.mkdir(exist_ok=True)
        self.folder, self._name, self._key = folder, "Lab CA", None
        self.path, key = self._write("ca", start, end, [(x509().BasicConstraints(True, None), True)])
        self._key = load_key(key)

    def sign(self, name, alt=("localhost",), start=NOW - 20 * DAY, end=NOW + 30 * DAY):
        """A certificate and its key; for loopback where no name is given."""
        names = [x509().DNSName(one) for one in alt]
        names += [x509().IPAddress(ip_address("127.0.0.1"))] if alt == ("localhost",) else []
        return self._write(name, start, end, [(x509().SubjectAlternativeName(names), False)])

    def _write(self, name, start, end, extensions):
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        making = x509().CertificateBuilder(
            common_name(self._name), common_name(name if self._key else self._name), key.public_key(),
            x509().random_serial_number(), start, end,
        )  # fmt: skip
        for extension, critical in extensions:
            making = making.add_extension(extension, critical)
        certificate = making.sign(self._key or key, hashes.SHA256())
        path, key_path = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path, key_path


def x509():
    from cryptography import x509

    return x509


def common_name(words):
    return x509().Name([x509().NameAttribute(x509().NameOID.COMMON_NAME, words)])


def load_key(path):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(path.read_bytes(), None)
