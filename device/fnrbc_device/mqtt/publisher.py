"""The publisher: one thread that brings the log and the states to the broker, whatever becomes of it."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from fnrbc_device.contract.homeassistant import DISCOVERY, discovery, discovery_topic
from fnrbc_device.contract.payloads import State
from fnrbc_device.contract.thumbnails import MAX_WAITING, Waiting, thumbnail
from fnrbc_device.contract.topics import Topics
from fnrbc_device.errors import BrokerRefusedError, ConfigError, FnrbcError, JournalError
from fnrbc_device.host.clock import Clock, SystemClock
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.mqtt import certificates
from fnrbc_device.mqtt.certificates import tls_context
from fnrbc_device.mqtt.connection import Connection
from fnrbc_device.mqtt.publisher_store import HOUSE_S, PublisherStore
from fnrbc_device.mqtt.retained_states import Late, RetainedStates
from fnrbc_device.mqtt.sender import Sender
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.mqtt.status import PublisherStatus
from fnrbc_device.mqtt.wakeup import Wakeup
from fnrbc_device.records import Image
from fnrbc_device.session_state import SessionControl

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


class Publisher:
    """Sends what the journal holds and the newest states. Counting never waits for it.

    Parameters
    ----------
    journal_path
        The journal's file, which is there already.
    settings
        The broker, and who to be there.
    control
        What commands change; without one, a session that is idle for ever.
    """

    def __init__(
        self,
        journal_path: Path,
        settings: MqttSettings,
        clock: Clock | None = None,
        control: SessionControl | None = None,
    ) -> None:
        self._journal_path = journal_path
        self._settings = settings
        self._clock = clock or SystemClock()
        self._control = control or SessionControl()
        self._reported: Mapping[str, str] = {}
        self._retry_at_s = float("-inf")
        self._states = RetainedStates()
        self._noted_seq = -1
        """Last record of the log that the states told of: a newer one waits to be sent, too."""
        self._thumbnails: Waiting = deque(maxlen=MAX_WAITING)
        self._status = PublisherStatus()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._flush_asked = 0
        self._flush_done = 0
        self._wake = Wakeup()
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
            The password or a certificate cannot be read.
        """
        self._settings.password()
        tls_context(self._settings)
        outbox = Outbox(self._journal_path)
        self._note(backlog=outbox.backlog())
        outbox.close()
        self._thread.start()

    def set_state(self, topic_suffix: str, payload: State | Late) -> None:
        """Set the newest value of a retained state, such as ``tally``. Returns at once.

        Raises
        ------
        PublishError
            No such state in the contract.
        """
        is_news = self._states.put(topic_suffix, payload)
        if is_news or payload.log_seq != self._noted_seq:
            self._noted_seq = payload.log_seq
            self.notify()

    def show(self, cell: int, crop: Image) -> None:
        """Send a picture of a candidate, where that is switched on. Returns at once; it may be dropped.

        Parameters
        ----------
        cell
            Its number in the session.
        crop
            (H, W, 3) RGB.
        """
        if self._settings.thumbnails and (picture := thumbnail(cell, crop)):
            self._thumbnails.append(picture)
            self.notify()

    def cert_days_left(self) -> int | None:
        """Whole days until our certificate ends; None where we have none."""
        return certificates.days_left(self._settings.cert_file, self._clock.utc())

    def report(self, alarms: Mapping[str, str]) -> None:
        """Say which of the device's alarms stand, each with what to do. Returns at once.

        Parameters
        ----------
        alarms
            By code, of ``health.ALARMS``. Those left out are cleared.
        """
        if alarms != self._reported:
            self._reported = dict(alarms)
            self.notify()

    def notify(self) -> None:
        """Say that the journal has something new. Returns at once; unsaid, it is found in half a second."""
        self._wake.touch()

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
            self._changed.wait_for(lambda: self._flush_done >= asked or not self._thread.is_alive(), timeout_s)
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
        self._wake.close()
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
            with contextlib.ExitStack() as stack:
                store = stack.enter_context(
                    PublisherStore(self._journal_path, self._settings, self._control, self._states, self._clock)
                )
                pause_s = 0.0
                while not self._rest(pause_s, store):
                    pause_s = self._converse(store, pause_s)
        except JournalError as error:
            self._trouble(str(error))
            self._stopping.wait(RECONNECT_LAST_S)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever it is
            self._defect(error)
            self._stopping.wait(RECONNECT_FIRST_S)

    def _rest(self, pause_s: float, store: PublisherStore) -> bool:
        """Wait between two attempts; True when it is time to stop."""
        until_s = time.monotonic() + pause_s
        while not self._stopping.is_set():
            self._note(backlog=store.outbox.backlog())
            store.keep_house(self._reported)
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return False
            self._stopping.wait(min(left_s, BACKLOG_S))
        return True

    def _converse(self, store: PublisherStore, last_pause_s: float) -> float:
        """Connect, and send until the connection ends; returns how long to rest before the next attempt."""
        self._wake.drain()
        connection: Connection | None = None
        sender: Sender | None = None
        try:
            with Connection(self._settings, self._wake) as connection:
                connection.open(self._stopping.is_set)
                store.broker_refuses("")
                sender = Sender(
                    connection, store.outbox, self._states, store.handler, self._clock, self._thumbnails
                )
                self._note(connected=True, connections=self._status.connections + 1)
                self._serve(sender, connection, store)
        except JournalError:
            raise
        except FnrbcError as error:
            self._trouble(str(error))
            if isinstance(error, (BrokerRefusedError, ConfigError)):
                store.broker_refuses(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next connection starts afresh
            self._defect(error)
        finally:
            self._note(connected=False)
        if connection is not None and connection.taken_over:
            return RECONNECT_LAST_S  # else two daemons would throw each other out every second
        if sender is not None and sender.settled:
            return RECONNECT_FIRST_S  # slow or cut off each time, but it gets on
        return min(RECONNECT_LAST_S, max(RECONNECT_FIRST_S, 2 * last_pause_s))

    def _serve(self, sender: Sender, connection: Connection, store: PublisherStore) -> None:
        """Turn by turn: send what is due, note what was answered, tell who flushes."""
        counted_at_s = time.monotonic()
        while not self._stopping.is_set():
            self._try_refused_again(sender, connection)
            asked = self._flush_asked
            store.keep_house(self._reported)  # first: who flushes wants the states that it brings, too
            idle = sender.turn(LOOK_S, urgent=asked > self._flush_done)
            self._take_account(sender, store)
            if idle or time.monotonic() - counted_at_s > LOOK_S:
                self._note(backlog=store.outbox.backlog())
                counted_at_s = time.monotonic()
            if idle and asked > self._flush_done:
                with self._changed:
                    self._flush_done = asked
                    self._changed.notify_all()
        sender.say_goodbye(GOODBYE_S)
        self._take_account(sender, store)
        self._note(backlog=store.outbox.backlog())

    def _take_account(self, sender: Sender, store: PublisherStore) -> None:
        account = sender.take_account()
        if account.acked or account.refused:
            self._note(acked=self._status.acked + account.acked, refused=self._status.refused + account.refused)
        if account.trouble:
            self._trouble(account.trouble)
            store.tell_refused()

    def _try_refused_again(self, sender: Sender, connection: Connection) -> None:
        """At the start, for the configuration may have changed, and then hourly: never at each connect, in a loop."""
        if time.monotonic() >= self._retry_at_s:
            self._retry_at_s = time.monotonic() + HOUSE_S
            sender.try_refused_again()
            if self._settings.home_assistant:  # may be refused as well
                topics = Topics(self._settings.site, self._settings.device)
                connection.publish_to(discovery_topic(topics), discovery(topics), DISCOVERY)

    def _defect(self, error: Exception) -> None:
        _log.exception("the publisher met a defect")
        self._trouble(f"the publisher met a defect ({error!r}); it connects again: report this")

    def _trouble(self, words: str) -> None:
        if words != self._status.last_error:
            _log.warning("%s", words)
        self._note(last_error=words)

    def _note(self, **changes: object) -> None:
        """Put a new snapshot in place of the old one. Only one thread at a time does."""
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]  # replace() types no mapping
