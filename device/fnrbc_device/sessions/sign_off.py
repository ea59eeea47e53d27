"""Signs a session off: from then on nothing of it changes, and the record says by whom, when and what was open."""

from types import TracebackType

from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.topics import LOG_AUDIT
from fnrbc_device.errors import ReviewError
from fnrbc_device.journal.audit import anchor
from fnrbc_device.journal.side_writer import MAX_TEXT, SideWriter
from fnrbc_device.sessions.reviews import require_open
from fnrbc_device.sessions.verified_count import verified_tally


class SignOff(SideWriter):
    """Writes sign-offs, over a connection of its own, bound to the thread that made it."""

    def sign(self, session: str, signer: str) -> int:
        """Sign a session off; returns the ``seq`` of the record. One transaction, and a link of the audit.

        Parameters
        ----------
        session
            That has ended.
        signer
            Who answers for it.

        Raises
        ------
        ReviewError
            There is no such session, it still runs, or it was signed off already.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            require_open(self._connection, session)
            self._require_ended(session)
            verified = verified_tally(self._connection, session)
            open_words = f"{verified.reviewed} of {verified.candidates} candidates reviewed"
            name = signer[:MAX_TEXT]
            self._connection.execute(
                "UPDATE sessions SET signed_utc = ?, signed_by = ? WHERE session = ?", (envelope["ts"], name, session)
            )
            record = AuditRecord(
                **envelope, user=name, verb="sign", request="", outcome="accepted", code="", detail=open_words,
                **anchor(self._connection),
            )
            # The link itself says who: it may outlive the session's row, and what it covers must not.
            note = {"signed_by": name, "candidates": verified.candidates, "reviewed": verified.reviewed}
            return self._tell(LOG_AUDIT, record, "signed", note)

    def __enter__(self) -> "SignOff":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_ended(self, session: str) -> None:
        (ended,) = self._connection.execute("SELECT ended_utc FROM sessions WHERE session = ?", (session,)).fetchone()
        if ended is None:
            raise ReviewError(f"session {session} is not ended; end it before it is signed off")
