"""A broker that comes with pip, for the demo and for trying things: rumqttd, through the package iotcore."""

import importlib.util
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from fnrbc_device.errors import PublishError, UsageError

LOOPBACK: Final = "127.0.0.1"

MAX_PAYLOAD_BYTES: Final = 64 * 1024
"""Our largest message, a thumbnail, has 20 kB."""

MAX_CLIENTS: Final = 64

START_TIMEOUT_S: Final = 10.0
"""It listened after 0.2 to 0.4 s on two busy cores; a laptop that scans every new process takes longer."""

STOP_TIMEOUT_S: Final = 5.0
"""Then it is killed: it keeps nothing that a slow end could save."""

PORT_TRIES: Final = 5
"""A port found free can be taken before the broker has it."""

_CONFIG: Final = """
id = 0
[router]
id = 0
max_connections = {clients}
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = {payload}
max_inflight_count = 100
dynamic_filters = true
"""
"""MQTT 5 on one listener and nothing else. Ten segments of 1 MiB a topic bound what it holds for the slow."""


class EmbeddedBroker:
    """An MQTT 5 broker on loopback, in a child process that dies with this one.

    Parameters
    ----------
    port
        0 for any free one.

    Raises
    ------
    UsageError
        The package iotcore is not installed.

    Notes
    -----
    Measured with iotcore 0.4.0 (rumqttd 0.20). It keeps retained messages and gives them to whoever
    subscribes later, replaces and clears them, honours the expiry of a message, sends the last will of a
    client that died, and passed 5000 messages at quality of service 1 in 2.0 s, in order.

    It does *not*: keep anything over a restart; keep a session for a client that left (a persistent session
    comes back empty, so messages sent meanwhile are missed); give a reason when it ends a connection (a
    takeover by the same client id, a message above its size); announce its limits at the connect; merge
    overlapping subscriptions (a message comes once for each); know users or access lists here. A product's
    broker is mosquitto.
    """

    def __init__(self, port: int = 0) -> None:
        if importlib.util.find_spec("iotcore") is None:
            raise UsageError(
                "the embedded broker needs the package iotcore, which is not installed; "
                "run: pip install 'fnrbc[desktop]'"
            )
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def host(self) -> str:
        """Where it listens."""
        return LOOPBACK

    @property
    def port(self) -> int:
        """Where it listens; the port stays the same when it is stopped and started again."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Number of the child process; None while it is stopped."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether the child process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker and wait until it listens.

        Raises
        ------
        PublishError
            The port is taken, or the broker does not come up.
        """
        if self.is_running:
            return
        self.stop()
        tries = 1 if self._port else PORT_TRIES
        for _ in range(tries):
            port = self._port or _free_port()
            if self._came_up(port):
                self._port = port
                return
            self.stop()
        raise PublishError(
            f"the embedded broker does not start on {LOOPBACK}:{port}, which something else may hold; "
            "choose another port"
        )

    def stop(self) -> None:
        """End the broker and free its port. Safe to call twice."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def __enter__(self) -> "EmbeddedBroker":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _came_up(self, port: int) -> bool:
        """Start the child process; whether it listens in time, which it does not on a port that is taken."""
        if _listens(port):
            return False
        self._folder = tempfile.TemporaryDirectory(prefix="fnrbc-broker-")
        config = Path(self._folder.name) / "rumqttd.toml"
        config.write_text(
            _CONFIG.format(host=LOOPBACK, port=port, clients=MAX_CLIENTS, payload=MAX_PAYLOAD_BYTES)
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(config)],
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            cwd=self._folder.name,
            start_new_session=True,  # Ctrl-C is for us: the last counts still have to go through the broker
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self.is_running and time.monotonic() < deadline_s:
            if _listens(port):
                return True
            time.sleep(0.02)
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)
    if process.stdin is not None:
        process.stdin.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _serve(config: str) -> None:
    """Be the child process: serve until the parent ends us or goes away."""
    from iotcore import IotCoreBroker

    # rumqttd tells every packet as an error of its tracing.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    IotCoreBroker(config_path=config).run_forever()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # run_forever has no other way out


if __name__ == "__main__":
    _serve(sys.argv[1])
