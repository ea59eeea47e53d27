"""Takes down what people say of a session after its start: specimen, operator and note, until it is signed off."""

import json
from types import TracebackType
from typing import Any

from fnrbc_device.contract.log_records import SessionRecord
from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.topics import LOG_AUDIT, LOG_SESSION
from fnrbc_device.journal.audit import anchor
from fnrbc_device.journal.details import DetailName, described
from fnrbc_device.journal.side_writer import MAX_TEXT, SideWriter
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.records import SessionMeta
from fnrbc_device.sessions.reviews import require_open


class Describing(SideWriter):
    """Writes what is said of a session, over a connection of its own, bound to the thread that made it."""

    def describe(self, session: str, who: str, **told: str) -> int:
        """Take down what holds from now on; returns the ``seq`` of the record, 0 where nothing is new.

        What was said before stays on record. The laboratory gets a hash in the specimen's place, and no note.

        Parameters
        ----------
        session
            Running or ended, and not signed off.
        who
            Says it.
        told
            ``specimen``, ``operator`` and ``note``, checked by ``specimen.written``; what is left out stays as it is.

        Raises
        ------
        ReviewError
            There is no such session, or it was signed off.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            require_open(self._connection, session)
            meta = self._meta(session)
            before: dict[DetailName, str] = {"specimen": meta.specimen, "operator": meta.operator, "note": meta.note}
            after = before | told
            changed = [name for name in before if after[name] != before[name]]
            if not changed:
                return 0
            name = who[:MAX_TEXT]
            self._tell(LOG_AUDIT, self._audit(envelope, name, ", ".join(changed)), "command")
            envelope = envelope | {"seq": envelope["seq"] + 1}
            self._connection.execute(
                "INSERT INTO details (seq, session, at_utc, who, specimen, operator, note)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (envelope["seq"], session, envelope["ts"], name, after["specimen"], after["operator"], after["note"]),
            )
            record = self._record(envelope, meta, after["specimen"])
            return self._tell(LOG_SESSION, record, "described", {"by": name, "changed": changed})

    def __enter__(self) -> "Describing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _meta(self, session: str) -> SessionMeta:
        (meta,) = self._connection.execute("SELECT meta FROM sessions WHERE session = ?", (session,)).fetchone()
        return described(self._connection, session, SessionMeta(**json.loads(meta)))

    def _audit(self, envelope: dict[str, Any], who: str, changed: str) -> AuditRecord:
        return AuditRecord(
            **envelope, user=who, verb="describe", request="", outcome="accepted", code="", detail=changed
        )

    def _record(self, envelope: dict[str, Any], meta: SessionMeta, specimen: str) -> SessionRecord:
        return SessionRecord(
            **envelope,
            event="described",
            software=meta.software,
            bundle=meta.bundle,
            source=meta.source[:MAX_TEXT],
            pixel_size_um=meta.pixel_size_um,
            specimen=specimen_hash(specimen, self._path.parent),
            kind=meta.kind,
            **anchor(self._connection),
        )
