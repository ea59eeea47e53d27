"""The folder that a batch writes: for each source one folder, which appears in one step with its row in it.

A source is done when its folder is in its place: outputs and row were on the disk before. There is no other state.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fnrbc_device.batch.sources import Settings, Source
from fnrbc_device.errors import UsageError
from fnrbc_device.host.atomic_file import sync_folder, write_whole
from fnrbc_device.host.console import readable

State = Literal["complete", "incomplete", "failed"]

ROW: Final = "row.json"
WORK: Final = ".work"
"""What workers write into, in the batch's folder; nothing in it counts, and it is emptied at a start."""

FORMAT: Final = 1

_READABLE_MODE: Final = 0o644

_PLAIN: Final = re.compile(r"[^\w.+-]+")
_NAME_LENGTH: Final = 80
_DIGITS: Final = 8


class Row(BaseModel):
    """What became of one source, and what that rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    source: str
    specimen: str
    state: State
    error: str = ""
    """One sentence where the source failed or is incomplete."""
    fingerprint: str
    settings: Settings
    bundle: str
    version: str
    warnings: tuple[str, ...] = ()
    summary: dict[str, Any] | None = None
    """That of the source; None where nothing was counted."""

    def stale(self, source: Source, fingerprint: str, basis: "Basis") -> str:
        """Why it does not answer what is asked now, in words; empty where it does."""
        pairs = {
            "the source": (self.fingerprint, fingerprint),
            "the bundle": (self.bundle[:16], basis.bundle[:16]),
            "fnrbc": (self.version, basis.version),
            **{name: (getattr(self.settings, name), now) for name, now in source.settings},
        }
        changed = [
            f"{name} changed" + ("" if name == "the source" else f" ({was} \N{RIGHTWARDS ARROW} {now})")
            for name, (was, now) in pairs.items()
            if was != now
        ]
        return "; ".join(changed)


@dataclass(frozen=True, slots=True)
class Basis:
    """What all counts of a batch rest on."""

    bundle: str
    """Its id."""
    version: str
    """Of fnrbc."""


class BatchFolder:
    """The folder given as ``--out``. One process works in it at a time.

    Parameters
    ----------
    path
        Made by whoever holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.work = path / WORK

    def name_of(self, source: Source) -> str:
        """Name a source's folder: the same in every run, whatever other sources there are."""
        return folder_name(source.path)

    def path_of(self, source: Source) -> Path:
        """Where a source's folder lies, once it is done."""
        return self.path / self.name_of(source)

    def row_of(self, source: Source) -> Row | None:
        """What is known of a source; None where it was never finished, or cannot be read."""
        return read_row(self.path_of(source))

    def adopt(self, made: Path, source: Source) -> None:
        """Put what a worker made in its place, in one step; what an earlier count left there goes.

        Parameters
        ----------
        made
            A folder in ``work`` that is on the disk to its last byte, a row in it.
        """
        place = self.path_of(source)
        if place.exists():
            place.rename(self.work / f"old-{made.name}")
        made.rename(place)
        sync_folder(self.path)
        shutil.rmtree(self.work / f"old-{made.name}", ignore_errors=True)

    def note_failure(self, row: Row, source: Source) -> None:
        """Put a row in its place that no worker could write."""
        made = self.work / uuid.uuid4().hex
        made.mkdir(parents=True)
        seal(made, row)
        self.adopt(made, source)

    def rewrite(self, row: Row, source: Source) -> None:
        """Write a row again of which only words changed, such as the specimen's name."""
        write_whole(self.path_of(source) / ROW, _as_bytes(row), _READABLE_MODE)

    def empty_work(self) -> None:
        """Throw away what was begun and not finished."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)

    def remove_work(self) -> None:
        """Leave nothing but results."""
        shutil.rmtree(self.work, ignore_errors=True)


def folder_name(source: Path) -> str:
    """A name that people recognise, with what tells two of the same name apart."""
    plain = _PLAIN.sub("-", readable(source.name)).strip("-.")[:_NAME_LENGTH] or "source"
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:_DIGITS]
    return f"{plain}-{digest}"


def seal(made: Path, row: Row) -> None:
    """Write the row into a folder of finished outputs, and bring all of it to the disk."""
    for file in made.rglob("*"):
        _sync(file)
    write_whole(made / ROW, _as_bytes(row), _READABLE_MODE)
    sync_folder(made.parent)


def read_row(folder: Path) -> Row | None:
    """Read the row of a finished source; None where there is none."""
    try:
        return Row.model_validate_json((folder / ROW).read_bytes())
    except (OSError, ValidationError):
        return None


def rows_in(folder: Path) -> Iterator[tuple[str, Row]]:
    """All rows of a batch by their folders' names, in the order of these.

    Raises
    ------
    UsageError
        The folder cannot be read.
    """
    try:
        names = sorted(one.name for one in folder.iterdir() if (one / ROW).is_file())
    except OSError as error:
        raise UsageError(f"{folder} cannot be read ({error.strerror}); give the --out of a batch") from error
    for name in names:
        row = read_row(folder / name)
        if row is None:
            raise UsageError(f"{folder / name / ROW} is damaged; run that batch again, it counts this source again")
        yield name, row


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Put a JSON file in its place in one step."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode(), _READABLE_MODE)


def write_text(path: Path, text: str) -> None:
    """Put a text file in its place in one step."""
    write_whole(path, text.encode(), _READABLE_MODE)


def _as_bytes(row: Row) -> bytes:
    return (row.model_dump_json(indent=1) + "\n").encode()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
