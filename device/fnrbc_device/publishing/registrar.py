"""Records of the log that no frame brings: who asked for what, and alarms. Written by the thread that speaks MQTT."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from fnrbc_device.clock import Clock, iso_utc
from fnrbc_device.counting.audit import Kind, add_link
from fnrbc_device.counting.schema import journal_error, open_database, roll_back
from fnrbc_device.publishing.answers import AuditRecord, RefusalCode
from fnrbc_device.publishing.payloads import AlarmRecord, Record
from fnrbc_device.publishing.topics import LOG_ALARM, LOG_AUDIT

MAX_TEXT: Final = 256
"""Characters of a text in a message."""

LOOK_BACK: Final = 1000
"""Records of audit and of alarms read at the start: more than can be written in the minute that counts there."""


class Registrar:
    """Writes audit and alarms into the journal's log: each a transaction of its own, and a link of the audit's chain.

    A connection of its own, bound to the thread that made it. ``synchronous=FULL``: a record that was sent and then
    lost in a power cut would leave its number to another record, which consumers would drop.
    """

    def __init__(self, path: Path, device: str, clock: Clock) -> None:
        self._path = path
        self._device = device
        self._clock = clock
        self._connection = open_database(path)

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
            return self._tell(LOG_ALARM, record, "alarm")

    def standing_alarms(self) -> dict[str, str]:
        """Codes and details of the alarms that were raised last and not cleared."""
        standing: dict[str, str] = {}
        for record in self._newest(LOG_ALARM):
            one = AlarmRecord.model_validate_json(record)
            if one.event == "raised":
                standing[one.code] = one.detail
            else:
                standing.pop(one.code, None)
        return standing

    def recent_requests(self, since: datetime) -> list[AuditRecord]:
        """Commands on record since a moment, oldest first, as far as they had an id."""
        records = [AuditRecord.model_validate_json(one) for one in self._newest(LOG_AUDIT)]
        return [one for one in records if one.request and one.ts >= iso_utc(since)]

    def log_state(self) -> tuple[str, int]:
        """The journal's epoch, and ``seq`` of its last record."""
        with self._errors():
            epoch, last_seq = self._connection.execute("SELECT epoch, last_seq FROM journal").fetchone()
        return str(epoch), int(last_seq)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._connection.close()

    def _newest(self, topic: str) -> list[str]:
        with self._errors():
            rows = self._connection.execute(
                "SELECT payload FROM outbox WHERE topic = ? ORDER BY seq DESC LIMIT ?", (topic, LOOK_BACK)
            ).fetchall()
        return [payload for (payload,) in reversed(rows)]

    def _tell(self, topic: str, record: Record, kind: Kind) -> int:
        self._connection.execute(
            "INSERT INTO outbox (seq, topic, payload) VALUES (?, ?, ?)", (record.seq, topic, record.to_json())
        )
        self._connection.execute("UPDATE journal SET last_seq = ?", (record.seq,))
        add_link(self._connection, record.session, kind, (record.seq, record.seq), record.ts)
        return record.seq

    @contextmanager
    def _transaction(self) -> Iterator[dict[str, Any]]:
        """Hand out the envelope of the next record; it is written when the block ends, or not at all."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            epoch, last_seq = self._connection.execute("SELECT epoch, last_seq FROM journal").fetchone()
            running = self._connection.execute(
                "SELECT session FROM sessions WHERE ended_utc IS NULL ORDER BY started_utc DESC LIMIT 1"
            ).fetchone()
            yield {
                "device": self._device,
                "epoch": epoch,
                "seq": last_seq + 1,
                "ts": iso_utc(self._clock.utc()),
                "ts_sync": self._clock.synchronised(),
                "mono_ms": int(1000 * self._clock.monotonic_s()),
                "session": running[0] if running else "",
            }
            self._connection.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise journal_error(self._path, error) from error
        finally:
            roll_back(self._connection)
