"""Wakes a thread that waits for a socket: any thread touches it, the waiting one sees it readable."""

import contextlib
import socket


class Wakeup:
    """A pair of sockets of which one is touched and the other waited for."""

    def __init__(self) -> None:
        self.waited_for, self._touched = socket.socketpair()
        self.waited_for.setblocking(False)
        self._touched.setblocking(False)

    def touch(self) -> None:
        """Wake the waiting thread, now or when it waits next. Returns at once, from any thread."""
        # A full buffer means that it has been woken already; a closed one, that nobody waits any more.
        with contextlib.suppress(OSError):
            self._touched.send(b"!")

    def drain(self) -> None:
        """Forget all touches: many are one."""
        with contextlib.suppress(BlockingIOError):
            while self.waited_for.recv(4096):
                pass

    def close(self) -> None:
        """Close both. Safe to call twice."""
        self.waited_for.close()
        self._touched.close()
