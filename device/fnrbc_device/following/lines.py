"""The lines of a copied log: written, and found again by the number of their record."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from fnrbc_device.following.columns import COLUMNS, OTHER
from fnrbc_device.host.atomic_file import sync_folder
from fnrbc_device.reporting.spreadsheet import guarded

TAIL_BYTES: Final = 64 * 1024
"""Looked at first for the last whole line, then four times as much and so on: most lines have less than 8 kB."""

HEADING: Final = (",".join(COLUMNS) + "\n").encode()

MAX_HEADING: Final = 16 * 1024

_ALWAYS: Final = {"topic", "schema", "device", "epoch", "seq", "replayed", OTHER}
"""Columns that a copy has had since the first release."""

_FEW_BYTES: Final = 64 * 1024
"""Read through rather than halved once more."""

COPY_MODE: Final = 0o640
"""Of a copy that is made, whatever the umask: no patient's id is in it, and a group of the lab may read it."""


def open_copy(path: Path) -> tuple[io.FileIO, tuple[str, ...], int]:
    """Open for appending; gives the file, its columns, and the ``seq`` of its last line, 0 where there is none.

    A copy that an earlier version began goes on with its own columns: what it has none for is among the other fields.

    Raises
    ------
    ValueError
        The heading is not ours; the file is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.FileIO(path, "a+", opener=lambda name, flags: os.open(name, flags, COPY_MODE))
    try:
        columns = _columns(file)
        if columns is None:
            os.fchmod(file.fileno(), COPY_MODE)
            file.truncate(0)
            file.write(HEADING)
            os.fsync(file.fileno())
            sync_folder(path.parent)
            columns = tuple(COLUMNS)
        return file, columns, _last_seq(file, columns)
    except BaseException:
        file.close()
        raise


def line(suffix: str, record: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Write a record as a line with these columns."""
    fields = {"topic": suffix, **record}
    unknown = {name: value for name, value in fields.items() if name not in columns}
    fields[OTHER] = json.dumps(unknown) if unknown else None
    return _written(_cell(fields.get(name)) for name in columns)


def line_of(path: Path, seq: int) -> str | None:
    """The line of a record, found by halving: lines stand in the order of their numbers. None where there is none."""
    with path.open("rb") as file:
        columns = _heading(file.readline())
        low, high = file.tell(), file.seek(0, os.SEEK_END)
        while high - low > _FEW_BYTES:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline()
            start = file.tell()
            if start >= high:
                break
            if _seq_of(file.readline().decode(errors="replace"), columns) <= seq:
                low = start
            else:
                high = middle
        file.seek(low)
        while content := file.readline():
            text = content.decode(errors="replace")
            found = _seq_of(text, columns) if content.endswith(b"\n") else seq + 1
            if found >= seq:
                return text if found == seq else None
    return None


def records(path: Path) -> Iterator[dict[str, str]]:
    """Whole lines of a copy as columns and cells, in order.

    Raises
    ------
    ValueError
        It is no copy of a log.
    """
    with path.open("rb") as file:
        columns = _heading(file.readline(MAX_HEADING))
        while content := file.readline():
            if content.endswith(b"\n"):
                yield dict(zip(columns, cells(content.decode(errors="replace")), strict=True))


def cells(text: str) -> list[str]:
    """Cells of a line."""
    # Its own limit on a field's length is 128 kB.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    return next(csv.reader([text]))


def _columns(file: BinaryIO | io.FileIO) -> tuple[str, ...] | None:
    """Columns of a file; None for a new one, and for one that a kill left with half a heading."""
    file.seek(0)
    found = file.read(MAX_HEADING)
    first, end, _ = found.partition(b"\n")
    if not end and HEADING.startswith(found):
        return None
    return _heading(first + end)


def _heading(content: bytes) -> tuple[str, ...]:
    columns = tuple(content.decode(errors="replace").rstrip("\n").split(","))
    if not _ALWAYS.issubset(columns) or len(set(columns)) < len(columns):
        raise ValueError("its columns are those of other software")
    return columns


def _last_seq(file: io.FileIO, columns: Sequence[str]) -> int:
    """``seq`` of the last whole line, 0 where there is none; a line that a kill cut short is cut off."""
    found, end = _last_line(file, len(",".join(columns)) + 1)
    seq = _seq_of(found.decode(errors="replace"), columns) if found else 0
    file.truncate(end)
    return seq


def _last_line(file: io.FileIO, heading: int) -> tuple[bytes, int]:
    """The last whole line and where it ends; empty where none follows the heading."""
    size, length = file.seek(0, os.SEEK_END), TAIL_BYTES
    while True:
        start = max(heading, size - length)
        file.seek(start)
        tail = file.readall()
        end = tail.rfind(b"\n")
        before = tail.rfind(b"\n", 0, max(end, 0))
        if before >= 0 or start == heading:
            return tail[before + 1 : max(end, 0)], start + end + 1
        length *= 4


def _seq_of(text: str, columns: Sequence[str]) -> int:
    return int(cells(text)[columns.index("seq")])


def _written(values: Any) -> str:
    """One line of CSV: a line break within a text would end the line for whoever looks for the last one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bool, dict, list)):
        return json.dumps(value)
    if not isinstance(value, str):
        return str(value)
    return guarded(" ".join(value.replace("\0", "\ufffd").splitlines()))
