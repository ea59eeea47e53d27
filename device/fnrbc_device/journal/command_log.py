"""Records of the log that no frame brings: who asked for what, and alarms. Written by the thread that speaks MQTT."""

from datetime import datetime
from typing import Final, Literal

from fnrbc_device.contract.log_records import AlarmRecord
from fnrbc_device.contract.replies import AuditRecord, RefusalCode
from fnrbc_device.contract.topics import LOG_ALARM, LOG_AUDIT
from fnrbc_device.host.clock import iso_utc
from fnrbc_device.journal.audit import standing_alarms
from fnrbc_device.journal.epochs import LogState, log_state
from fnrbc_device.journal.side_writer import MAX_TEXT, SideWriter

LOOK_BACK: Final = 1000
"""Records of commands read at the start: more than can be written in the minute that counts there."""


class CommandLog(SideWriter):
    """Writes audit and alarms into the journal's log."""

    def audit(
        self,
        user: str,
        verb: str,
        request: str,
        detail: str,
        code: RefusalCode = "",
        times: int = 1,
    ) -> int:
        """Write down a command, followed where ``code`` is empty; returns its ``seq``.

        Raises
        ------
        JournalError
            The disk refuses.
        """
        with self._transaction() as envelope:
            record = AuditRecord(
                **envelope,
                user=user[:MAX_TEXT],
                verb=verb[:MAX_TEXT],
                request=request,
                outcome="refused" if code else "accepted",
                code=code,
                detail=detail[:MAX_TEXT],
                times=times,
            )
            return self._tell(LOG_AUDIT, record, "command")

    def alarm(self, code: str, event: Literal["raised", "cleared"], detail: str) -> int:
        """Write down that an alarm was raised or cleared; returns its ``seq``.

        Raises
        ------
        JournalError
            The disk refuses.
        """
        with self._transaction() as envelope:
            record = AlarmRecord(**envelope, code=code, event=event, detail=detail[:MAX_TEXT])
            self._connection.execute("DELETE FROM alarms WHERE code = ?", (code,))
            if event == "raised":
                self._connection.execute("INSERT INTO alarms (code, detail) VALUES (?, ?)", (code, record.detail))
            note = {"sealed": {"alarms": standing_alarms(self._connection)}}
            return self._tell(LOG_ALARM, record, "alarm", note)

    def standing_alarms(self) -> dict[str, str]:
        """Codes and details of the alarms that were raised and not cleared, however long ago."""
        with self._errors():
            return standing_alarms(self._connection)

    def recent_requests(self, since: datetime) -> list[AuditRecord]:
        """Commands on record since a moment, oldest first, as far as they had an id."""
        with self._errors():
            rows = self._connection.execute(
                "SELECT payload FROM outbox WHERE topic = ? ORDER BY seq DESC LIMIT ?", (LOG_AUDIT, LOOK_BACK)
            ).fetchall()
        records = [AuditRecord.model_validate_json(payload) for (payload,) in reversed(rows)]
        return [one for one in records if one.request and one.ts >= iso_utc(since)]

    def log_state(self) -> LogState:
        """How far the journal's log reaches, and under which epoch."""
        with self._errors():
            return log_state(self._connection)
