"""Alarms: raised and cleared once each, on record in the log and as a retained state."""

from collections.abc import Mapping
from typing import Final

from fnrbc_device.contract.states import AlarmNow
from fnrbc_device.contract.topics import ALARM
from fnrbc_device.host.clock import Clock, iso_utc
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.side_writer import MAX_TEXT
from fnrbc_device.mqtt.retained_states import RetainedStates

RECORDS_REFUSED: Final = "records_refused"
CERTIFICATE_EXPIRING: Final = "certificate_expiring"
BROKER_REFUSED: Final = "broker_refused"


class Alarms:
    """What is the matter now. Used by the thread that speaks MQTT; what stood at the last end is known again."""

    def __init__(self, command_log: CommandLog, states: RetainedStates, device: str, clock: Clock) -> None:
        self._command_log = command_log
        self._states = states
        self._device = device
        self._clock = clock
        self._standing = command_log.standing_alarms()
        for code, detail in self._standing.items():
            self._say(code, detail, command_log.log_state().last_seq)

    def set(self, code: str, detail: str) -> None:
        """Raise an alarm, or clear it where ``detail`` is empty. Said and written only where that is news.

        Raises
        ------
        JournalError
            It cannot be written down.
        """
        if bool(detail) == (code in self._standing):
            return
        if detail:
            seq = self._command_log.alarm(code, "raised", detail)
            self._standing[code] = detail
        else:
            seq = self._command_log.alarm(code, "cleared", "")
            del self._standing[code]
        self._say(code, detail, seq)

    def set_all(self, standing: Mapping[str, str], among: frozenset[str]) -> None:
        """Raise those of a group that stand, and clear the others.

        Raises
        ------
        JournalError
            It cannot be written down.
        """
        for code in sorted(among):
            self.set(code, standing.get(code, ""))

    def _say(self, code: str, detail: str, log_seq: int) -> None:
        now = AlarmNow(
            device=self._device,
            ts=iso_utc(self._clock.utc()),
            log_seq=log_seq,
            code=code,
            active=bool(detail),
            detail=detail[:MAX_TEXT],
        )
        self._states.put(f"{ALARM}/{code}", now)
