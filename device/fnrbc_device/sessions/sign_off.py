"""Signs a session off: from then on nothing of it changes, and the record says by whom, when and what was open."""

from types import TracebackType
from typing import Any

from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.topics import LOG_AUDIT
from fnrbc_device.errors import ReviewError
from fnrbc_device.journal.audit import anchor
from fnrbc_device.journal.side_writer import MAX_TEXT, SideWriter
from fnrbc_device.quality.controls import NOTHING_ASKED, ControlRules
from fnrbc_device.sessions.controls import session_standing
from fnrbc_device.sessions.reviews import require_open
from fnrbc_device.sessions.verified_count import verified_tally


class SignOff(SideWriter):
    """Writes sign-offs, over a connection of its own, bound to the thread that made it."""

    def sign(self, session: str, signer: str, controls: ControlRules = NOTHING_ASKED, reason: str = "") -> int:
        """Sign a session off; returns the ``seq`` of the record. One transaction, and a link of the audit.

        Parameters
        ----------
        session
            That has ended.
        signer
            Who answers for it.
        controls
            What the laboratory wants of its controls.
        reason
            Why the count stands although its control did not pass.

        Raises
        ------
        ReviewError
            There is no such session, it still runs, it was signed off already, or its control did not pass and no
            reason is given.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            require_open(self._connection, session)
            self._require_ended(session)
            control = session_standing(self._connection, session, controls)
            if control.needs_reason and not reason:
                raise ReviewError(f"{control.words}; say why the count stands for all that, and sign off with it")
            verified = verified_tally(self._connection, session)
            words = f"{verified.reviewed} of {verified.candidates} candidates reviewed"
            if control.needs_reason:
                words = f"{words}; {control.words}, signed off for all that: {reason}"
            name = signer[:MAX_TEXT]
            self._connection.execute(
                "UPDATE sessions SET signed_utc = ?, signed_by = ? WHERE session = ?", (envelope["ts"], name, session)
            )
            record = AuditRecord(
                **envelope, user=name, verb="sign", request="", outcome="accepted", code="", detail=words[:MAX_TEXT],
                **anchor(self._connection),
            )
            # The link itself says who: it may outlive the session's row, and what it covers must not.
            note: dict[str, Any] = {"signed_by": name, "candidates": verified.candidates, "reviewed": verified.reviewed}
            if control.state != "not_asked":
                note |= {"control": control.state, "control_words": control.words, "reason": reason}
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
