"""Starts a new epoch where the journal is older than the records that were already sent from it.

(device, epoch, seq) names a record for ever. Where a backup took the journal's place, the laboratory may hold higher
numbers than the journal knows; under the old epoch they would be given twice.
"""

import os
import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.topics import LOG_AUDIT
from fnrbc_device.host.clock import Clock
from fnrbc_device.journal.audit import anchor, sealed
from fnrbc_device.journal.side_writer import SideWriter

TOLD_NAME: Final = "journal.told"
"""File beside the journal: epoch and number of the last record that the broker acknowledged."""

_TOLD_BYTES: Final = 64
"""Always so many, written over in place: a full disk has room for it once it is there."""


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a journal's log reaches."""

    epoch: str
    first_seq: int
    """Of this epoch's first record."""
    epoch_before: str
    """Empty where there is none."""
    last_seq: int
    """0 before the first record."""


def log_state(connection: sqlite3.Connection) -> LogState:
    """Read how far the log reaches."""
    epoch, first_seq, before, last_seq = connection.execute(
        "SELECT epoch, first_seq, epoch_before, last_seq FROM journal"
    ).fetchone()
    return LogState(epoch, first_seq, before or "", last_seq)


def note_told(journal: Path, epoch: str, seq: int) -> None:
    """Remember beside the journal that a record was acknowledged; else one witness is missing."""
    with suppress(OSError):
        descriptor = os.open(journal.with_name(TOLD_NAME), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, f"{epoch} {seq}\n".ljust(_TOLD_BYTES).encode(), 0)
        finally:
            os.close(descriptor)


def last_told(journal: Path, epoch: str) -> int:
    """Number of the last record of an epoch that is known to be told; 0 where none is."""
    try:
        words = journal.with_name(TOLD_NAME).read_text().split()
        return int(words[1]) if words and words[0] == epoch else 0
    except (OSError, ValueError, IndexError):
        return 0


def require_own_numbers(path: Path, device: str, clock: Clock) -> None:
    """Begin a new epoch where the journal is older than what was told.

    Raises
    ------
    JournalError
        The journal cannot be written.
    """
    with closing(EpochWriter(path, device, clock)) as writer:
        state = writer.state()
        told = last_told(path, state.epoch)
        if told > state.last_seq:
            writer.begin(f"the journal ends at {state.last_seq}, but {told} was told: it is an older one")


class EpochWriter(SideWriter):
    """Begins epochs, over a connection of its own."""

    def state(self) -> LogState:
        """How far the log reaches."""
        with self._errors():
            return log_state(self._connection)

    def begin(self, why: str) -> LogState:
        """Go on under a new epoch; its first record, and a link of the audit, say why.

        Raises
        ------
        JournalError
            The disk refuses.
        """
        with self._transaction("") as envelope:
            before = log_state(self._connection)
            seq = before.last_seq + 1
            epoch = secrets.token_hex(8)
            carried = anchor(self._connection)
            self._connection.execute(
                "UPDATE journal SET epoch = ?, first_seq = ?, epoch_before = ?", (epoch, seq, before.epoch)
            )
            record = AuditRecord(
                **{**envelope, "epoch": epoch},
                user="device", verb="restore", request="", outcome="accepted", code="",
                detail=f"goes on after record {before.last_seq} of epoch {before.epoch}: {why}"[:256],
                **carried,
            )  # fmt: skip
            note = {"why": why, "sealed": sealed(self._connection)}
            self._tell(LOG_AUDIT, record, "restored", note)
        return self.state()
