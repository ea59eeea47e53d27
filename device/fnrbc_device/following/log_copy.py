"""The copy of one device's log: one CSV file an epoch, every record once, in order, without a gap; or as Parquet."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from fnrbc_device.errors import PublishError, UsageError
from fnrbc_device.following.columns import COLUMNS, Kind
from fnrbc_device.following.lines import cells, line, line_of, open_copy
from fnrbc_device.reporting.spreadsheet import MARK

MAX_AHEAD: Final = 20_000
"""Records kept that came before their turn: two replays' worth, some 20 MB. What is above is asked for again."""

MAX_AHEAD_CHARACTERS: Final = 64_000_000
"""The same where records are long."""

BLOCK_BYTES: Final = 64 * 2**20
"""That the table is read by; no line may be longer."""

_TYPES: Final[dict[Kind, str]] = {"integer": "int64", "number": "float64", "boolean": "bool", "string": "string"}

_EPOCH: Final = re.compile(r"[0-9a-f]{1,64}")


class LogCopy:
    """A copy on disk. What ``take`` has taken survives a kill; ``sync`` brings it through a loss of power.

    Parameters
    ----------
    folder
        Where the file lies, or will lie.
    device, epoch
        Whose log, and of which journal.

    Raises
    ------
    PublishError
        The epoch is none, or the file cannot be used.
    """

    def __init__(self, folder: Path, device: str, epoch: str) -> None:
        if not _EPOCH.fullmatch(epoch):
            raise PublishError(f"epoch {epoch[:64]!a} of {device} is not 1 to 64 of 0-9 and a-f; see what sends it")
        self.path = folder / f"{device}-{epoch}.csv"
        self.epoch = epoch
        self._ahead: dict[int, str] = {}
        self._ahead_characters = 0
        self._unsynced = False
        try:
            self._file, self._columns, self.last_seq = open_copy(self.path)
        except (OSError, ValueError) as error:
            raise PublishError(f"the copy {self.path} cannot be used ({error}); give another --out") from error

    @property
    def newest_seen(self) -> int:
        """The highest ``seq`` that came, in its turn or not."""
        return max(self._ahead, default=self.last_seq)

    def take(self, suffix: str, record: Mapping[str, Any]) -> bool:
        """Take a record in; False where it is there already.

        Parameters
        ----------
        suffix
            Its topic below the device's base, such as ``log/cell``.
        record
            Its fields, ``seq`` a whole number from 1 among them.

        Raises
        ------
        PublishError
            The disk refuses.
        """
        seq = int(record["seq"])
        if seq <= self.last_seq or seq in self._ahead:
            return False
        room = len(self._ahead) < MAX_AHEAD and self._ahead_characters < MAX_AHEAD_CHARACTERS
        if seq == self.last_seq + 1 or room:
            self._ahead[seq] = text = line(suffix, record, self._columns)
            self._ahead_characters += len(text)
        self._write_what_fits()
        return True

    def differs(self, suffix: str, record: Mapping[str, Any]) -> bool:
        """Whether another record is held under this number; the mark of a replay aside.

        Raises
        ------
        PublishError
            The copy cannot be read.
        """
        seq = int(record["seq"])
        try:
            held = self._ahead.get(seq) or line_of(self.path, seq)
        except (OSError, ValueError) as error:
            raise PublishError(f"the copy {self.path} cannot be read ({error}); give another --out") from error
        if held is None:
            return False
        replayed = self._columns.index("replayed")
        there, come = cells(held), cells(line(suffix, record, self._columns))
        return there[:replayed] + there[replayed + 1 :] != come[:replayed] + come[replayed + 1 :]

    def skip_to(self, seq: int) -> None:
        """Go on at ``seq``: what lies before it is kept nowhere any more."""
        self.last_seq = max(self.last_seq, seq - 1)
        for one in [one for one in self._ahead if one <= self.last_seq]:
            self._ahead_characters -= len(self._ahead.pop(one))
        self._write_what_fits()

    def sync(self) -> None:
        """Bring what was taken to the disk.

        Raises
        ------
        PublishError
            The disk refuses.
        """
        if self._unsynced:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._unwritten(error) from error
            self._unsynced = False

    def close(self) -> None:
        """Sync and close the file. Safe to call twice."""
        if not self._file.closed:
            try:
                self.sync()
            finally:
                self._file.close()

    def __enter__(self) -> "LogCopy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_what_fits(self) -> None:
        lines = []
        while text := self._ahead.pop(self.last_seq + 1, None):
            lines.append(text)
            self.last_seq += 1
        if not lines:
            return
        self._ahead_characters -= sum(map(len, lines))
        # JSON can name half a character, which is none in UTF-8: it stays readable as such.
        content = "".join(lines).encode(errors="backslashreplace")
        try:
            while content:  # a disk that is nearly full takes a part, and refuses the rest
                content = content[self._file.write(content) :]
        except OSError as error:
            raise self._unwritten(error) from error
        self._unsynced = True

    def _unwritten(self, error: OSError) -> PublishError:
        return PublishError(f"the copy {self.path} cannot be written ({error.strerror}); free some disk")


def require_parquet() -> None:
    """Refuse early where Parquet cannot be written.

    Raises
    ------
    UsageError
        The package pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError("--parquet needs the package pyarrow; run: pip install 'fnrbc[parquet]'") from error


def write_parquet(copy: Path) -> Path:
    """Write the Parquet beside a copy, whole or not at all; returns its path.

    Raises
    ------
    PublishError
        The copy cannot be read, or the disk refuses.
    """
    import pyarrow
    from pyarrow import csv, parquet

    target = copy.with_suffix(".parquet")
    part = target.with_suffix(".part")
    types = {name: pyarrow.type_for_alias(_TYPES[kind]) for name, kind in COLUMNS.items()}
    # Without types, an epoch such as 12e4 would be read as a number.
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    try:
        table = csv.read_csv(copy, read_options=csv.ReadOptions(block_size=BLOCK_BYTES), convert_options=options)
        parquet.write_table(_plain(table), part)
        part.replace(target)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise PublishError(f"{target} cannot be written ({error}); free some disk, or give another --out") from error
    return target


def _plain(table: Any) -> Any:
    """The table with its texts as they were told, without what guards a spreadsheet."""
    from pyarrow import compute

    for index, name in enumerate(table.column_names):
        if COLUMNS.get(name) == "string":
            table = table.set_column(index, name, compute.replace_substring_regex(table[name], f"^{MARK}", ""))
    return table


