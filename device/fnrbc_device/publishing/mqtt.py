"""The publisher: one thread that brings the log and the states to the broker, whatever becomes of it."""

import contextlib
import logging
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fnrbc_device.clock import Clock, SystemClock
from fnrbc_device.errors import FnrbcError, JournalError
from fnrbc_device.publishing.connection import Connection, drain
from fnrbc_device.publishing.conversation import Conversation
from fnrbc_device.publishing.outbox import Outbox
from fnrbc_device.publishing.payloads import State
from fnrbc_device.publishing.settings import MqttSettings
from fnrbc_device.publishing.states import StateBoard

RECONNECT_FIRST_S: Final = 1.0
RECONNECT_LAST_S: Final = 30.0
"""Between attempts, doubling: a broker that restarts is found soon, one that is gone costs nothing."""

LOOK_S: Final = 0.5
"""The outbox is looked at this often even when nobody wakes the thread: another process may have written."""

BACKLOG_S: Final = 2.0
"""While the broker is away, what waits is counted this often."""

GOODBYE_S: Final = 2.0
"""What is left of a stop for the broker's answers to the last messages."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """How the publishing stands."""

    connected: bool = False
    backlog: int = 0
    """Records of the log that wait."""
    acked: int = 0
    """Records taken by the broker since the start."""
    refused: int = 0
    """Records and states that the broker refused since the start. They are parked, not sent again."""
    connections: int = 0
    """How often the broker was reached since the start."""
    last_error: str = ""
    """The last trouble, in one sentence; it stays after it is over."""


class Publisher:
    """Sends what the journal holds and the newest states. Counting never waits for it.

    Parameters
    ----------
    journal_path
        The journal's file, which is there already.
    settings
        The broker, and who to be there.
    """

    def __init__(self, journal_path: Path, settings: MqttSettings, clock: Clock | None = None) -> None:
        self._journal_path = journal_path
        self._settings = settings
        self._clock = clock or SystemClock()
        self._states = StateBoard()
        self._status = PublisherStatus()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._flush_asked = 0
        self._flush_done = 0
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)

    @property
    def status(self) -> PublisherStatus:
        """A snapshot, of now."""
        return self._status

    def start(self) -> None:
        """Begin to send. Returns at once, with or without a broker.

        Raises
        ------
        JournalError
            The journal cannot be read.
        ConfigError
            The password cannot be read.
        """
        self._settings.password()
        outbox = Outbox(self._journal_path)
        self._note(backlog=outbox.backlog())
        outbox.close()
        self._thread.start()

    def set_state(self, topic_suffix: str, payload: State) -> None:
        """Set the newest value of a retained state, such as ``tally``. Returns at once.

        Raises
        ------
        PublishError
            No such state in the contract.
        """
        self._states.put(topic_suffix, payload)
        self.notify()

    def notify(self) -> None:
        """Say that the journal has something new. Returns at once; unsaid, it is found in half a second."""
        # A full buffer means that the thread has been woken already; a closed one, that it has stopped.
        with contextlib.suppress(OSError):
            self._wake_out.send(b"!")

    def flush(self, timeout_s: float) -> bool:
        """Wait until the broker has taken all that was recorded and set before this call.

        Returns
        -------
        bool
            False where time ran out or the publisher has stopped. Refused messages count as dealt with.
        """
        with self._changed:
            self._flush_asked += 1
            asked = self._flush_asked
            self.notify()
            self._changed.wait_for(
                lambda: self._flush_done >= asked or not self._thread.is_alive(), timeout_s
            )
            return self._flush_done >= asked

    def stop(self, timeout_s: float) -> bool:
        """Send the newest states, say ``offline`` and end the thread. Safe to call twice.

        Returns
        -------
        bool
            False where the thread has not ended in time; it dies with the process.
        """
        self._stopping.set()
        self.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        self._wake_in.close()
        self._wake_out.close()
        return True

    def _run(self) -> None:
        """Keep a connection up until told to stop."""
        try:
            while not self._stopping.is_set():
                self._keep_connected()
        finally:
            with self._changed:
                self._changed.notify_all()

    def _keep_connected(self) -> None:
        """Connect again and again, more and more slowly, as long as the outbox can be read."""
        try:
            with contextlib.closing(Outbox(self._journal_path)) as outbox:
                pause_s = 0.0
                while not self._rest(pause_s, outbox):
                    pause_s = self._converse(outbox, pause_s)
        except JournalError as error:
            self._trouble(str(error))
            self._stopping.wait(RECONNECT_LAST_S)

    def _rest(self, pause_s: float, outbox: Outbox) -> bool:
        """Wait between two attempts; True when it is time to stop."""
        until_s = time.monotonic() + pause_s
        while not self._stopping.is_set():
            self._note(backlog=outbox.backlog())
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            self._stopping.wait(min(left_s, BACKLOG_S))
        return True

    def _converse(self, outbox: Outbox, last_pause_s: float) -> float:
        """Connect, and send until the connection ends; returns how long to rest before the next attempt."""
        drain(self._wake_in)
        connection: Connection | None = None
        conversation: Conversation | None = None
        try:
            with Connection(self._settings, self._wake_in) as connection:
                connection.open(self._stopping.is_set)
                conversation = Conversation(connection, outbox, self._states, self._clock)
                self._note(connected=True, connections=self._status.connections + 1)
                self._serve(conversation)
        except JournalError:
            raise
        except FnrbcError as error:
            self._trouble(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next connection starts afresh
            _log.exception("the publisher met a defect")
            self._trouble(f"the publisher met a defect ({error!r}); it connects again: report this")
        finally:
            self._note(connected=False)
        if connection is not None and connection.taken_over:
            return RECONNECT_LAST_S  # else two daemons would throw each other out every second
        if conversation is not None and conversation.settled:
            return RECONNECT_FIRST_S  # slow or cut off each time, but it gets on
        return min(RECONNECT_LAST_S, max(RECONNECT_FIRST_S, 2 * last_pause_s))

    def _serve(self, conversation: Conversation) -> None:
        """Turn by turn: send what is due, note what was answered, tell who flushes."""
        counted_at_s = time.monotonic()
        while not self._stopping.is_set():
            asked = self._flush_asked
            idle = conversation.turn(LOOK_S, urgent=asked > self._flush_done)
            self._take_account(conversation)
            if idle or time.monotonic() - counted_at_s > LOOK_S:
                self._note(backlog=conversation.backlog())
                counted_at_s = time.monotonic()
            if idle and asked > self._flush_done:
                with self._changed:
                    self._flush_done = asked
                    self._changed.notify_all()
        conversation.say_goodbye(GOODBYE_S)
        self._take_account(conversation)
        self._note(backlog=conversation.backlog())

    def _take_account(self, conversation: Conversation) -> None:
        acked, refused, trouble = conversation.take_account()
        if acked or refused:
            self._note(acked=self._status.acked + acked, refused=self._status.refused + refused)
        if trouble:
            self._trouble(trouble)

    def _trouble(self, words: str) -> None:
        if words != self._status.last_error:
            _log.warning("%s", words)
        self._note(last_error=words)

    def _note(self, **changes: object) -> None:
        """Put a new snapshot in place of the old one. Only one thread at a time does."""
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]  # replace() types no mapping
