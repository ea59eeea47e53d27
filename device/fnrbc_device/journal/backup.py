"""A copy of the record, made while the device counts, and put back in its place under a new epoch."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.host.atomic_file import sync_folder
from fnrbc_device.host.clock import Clock
from fnrbc_device.journal.epochs import TOLD_NAME, EpochWriter, LogState
from fnrbc_device.journal.proof import Proof, prove
from fnrbc_device.journal.read_only import bring_to_disk, reading
from fnrbc_device.journal.schema import JOURNAL_NAME
from fnrbc_device.journal.specimen import KEY_NAME
from fnrbc_device.journal.sqlite_errors import journal_error

_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back."""

    proof: Proof
    log: LogState
    aside: list[Path]
    """Where what lay there before lies now."""


def back_up(state_dir: Path, out: Path) -> Proof:
    """Copy the record and its key into a new folder, and prove the copy; the device may count meanwhile.

    Parameters
    ----------
    out
        A new or an empty folder. Only its owner may read what is put there: specimens stand in it in plain words.

    Raises
    ------
    UsageError
        The folder holds something already.
    JournalError
        There is no journal, it cannot be copied, or the copy is not whole; no journal is then left there.
    """
    journal, target = state_dir / JOURNAL_NAME, out / JOURNAL_NAME
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there and not empty; name a new folder, for no backup is written over another")
    if not journal.is_file():
        raise JournalError(f"{journal} does not exist; there is nothing to back up")
    with _disk_errors(out):
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = target.with_name(JOURNAL_NAME + _PART)
        try:
            _copy_database(journal, part)
            proof = prove(part)
            if proof.fault:
                raise JournalError(f"the copy of {journal} is not whole: {proof.fault}; see `fnrbc verify {state_dir}`")
            if (state_dir / KEY_NAME).exists():
                _copy_file(state_dir / KEY_NAME, out / KEY_NAME)
            part.rename(target)
        finally:
            _remove(part)
        sync_folder(out)
    return proof


def restore(backup: Path, state_dir: Path, device: str, clock: Clock) -> Restored:
    """Put a backup in the place of the record. The caller holds the state folder.

    The backup is proved, copied beside the record and given its new epoch there; only then it takes the record's place,
    in one step. What was there before is kept under another name.

    Parameters
    ----------
    backup
        A folder that ``back_up`` made, or a journal's file.

    Raises
    ------
    JournalError
        There is no journal, it is not whole, or the disk refuses; the record is then as it was.
    """
    source = backup / JOURNAL_NAME if backup.is_dir() else backup
    fault = prove(source).fault
    if fault:
        raise JournalError(f"the backup {source} is not whole: {fault}; take an earlier one")
    journal = state_dir / JOURNAL_NAME
    part = state_dir / f"{JOURNAL_NAME}{_PART}"
    with _disk_errors(state_dir):
        _remove(part)
        _copy_database(source, part)
        with closing(EpochWriter(part, device, clock)) as writer:
            log = writer.begin(f"a backup with the last record {writer.state().last_seq} was restored")
        _fold(part)
        proof = prove(part)
        if proof.fault:
            raise JournalError(f"the copy of {source} is not whole: {proof.fault}; see the disk of {state_dir}")
        aside = _set_aside(state_dir, journal, clock.utc())
        part.replace(journal)
        (state_dir / TOLD_NAME).unlink(missing_ok=True)
        aside += _bring_key(source.parent, state_dir, clock.utc())
        sync_folder(state_dir)
    return Restored(proof, log, aside)


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's own backup, in one step: the file as it is at one moment, its write-ahead file included."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.close(descriptor)
    with reading(source) as connection, closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)
    bring_to_disk(source)
    _fold(target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _fold(path: Path) -> None:
    """Make a database that nobody else uses one file, which can be read without files beside it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE").fetchall()


def _set_aside(state_dir: Path, journal: Path, now: datetime) -> list[Path]:
    """Give what is there a second name, and take its write-ahead file away, which would be read into the new one."""
    if not journal.exists():
        return []
    aside = _aside_name(journal, now)
    os.link(journal, aside)
    for end in ("-wal", "-shm"):
        beside = journal.with_name(JOURNAL_NAME + end)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + end))
    sync_folder(state_dir)
    return [aside]


def _bring_key(source: Path, state_dir: Path, now: datetime) -> list[Path]:
    """The key of the backup, under which its specimens left as hashes; another that is there is kept aside."""
    brought, here = source / KEY_NAME, state_dir / KEY_NAME
    if not brought.exists() or (here.exists() and here.read_bytes() == brought.read_bytes()):
        return []
    aside = [here.rename(_aside_name(here, now))] if here.exists() else []
    _copy_file(brought, here)
    return aside


def _aside_name(path: Path, now: datetime) -> Path:
    return path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z")


def _copy_file(source: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, source.open("rb") as content:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise journal_error(folder / JOURNAL_NAME, error) from error
