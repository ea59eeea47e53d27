"""``fnrbc verify``: proves the record of a device unbroken, or points at the first thing in it that was changed."""

from pathlib import Path

from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.following.copy_check import Agreement, held_against
from fnrbc_device.journal.proof import Proof, prove
from fnrbc_device.journal.read_only import knows_session
from fnrbc_device.journal.schema import JOURNAL_NAME
from fnrbc_device.journal.spans import Spans
from fnrbc_device.journal.witness import held_against_backup


def verify(target: str, state_dir: Path, against: Path | None = None) -> str:
    """Prove a record, and say so in a sentence or two.

    Parameters
    ----------
    target
        A state folder, a journal's file, or the name of a session in the state folder of this device.
    state_dir
        Of this device.
    against
        The laboratory's copy of the log, or an earlier backup, to hold the record against.

    Raises
    ------
    UsageError
        There is no such folder, file or session.
    JournalError
        The record is broken; the message names the first broken link.
    """
    path, session = _found(target, state_dir)
    proof = prove(path)
    if proof.fault:
        raise JournalError(
            f"the record {path} is not whole: {proof.fault}; keep this file, and bring the last backup back with "
            "`fnrbc restore BACKUP`"
        )
    about = f"session {session} is part of it; " if session else ""
    return _in_words(path, proof, about) + (f" {_held_against(path, against)}" if against else "")


def _held_against(path: Path, copy: Path) -> str:
    journal = copy / JOURNAL_NAME if copy.is_dir() else copy
    if journal.is_file() and journal.suffix != ".csv":
        link, fault = held_against_backup(path, journal)
        said = f"It goes on from {copy}, whose last link is {link}."
    else:
        agreement = held_against(path, copy)
        fault, said = agreement.fault, _agreement_in_words(copy, agreement)
    if fault:
        raise JournalError(
            f"the record {path} is not what {copy} says: {fault}; keep both, and find out which of them was changed"
        )
    return said


def _agreement_in_words(copy: Path, agreement: Agreement) -> str:
    words = (
        f"{copy} agrees: {agreement.compared} records are the same here and there, {agreement.anchors} hashes of the "
        f"chain that it holds are those of this record, {agreement.not_kept} of its records are no longer kept here."
    )
    if agreement.lost:
        words += (
            f" {len(agreement.lost)} records ({Spans(agreement.lost)}) were told and then lost, before a backup was "
            "brought back: that copy alone has them."
        )
    return words


def _found(target: str, state_dir: Path) -> tuple[Path, str]:
    """The journal that is meant, and the session if one was named."""
    path = Path(target)
    if path.is_dir():
        path = path / JOURNAL_NAME
    if path.is_file():
        return path, ""
    if path.name == JOURNAL_NAME or "/" in target:
        raise UsageError(f"{path} does not exist; give a state folder, its journal, or the name of a session")
    journal = state_dir / JOURNAL_NAME
    if not journal.is_file() or not knows_session(journal, target):
        raise UsageError(f"{target} is no folder, and no session in {journal}; give a state folder or a session's name")
    return journal, target


def _in_words(path: Path, proof: Proof, about: str) -> str:
    return (
        f"{path} is whole: {proof.links} links of {proof.sessions} sessions; {about}the last link is "
        f"{proof.last_hash}. Note that hash elsewhere: it proves later that nothing before it was rewritten."
        + (f" {proof.limits}" if proof.limits else "")
    )
