"""What the publishing thread keeps while connections come and go: outbox, commands, alarms, and an hourly round."""

import contextlib
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final

from fnrbc_device.contract.results import result_now
from fnrbc_device.contract.topics import RESULT, Topics
from fnrbc_device.errors import JournalError
from fnrbc_device.health import ALARMS
from fnrbc_device.host.clock import Clock
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.mqtt import certificates
from fnrbc_device.mqtt.alarm_states import BROKER_REFUSED, CERTIFICATE_EXPIRING, RECORDS_REFUSED, Alarms
from fnrbc_device.mqtt.command_handler import CommandHandler
from fnrbc_device.mqtt.retained_states import RetainedStates
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.session_state import SessionControl

HOUSE_S: Final = 3600.0
"""By the contract, refused records are tried again hourly; old ones are let go in the same breath."""


class PublisherStore:
    """Opened and used by the publishing thread alone; its files are bound to that thread.

    Raises
    ------
    JournalError
        The journal cannot be used; so do all its methods.
    """

    def __init__(
        self, journal_path: Path, settings: MqttSettings, control: SessionControl, states: RetainedStates, clock: Clock
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._states = states
        self._result_seq = 0
        self._round_s = float("-inf")
        with ExitStack() as stack:
            self.outbox = stack.enter_context(closing(Outbox(journal_path, clock)))
            command_log = stack.enter_context(closing(CommandLog(journal_path, settings.device, clock)))
            topics = Topics(settings.site, settings.device)
            self.handler = CommandHandler(topics, control, command_log, self.outbox, clock)
            self._alarms = Alarms(command_log, states, settings.device, clock)
            self._files = stack.pop_all()

    def keep_house(self, reported: Mapping[str, str]) -> None:
        """Raise and clear alarms; each hour let go of what is past keeping.

        Parameters
        ----------
        reported
            The device's alarms that stand, with what to do about them.
        """
        self._alarms.set_all(reported, among=frozenset(ALARMS))
        self._show_result()
        now_s = time.monotonic()
        if now_s - self._round_s < HOUSE_S:
            return
        self._round_s = now_s
        now = self._clock.utc()
        self.outbox.prune(now - timedelta(days=self._settings.keep_days), self._settings.keep_mb * 1_000_000)
        self._alarms.set(CERTIFICATE_EXPIRING, certificates.warning(self._settings.cert_file, now))
        self.tell_refused()

    def _show_result(self) -> None:
        """Put the newest result on record into its retained state, whoever wrote it and before whatever restart."""
        last = self.outbox.last_result_seq()
        if last == self._result_seq:
            return
        if (newest := self.outbox.newest_result()) is not None:
            self._states.put(RESULT, result_now(newest))
        self._result_seq = last

    def tell_refused(self) -> None:
        """Raise an alarm while records are parked."""
        parked = self.outbox.count_refused()
        words = f"the broker refused {parked} records, which are kept; let this device write there in its access list"
        self._alarms.set(RECORDS_REFUSED, words if parked else "")

    def broker_refuses(self, words: str) -> None:
        """Raise an alarm that the broker wants nothing of us, or clear it with an empty text."""
        self._alarms.set(BROKER_REFUSED, words)

    def __enter__(self) -> "PublisherStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(JournalError):  # no more can be done for them
            self.handler.account(at_last=True)
        self._files.close()
