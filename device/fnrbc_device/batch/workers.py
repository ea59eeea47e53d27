"""The workers of a Dask cluster: reaching them, and holding them against this machine before they count anything."""

import ipaddress
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fnrbc_device.batch.counting import WorkerMismatchError, require_like
from fnrbc_device.batch.rows import Basis
from fnrbc_device.errors import ConfigError, FnrbcError, UsageError

# Imported where it is used: it takes half a second, and only batches have it.
if TYPE_CHECKING:
    from distributed import Client

CONNECT_S: Final = 5.0
"""One try to reach a scheduler; on loopback it takes a tenth of a second."""

PAUSE_S: Final = 0.5
"""Between two tries to reach a scheduler, or to find a worker there."""


class SchedulerError(FnrbcError):
    """The scheduler, or every worker, cannot be reached."""


class LostError(Exception):
    """The scheduler is gone, and with it what it knew; it may come back."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files that encrypt the way to a scheduler and prove who is who; each may be missing."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @property
    def given(self) -> bool:
        """Whether any of it is."""
        return any((self.ca, self.cert, self.key))


@contextmanager
def workers_at(address: str, tls: Tls, wait_s: float, stop: threading.Event) -> Iterator["Client"]:
    """Connect to a scheduler that runs already, waiting for it if it does not yet.

    Parameters
    ----------
    address
        Such as ``tcp://10.0.0.5:8786`` or ``tls://...``.
    tls
        For ``tls://``; what is not given there is taken from Dask's own configuration.
    wait_s
        How long it, and a first worker, is waited for.
    stop
        Ends the waiting.

    Raises
    ------
    LostError
        Nobody waits for it any more.
    SchedulerError
        It cannot be reached in time, or has no worker.
    UsageError
        The TLS files cannot be used.
    ConfigError
        Dask is not installed.
    """
    require_dask()
    client = _connected(address, tls, wait_s, stop)
    try:
        _wait_for_a_worker(client, address, wait_s, stop)
        yield client
    finally:
        # A scheduler that is gone answers no farewell.
        with suppress(Exception):
            client.close(timeout=CONNECT_S)


def threads_of(client: "Client") -> int:
    """How many sources can be counted at once now; 0 where no worker is there.

    Raises
    ------
    LostError
        Its scheduler does not answer.
    """
    with lost_if_silent():
        return sum(client.nthreads().values())


@contextmanager
def lost_if_silent() -> Iterator[None]:
    """Ask a scheduler something; that it does not answer, in whatever way Dask says so, is a ``LostError``.

    Raises
    ------
    LostError
        It does not.
    """
    try:
        yield
    except Exception as error:  # closed, cancelled, timed out, not sent: they share no narrower base
        raise LostError(str(error)) from error


def require_same_everywhere(client: "Client", basis: Basis, bundle: Path | None, out: Path) -> None:
    """Hold every worker against this machine before it counts anything.

    Raises
    ------
    WorkerMismatchError
        A worker lacks fnrbc, runs another version, sees another bundle, or does not see the batch's folder.
    LostError
        The scheduler does not answer.
    """
    token, said = out / "token", uuid.uuid4().hex
    token.write_text(said, encoding="ascii")
    with lost_if_silent():
        answers = client.run(_look, basis, bundle, token, said, on_error="return")
    token.unlink()
    for address, answer in sorted(answers.items()):
        if isinstance(answer, FnrbcError):
            raise answer
        if isinstance(answer, BaseException):
            raise unlike(address, answer)


def unlike(address: str, error: BaseException) -> WorkerMismatchError:
    """Say that a worker cannot even take an order."""
    return WorkerMismatchError(
        f"the worker {address} cannot run fnrbc batch ({type(error).__name__}: {error}); install this fnrbc and this "
        "distributed there"
    )


def require_dask() -> None:
    """Refuse to go on without Dask, and keep it quiet.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        import cryptography  # noqa: F401
        import distributed  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"fnrbc batch needs {error.name}, which is not installed; install fnrbc with its part `batch`: "
            "pip install 'fnrbc[batch]'"
        ) from None
    # What it logs of lost connections and killed workers is said here, in one sentence.
    for name in [one for one in logging.root.manager.loggerDict if one.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def require_address(address: str) -> None:
    """Refuse what is no address of a scheduler, before anything is asked there.

    Raises
    ------
    UsageError
        It is none.
    """
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("tcp", "tls") and bool(parts.hostname) and bool(parts.port) and not parts.path
    except ValueError:
        known = False
    if not known:
        raise UsageError(f"--scheduler {address} is no address; give tcp://HOST:PORT or tls://HOST:PORT")


def is_open_network(address: str) -> bool:
    """Whether orders to a scheduler cross a network for all to read and give."""
    parts = urlsplit(address)
    if parts.scheme == "tls" or parts.hostname is None:
        return False
    try:
        return not ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname != "localhost"


def _look(basis: Basis, bundle: Path | None, token: Path, said: str, dask_worker: Any = None) -> None:
    """Run on each worker, which Dask hands in under that name: raises what is wrong with it."""
    require_like(basis, bundle, dask_worker.address)
    try:
        seen = token.read_text(encoding="ascii")
    except OSError:
        seen = ""
    if seen != said:
        raise WorkerMismatchError(
            f"the worker {dask_worker.address} does not see {token.parent} as this machine does; sources and --out "
            "must lie on a disk that all of them have at the same path"
        )


def _connected(address: str, tls: Tls, wait_s: float, stop: threading.Event) -> "Client":
    from distributed import Client

    security = _security(address, tls)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return Client(address, security=security, timeout=CONNECT_S, set_as_default=False)
        except OSError as error:
            if time.monotonic() > deadline:
                raise SchedulerError(
                    f"no scheduler answers at {address} within {wait_s:.0f} s ({_short(error)}); start it, or wait "
                    "longer with --wait"
                ) from None
        if stop.wait(PAUSE_S):
            raise LostError


def _security(address: str, tls: Tls) -> Any:
    security = _asked_security(address, tls)
    try:
        usable = security.get_connection_args("client").get("ssl_context") is not None
    except (OSError, ValueError) as error:  # ssl.SSLError among them
        raise UsageError(f"the TLS files cannot be used ({error}); give PEM files that belong together") from error
    if address.startswith("tls://") and not usable:
        raise UsageError(
            f"{address} needs keys; give --tls-ca, --tls-cert and --tls-key, or set them in Dask's configuration"
        )
    return security


def _asked_security(address: str, tls: Tls) -> Any:
    from distributed import Security

    if not tls.given:
        return Security()
    if not address.startswith("tls://"):
        raise UsageError(f"--tls-ca, --tls-cert and --tls-key go with a tls:// address, not with {address}")
    for file in (tls.ca, tls.cert, tls.key):
        if file is not None and not file.is_file():
            raise UsageError(f"the TLS file {file} does not exist; give the PEM files that the cluster was made with")
    names = {"tls_ca_file": tls.ca, "tls_client_cert": tls.cert, "tls_client_key": tls.key}
    given = {name: str(file) for name, file in names.items() if file is not None}
    return Security(require_encryption=True, **given)


def _wait_for_a_worker(client: "Client", address: str, wait_s: float, stop: threading.Event) -> None:
    deadline = time.monotonic() + wait_s
    while not threads_of(client):
        if time.monotonic() > deadline:
            raise SchedulerError(
                f"the scheduler at {address} has had no worker for {wait_s:.0f} s; start one with "
                f"`dask worker {address}`, or wait longer with --wait"
            )
        if stop.wait(PAUSE_S):
            raise LostError


def _short(error: BaseException) -> str:
    """What it was in the end, such as ``Connection refused``."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words.split("\n", 1)[0][:200] or type(error).__name__
