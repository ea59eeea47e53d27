"""Compares a record with the laboratory's copy of it: what was cut off or written anew shows only there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.following.columns import OTHER
from fnrbc_device.following.lines import cells, line, records
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.witness import Witness

Message = tuple[int, str, dict[str, Any]]


@dataclass(slots=True)
class Agreement:
    """What a copy says of a record."""

    compared: int = 0
    """Records that are there and there, and the same."""
    not_kept: int = 0
    """Records of the copy that the device has let go of."""
    anchors: int = 0
    """Hashes of the chain that travelled with records and hold."""
    lost: list[int] = field(default_factory=list)
    """Numbers of records that were told and lost before a backup was brought back; the copy alone has them."""
    fault: str = ""
    """The first thing in which they differ, in one sentence; empty where they agree."""


def held_against(journal: Path, copy: Path) -> Agreement:
    """Hold a journal against a copy.

    Parameters
    ----------
    copy
        A folder that ``fnrbc follow`` writes to, or one of its CSV files.

    Raises
    ------
    UsageError
        There is no copy of this journal.
    JournalError
        The journal cannot be read.
    """
    agreement = Agreement()
    with reading(journal) as connection:
        witness = Witness(connection)
        files = [path for path in _files(copy) if _epoch(path) in witness.last_of_epoch]
        if not files:
            raise UsageError(
                f"{copy} holds no record of this journal, whose epoch is {witness.epoch}; give that of `fnrbc follow`"
            )
        for path in sorted(files, key=lambda one: witness.last_of_epoch[_epoch(one)]):
            agreement.fault = agreement.fault or _fault_of(witness, path, agreement)
    return agreement


def _files(copy: Path) -> list[Path]:
    found = sorted(copy.glob("*.csv")) if copy.is_dir() else [copy]
    if not copy.exists():
        raise UsageError(f"{copy} does not exist; give a folder or a file that `fnrbc follow` wrote")
    return found


def _epoch(path: Path) -> str:
    """Of the journal that a copy is of; empty where it holds no record, or is no copy."""
    try:
        return next((row["epoch"] for row in records(path)), "")
    except (OSError, ValueError):
        return ""


def _fault_of(witness: Witness, path: Path, agreement: Agreement) -> str:
    epoch = _epoch(path)
    last = witness.last_of_epoch[epoch]
    messages = witness.messages()
    message = next(messages, None)
    try:
        for row in records(path):
            seq = int(row["seq"])
            if seq > last and epoch == witness.epoch:
                return f"{path} holds record {seq}, but the journal ends at record {last}: the record was cut short"
            if seq > last:
                agreement.lost.append(seq)
                continue
            while message is not None and message[0] < seq:
                message = next(messages, None)
            fault = _record_fault(row, message, agreement) or _anchor_fault(witness, row, agreement)
            if fault:
                return f"{path}, record {seq}: {fault}"
    except (OSError, ValueError) as error:
        raise JournalError(f"{path} cannot be read as a copy of a log ({error}); give that of `follow`") from error
    return ""


def _record_fault(row: dict[str, str], message: Message | None, agreement: Agreement) -> str:
    if message is None or message[0] != int(row["seq"]):
        agreement.not_kept += 1
        return ""
    columns = list(row)
    here = dict(zip(columns, cells(line(message[1], message[2], columns)), strict=True))
    differing = [name for name in columns if name != "replayed" and here[name] != row[name]]
    if differing:
        name = differing[0]
        return f"{name} is {row[name]!r} there and {here[name]!r} in the journal"
    agreement.compared += 1
    return ""


def _anchor_fault(witness: Witness, row: dict[str, str], agreement: Agreement) -> str:
    for link, digest in _anchors(row):
        fault = witness.anchor_fault(link, digest)
        if fault:
            return fault
        agreement.anchors += 1
    return ""


def _anchors(row: dict[str, str]) -> Iterator[tuple[int, str]]:
    """The link and its hash that a record carries; a copy begun by an earlier version has them among other fields."""
    other = json.loads(row[OTHER]) if row[OTHER] else {}
    link = row.get("chain_link") or other.get("chain_link") or 0
    digest = row.get("chain_hash") or other.get("chain_hash") or ""
    if int(link) and digest:
        yield int(link), str(digest)
