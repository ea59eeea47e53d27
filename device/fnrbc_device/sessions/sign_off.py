"""Signs a session off, and takes that back: the record says by whom, when, what was open and why."""

from types import TracebackType
from typing import Any

from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.results import ResultRecord, fallen
from fnrbc_device.contract.topics import LOG_AUDIT, LOG_RESULT
from fnrbc_device.errors import ReviewError
from fnrbc_device.journal.audit import anchor
from fnrbc_device.journal.results import enter_result, results_of
from fnrbc_device.journal.side_writer import MAX_TEXT, SideWriter
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.language import ENGLISH, N_, english, joined, speaking
from fnrbc_device.quality.controls import NOTHING_ASKED, ControlRules, Standing
from fnrbc_device.records import SessionKind
from fnrbc_device.sessions.archive import read
from fnrbc_device.sessions.controls import session_standing
from fnrbc_device.sessions.results import signed_record
from fnrbc_device.sessions.reviews import require_open, signed
from fnrbc_device.sessions.verified_count import VerifiedTally
from fnrbc_device.texts import UNDECIDED, undecided


def asked_why(kind: SessionKind, verified: VerifiedTally, control: Standing) -> str:
    """For what a reason is asked of who signs a session off, in words; empty where none is.

    Of a blank and of a control nobody need decide on the candidates: their counts are no results.
    """
    waiting = _waiting(kind, verified)
    words = [undecided(waiting, verified.candidates)] if waiting else []
    return "; ".join([*words, control.words] if control.needs_reason else words)


def _waiting(kind: SessionKind, verified: VerifiedTally) -> int:
    return verified.candidates - verified.reviewed if kind == "sample" else 0


class SignOff(SideWriter):
    """Writes sign-offs, over a connection of its own, bound to the thread that made it."""

    def sign(self, session: str, signer: str, controls: ControlRules = NOTHING_ASKED, reason: str = "") -> int:
        """Sign a session off; returns the ``seq`` of the record. One transaction, with the result that goes out.

        From then on nothing of the session changes, until somebody withdraws the sign-off.

        Parameters
        ----------
        session
            That has ended.
        signer
            Who answers for it.
        controls
            What the laboratory wants of its controls.
        reason
            Why the count stands although candidates are open or its control did not pass.

        Raises
        ------
        ReviewError
            There is no such session, it still runs, it was signed off already, or a reason is wanted and not given.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            require_open(self._connection, session)
            self._require_ended(session)
            control = session_standing(self._connection, session, controls)
            entry = read(self._connection, session)
            assert entry is not None
            verified = entry.verified
            with speaking(ENGLISH):  # the record and the laboratory are told in one language
                why = asked_why(entry.meta.kind, verified, control)
            if why and not reason:
                left = _waiting(entry.meta.kind, verified)
                open_ = [english(UNDECIDED, left=left, all=verified.candidates)] if left else []
                words = N_("%(why)s; say why the count stands for all that, and sign off with it")
                both = [*open_, control.words] if control.needs_reason else open_
                raise ReviewError(english(words, why=joined(both)))
            words = f"{verified.reviewed} of {verified.candidates} candidates reviewed"
            if why:
                words = f"{words}; {why}, signed off for all that: {reason}"
            name = signer[:MAX_TEXT]
            self._connection.execute(
                "UPDATE sessions SET signed_utc = ?, signed_by = ? WHERE session = ?", (envelope["ts"], name, session)
            )
            # The link itself says who: it may outlive the session's row, and what it covers must not.
            note: dict[str, Any] = {"signed_by": name, "candidates": verified.candidates, "reviewed": verified.reviewed}
            if control.state != "not_asked":
                note |= {"control": control.state, "control_words": control.words}
            if why:
                note |= {"why": why, "reason": reason}
            seq = self._tell(LOG_AUDIT, self._audit(envelope, name, "sign", words), "signed", note)
            self._tell_signed(session, envelope, reason if why else "")
            return seq

    def withdraw(self, session: str, who: str, reason: str) -> int:
        """Take a sign-off back; returns the ``seq`` of the record. The session can then be changed and signed again.

        Parameters
        ----------
        session
            That was signed off.
        who
            Takes it back.
        reason
            Why: it goes to the laboratory.

        Raises
        ------
        ReviewError
            There is no such session, it is not signed off, or no reason is given.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            if signed(self._connection, session) is None:
                raise ReviewError(
                    english("session %(session)s is not signed off; there is nothing to withdraw", session=session)
                )
            if not reason:
                words = english("a sign-off is withdrawn with a reason, which the laboratory gets; write one")
                raise ReviewError(words)
            known = self._standing_result(session, envelope)
            self._connection.execute(
                "UPDATE sessions SET signed_utc = NULL, signed_by = NULL WHERE session = ?", (session,)
            )
            name = who[:MAX_TEXT]
            note = {"withdrawn_by": name, "reason": reason}
            seq = self._tell(LOG_AUDIT, self._audit(envelope, name, "withdraw", reason), "withdrawn", note)
            why = {"withdrawn_by": name, "withdrawn": envelope["ts"], "withdrawn_reason": reason}
            self._tell_result(fallen(known, "withdrawn", _next(envelope), **anchor(self._connection), **why))
            return seq

    def __enter__(self) -> "SignOff":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_ended(self, session: str) -> None:
        (ended,) = self._connection.execute("SELECT ended_utc FROM sessions WHERE session = ?", (session,)).fetchone()
        if ended is None:
            raise ReviewError(
                english("session %(session)s is not ended; end it before it is signed off", session=session)
            )

    def _audit(self, envelope: dict[str, Any], who: str, verb: str, words: str) -> AuditRecord:
        return AuditRecord(
            **envelope, user=who, verb=verb, request="", outcome="accepted", code="", detail=words[:MAX_TEXT],
            **anchor(self._connection),
        )  # fmt: skip

    def _tell_signed(self, session: str, envelope: dict[str, Any], reason: str) -> None:
        """Tell the result, and before it that an earlier one of the session is superseded."""
        earlier = [one for one in results_of(self._connection, session) if one.event == "signed"]
        envelope = _next(envelope)
        if earlier:
            last = results_of(self._connection, session)[-1]
            self._tell_result(fallen(last, "superseded", envelope, **anchor(self._connection)))
            envelope = _next(envelope)
        self._tell_result(self._record(session, envelope, len(earlier) + 1, reason))

    def _tell_result(self, record: ResultRecord) -> None:
        enter_result(self._connection, record)
        self._tell(LOG_RESULT, record, "result")

    def _standing_result(self, session: str, envelope: dict[str, Any]) -> ResultRecord:
        """The result that stands; of a session that an older version signed off none was told, and it is made here."""
        known = results_of(self._connection, session)
        return known[-1] if known else self._record(session, envelope, 1, "")

    def _record(self, session: str, envelope: dict[str, Any], version: int, reason: str) -> ResultRecord:
        entry = read(self._connection, session)
        assert entry is not None
        specimen = specimen_hash(entry.meta.specimen, self._path.parent)
        return signed_record(entry, envelope, anchor(self._connection), version, specimen, reason)


def _next(envelope: dict[str, Any]) -> dict[str, Any]:
    """The envelope of the record after this one, within the same transaction."""
    return envelope | {"seq": envelope["seq"] + 1}
