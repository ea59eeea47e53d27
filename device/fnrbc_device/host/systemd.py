"""What the daemon tells systemd: ready, alive, busy starting, and a line for who looks.

The watchdog is fed when a frame was processed, not by a timer: a daemon whose counting stands still is started anew.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

EXTENSION_S: Final = 60.0
"""What a long start, such as building an engine, asks for again and again."""


class Notifier:
    """Speaks sd_notify's protocol; silent where nobody listens.

    Parameters
    ----------
    address
        Of the datagram socket: a path, or a name after ``@``; empty for nobody.
    watchdog_s
        How soon systemd wants to hear of the daemon; None where it does not watch.
    clock
        Monotonic, seconds.
    """

    def __init__(
        self, address: str = "", watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every_s = watchdog_s / 4 if watchdog_s else None
        self._clock = clock
        self._fed_s = float("-inf")
        self._status = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Notifier":
        """Make it from what systemd set; a watchdog that is meant for another process is not ours."""
        micros, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        watched = micros.isdigit() and int(micros) > 0 and pid in ("", str(os.getpid()))
        return cls(environment.get("NOTIFY_SOCKET", ""), int(micros) / 1e6 if watched else None)

    def ready(self) -> None:
        """Say that counting has begun."""
        self._send("READY=1")
        self.alive()

    def extend(self) -> None:
        """Say that the start goes on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(1e6 * EXTENSION_S)}")

    def alive(self) -> None:
        """Feed the watchdog, not more often than four times as often as it asks. Called for each processed frame."""
        now = self._clock()
        if self._every_s is not None and now - self._fed_s >= self._every_s:
            self._fed_s = now
            self._send("WATCHDOG=1")

    def status(self, words: str) -> None:
        """Say in a line how it goes, where that is news."""
        if words != self._status:
            self._status = words
            self._send(f"STATUS={words}")

    def stopping(self) -> None:
        """Say that the end was asked for."""
        self._send("STOPPING=1")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        # Whoever should listen may be gone; the daemon counts on.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(0.2)
            channel.sendto(words.encode(), self._address)
