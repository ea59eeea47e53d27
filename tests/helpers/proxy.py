"""A TCP proxy that behaves like a bad network: it passes, stalls, cuts in the middle of a packet, and resets."""

import contextlib
import random
import selectors
import socket
import struct
import threading
from typing import Final

CHUNK: Final = 4096


class BadNetwork:
    """Stands between clients and a broker on loopback.

    Parameters
    ----------
    port
        Of the broker. It may come and go.
    seed
        Of where packets are cut.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._target = port
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._peer: dict[socket.socket, socket.socket] = {}
        self._stalled = False
        self._cut = False
        self._ended = False
        self._orders = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="bad-network", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stall(self) -> None:
        """Hold everything back; connections stay open."""
        self._stalled = True

    def flow(self) -> None:
        self._stalled = False

    def cut(self) -> None:
        """End every connection in the middle of the next packet."""
        self._cut = True

    def reset(self) -> None:
        """End every connection with a reset."""
        with self._orders:
            for one in list(self._peer):
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._drop_all()

    def close(self) -> None:
        self._ended = True
        self._thread.join(5)
        self._drop_all()
        self._selector.close()
        self._listener.close()

    def _run(self) -> None:
        while not self._ended:
            ready = self._selector.select(0.05)
            if self._stalled:
                threading.Event().wait(0.02)
                continue
            with self._orders:
                for key, _ in ready:
                    self._serve(key.fileobj)  # type: ignore[arg-type]  # only sockets are registered

    def _serve(self, one: socket.socket) -> None:
        if one is self._listener:
            self._accept()
        elif one in self._peer:
            self._pass_on(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            broker = socket.create_connection(("127.0.0.1", self._target), 1)
        except OSError:
            client.close()
            return
        for one, other in ((client, broker), (broker, client)):
            one.settimeout(1)
            self._peer[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(CHUNK)
            if not data:
                self._drop(one)
            elif self._cut and len(data) > 1:
                self._peer[one].sendall(data[: self._random.randrange(1, len(data))])
                self._cut = False
                self._drop_all()
            else:
                self._peer[one].sendall(data)
        except OSError:
            self._drop(one)

    def _drop_all(self) -> None:
        for one in list(self._peer):
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._peer.get(one)):
            if end is not None and end in self._peer:
                del self._peer[end]
                self._selector.unregister(end)
                end.close()
