"""What is to be counted: paths, or a list of them that says for each how it is to be read."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.camera.stage_places import BY_PICTURES
from fnrbc_device.camera.stage_positions import Axes
from fnrbc_device.errors import CommandError, UsageError
from fnrbc_device.host.text_file import read_text
from fnrbc_device.journal.specimen import MAX_SPECIMEN, written
from fnrbc_device.model.bundle import first_error
from fnrbc_device.records import USUAL_SEEING, SeeingMethod, SessionKind
from fnrbc_device.vision.pixelsize import require_pixel_size

LISTS: Final = (".csv", ".txt")
"""Suffixes of what lists sources; no picture and no video has one of these."""

SOURCE: Final = "source"
SPECIMEN: Final = "specimen"


class Settings(BaseModel):
    """How one source is read: what ``fnrbc count`` takes as options, under the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: float | None = None
    """None where the files say it."""
    kind: SessionKind = "sample"
    seeing: SeeingMethod = USUAL_SEEING
    exchange_red_blue: bool = False
    allow_left_out: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    stage_axes: str = ""
    """Of a motorised stage."""

    def require_possible(self) -> None:
        """Refuse what no source can be read with.

        Raises
        ------
        UsageError
            The pixel size is no microscope's, or the axes are none.
        """
        if self.pixel_size_um is not None:
            require_pixel_size(self.pixel_size_um)
        if self.stage_axes not in ("", BY_PICTURES):
            Axes.of(self.stage_axes)


COLUMNS: Final = (SOURCE, SPECIMEN, *Settings.model_fields)
"""Of a CSV of sources; all but the first may be missing, and empty fields mean what the command line says."""

_NUMBERS: Final = ("pixel_size_um", "allow_left_out")


@dataclass(frozen=True, slots=True)
class Source:
    """One source: a row of the result."""

    path: Path
    """Absolute, links followed: one place has one name."""
    settings: Settings
    specimen: str = ""
    where: str = ""
    """The list and its line that name it; empty for the command line."""


def sources_of(given: Sequence[Path], usual: Settings) -> list[Source]:
    """Take what was given: each path is a source, but lists, which stand for what they name.

    Parameters
    ----------
    given
        Folders of frames, videos, slides, pictures; ``.txt`` with a path a line, ``.csv`` with ``COLUMNS``. A relative
        path in a list begins where the list lies.
    usual
        For what no list says otherwise.

    Returns
    -------
    list
        In the order given, each place once.

    Raises
    ------
    UsageError
        Nothing was given, a list cannot be read or says what cannot be, or one source is to be counted in two ways.
    """
    found = [source for path in given for source in _expanded(path, usual)]
    if not found:
        raise UsageError("no source was given; name folders, videos, slides, pictures, or a list of them (.txt, .csv)")
    _require_one_way_each(found)
    return list({source.path: source for source in reversed(found)}.values())[::-1]


def _require_one_way_each(found: Iterable[Source]) -> None:
    """Refuse one place with two settings; named twice with the same ones it is counted once."""
    for path, ways in Counter(one.path for one in {replace(one, where="") for one in found}).items():
        if ways > 1:
            raise UsageError(f"{path} is named {ways} times with other settings; name each source once")


def _expanded(path: Path, usual: Settings) -> list[Source]:
    if path.suffix.lower() not in LISTS or path.is_dir():
        return [Source(path.resolve(), usual)]
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"the list {path} cannot be read ({error}); give one path a line, or a CSV") from error
    read = _of_csv if path.suffix.lower() == ".csv" else _of_lines
    return list(read(path, text, usual))


def _of_lines(path: Path, text: str, usual: Settings) -> Iterator[Source]:
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        if name and not name.startswith("#"):
            yield Source(_place(path, name), usual, where=f"{path}, line {number}")


def _of_csv(path: Path, text: str, usual: Settings) -> Iterator[Source]:
    first = text.split("\n", 1)[0]
    delimiter = next((one for one in (";", "\t") if one in first), ",")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [str(name).strip().lower() for name in rows.fieldnames or ()]
    _require_columns(path, names)
    rows.fieldnames = names
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        if None in row:
            raise UsageError(f"{where}: it has more fields than the header; put a text with a {delimiter!r} in quotes")
        fields = {name: (value or "").strip() for name, value in row.items()}
        if any(fields.values()):
            yield _of_fields(path, fields, usual, where, comma=delimiter != ",")


def _require_columns(path: Path, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if SOURCE not in names or unknown or len(set(names)) < len(names):
        raise UsageError(
            f"{path} has the columns {', '.join(names) or 'none'}; it needs `{SOURCE}`, and may have "
            f"{', '.join(COLUMNS[1:])}, each once and no other"
        )


def _of_fields(path: Path, fields: dict[str, str], usual: Settings, where: str, *, comma: bool) -> Source:
    """One line of a CSV; ``comma`` where numbers may be written with a decimal comma."""
    said: dict[str, Any] = {name: text for name, text in fields.items() if name in Settings.model_fields and text}
    for name in _NUMBERS:
        if comma and name in said:
            said[name] = said[name].replace(",", ".")
    try:
        settings = Settings.model_validate({**usual.model_dump(), **said})
        settings.require_possible()
        specimen = written("specimen", fields.get(SPECIMEN, ""), MAX_SPECIMEN)
    except ValidationError as error:
        raise UsageError(f"{where}: {first_error(error)}; give another value, or leave it empty") from None
    except (UsageError, CommandError) as error:
        raise UsageError(f"{where}: {error}") from None
    if not fields[SOURCE]:
        raise UsageError(f"{where}: no {SOURCE} is named; name one, or take the line out")
    return Source(_place(path, fields[SOURCE]), settings, specimen, where)


def _place(listed_in: Path, name: str) -> Path:
    return (listed_in.parent / Path(name).expanduser()).resolve()
