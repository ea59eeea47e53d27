"""Tables as people type and save them: any usual separator, encoding and way to write a number.

What could mean two things is refused in a sentence.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.errors import UsageError
from fnrbc_device.host.text_file import read_text

Row = dict[str, str]

GROUPS: Final = ("group", "donor", "slide")
PART: Final = "part"

PLACES: Final = tuple(
    (f"{before}{row}{unit}", f"{before}{col}{unit}")
    for before in ("", "centroid_")
    for row, col in (("row", "col"), ("y", "x"))
    for unit in ("", "_px", "_um")
)
"""Columns that give the place, in the order row, col: px, or um where the name says so."""

KNOWN: Final = frozenset({PART, *GROUPS, *itertools.chain(*PLACES)})
"""Columns that are no reader's."""

SEPARATORS: Final = (",", ";", "\t", "|")
"""Of spreadsheets in English, in much of Europe, and of text that was copied out of one."""

_SEPARATOR_LINE: Final = re.compile(r"\ufeff?\"?sep=(.)\"?[,;\t|]*")
"""What spreadsheets write above a table for each other."""

_GROUPED: Final = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")
"""May be a thousand and more, or less than a thousand with three decimals."""

_GROUPED_WITH_POINT: Final = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+\.\d+")

_UNITS: Final = re.compile(r"[\s_]*[\[(]\s*|\s*[\])]|\s+")
"""Brackets round a unit, and spaces."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds."""

    separator: str
    columns: list[str]
    """As they are written, or by their plain name where they say the same otherwise: ``x [µm]`` is ``x_um``."""
    rows: list[tuple[int, Row]]
    """Lines with their numbers in the file; blank ones left out."""


def read_table(path: Path, wanted: str) -> Table:
    """Read a table with a heading.

    Parameters
    ----------
    path
        The file.
    wanted
        A column that it must have: by it the separator is known.

    Raises
    ------
    UsageError
        It cannot be read, lacks the column, names one twice, or a line has more values than the heading has names.
    """
    try:
        lines = io.StringIO(read_text(path), newline="").readlines()
        separator, first = _separator(lines, wanted)
        reader = csv.reader(lines[first:], delimiter=separator, skipinitialspace=True, strict=True)
        found = [(reader.line_num + first, [one.strip() for one in values]) for values in reader]
    except OSError as error:
        raise UsageError(f"{path} cannot be read as CSV ({error.strerror}); give an existing file") from None
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}); save it as CSV in UTF-8") from None
    filled = [(line, values) for line, values in found if any(values)]
    columns = _columns(path, filled[0][1] if filled else [], wanted)
    return Table(separator, columns, [(line, _row(path, line, columns, values)) for line, values in filled[1:]])


def decimal_of(table: Table, columns: Iterable[str]) -> str:
    """Say which sign the numbers of some columns have before their decimals: the point or the comma.

    Semicolons separate where the comma is in the numbers; and a comma that groups no thousands is a decimal one.
    """
    written = [row[column] for _, row in table.rows for column in columns]
    if any("." in one for one in written):
        return "."
    commas = [one for one in written if "," in one]
    return "," if commas and (table.separator == ";" or not all(map(_GROUPED.fullmatch, commas))) else "."


def number_of(written: str, decimal: str) -> float | None:
    """Read a number; None where it is none, or could be two: ``1,234`` may be 1234 or 1.234.

    Parameters
    ----------
    decimal
        ``.`` or ``,``.
    """
    if _GROUPED_WITH_POINT.fullmatch(written):
        written = written.replace(",", "")
    if decimal == ",":
        written = written.replace(",", ".", 1)
    if "_" in written:  # Python's own way to group digits is no spreadsheet's
        return None
    try:
        return float(written)
    except ValueError:
        return None


def _separator(lines: list[str], wanted: str) -> tuple[str, int]:
    """Give the separator, and the number of lines above the heading."""
    filled = next((number for number, line in enumerate(lines) if line.strip(" \t,;|\r\n")), 0)
    if lines and (stated := _SEPARATOR_LINE.fullmatch(lines[filled].strip("\r\n "))):
        return stated[1], filled + 1
    heading = lines[filled] if lines else ""
    fitting = [one for one in SEPARATORS if wanted in [_plain(_bare(name), wanted) for name in heading.split(one)]]
    # With one column alone every separator fits, and none is needed.
    return (max(fitting, key=heading.count) if fitting else max(SEPARATORS, key=heading.count)), filled


def _bare(name: str) -> str:
    return name.strip(' "\r\n\ufeff')


def _plain(name: str, wanted: str) -> str:
    """A heading that says a known thing otherwise, by its plain name; a reader's name stays as it is."""
    plain = _UNITS.sub("_", name.strip().casefold().replace("µ", "u").replace("μ", "u")).strip("_")
    return plain if plain == wanted or plain in KNOWN else name.strip()


def _columns(path: Path, heading: list[str], wanted: str) -> list[str]:
    columns = [_plain(name, wanted) for name in heading]
    while columns and not columns[-1]:  # a spreadsheet's empty columns to the right
        columns.pop()
    folded = [name.casefold() for name in columns]
    if twice := next((name for name in columns if name and folded.count(name.casefold()) > 1), None):
        raise UsageError(f"{path} has two columns named {twice!r}; rename one")
    if wanted not in columns:
        raise UsageError(f"{path} has the columns {', '.join(columns) or 'none'}; one named {wanted!r} is needed")
    return columns


def _row(path: Path, line: int, columns: list[str], values: list[str]) -> Row:
    if any(values[len(columns) :]):
        raise UsageError(
            f"{path} line {line} has {len(values)} values, the heading {len(columns)} names; a decimal comma in a "
            "comma-separated table does this: put such numbers in quotes, or separate with semicolons"
        )
    return dict(zip(columns, [*values, *[""] * (len(columns) - len(values))], strict=False))
