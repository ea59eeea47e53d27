"""Manual counts of slides, from a CSV as people's spreadsheets write it."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.errors import UsageError
from fnrbc_device.host.text_file import read_text

COLUMNS: Final = "a column `session` or `specimen`, and a column `per_100`"
MOST_PER_100: Final = 100_000.0


@dataclass(frozen=True, slots=True)
class ManualCount:
    """One slide as a person counted it."""

    line: int
    """In the file, for a complaint."""
    name: str
    """Of the session, or of the specimen."""
    by: str
    """Which of the two: the column's name."""
    per_100: float
    """FNRBC per 100 leukocytes."""


def read_manual_counts(path: Path) -> list[ManualCount]:
    """Read a CSV with a header: commas or semicolons, decimal points or, with semicolons, decimal commas.

    Raises
    ------
    UsageError
        The file cannot be read, a column is missing, or a line is no count; nothing is left out.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); give a CSV with {COLUMNS}") from error
    delimiter = ";" if ";" in text.split("\n", 1)[0] else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    names = [str(name).strip().lower() for name in rows.fieldnames or ()]
    by = next((one for one in ("session", "specimen") if one in names), "")
    if not by or "per_100" not in names:
        raise UsageError(f"{path} has the columns {', '.join(names) or 'none'}; it needs {COLUMNS}")
    found = []
    for row in rows:
        fields = {str(name).strip().lower(): str(value or "").strip() for name, value in row.items()}
        if any(fields.values()):
            found.append(_read(path, rows.line_num, fields, by, delimiter))
    if not found:
        raise UsageError(f"{path} holds no count; give one line a slide")
    return found


def _read(path: Path, line: int, fields: dict[str, str], by: str, delimiter: str) -> ManualCount:
    written = fields["per_100"].replace(",", ".") if delimiter == ";" else fields["per_100"]
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST_PER_100:
        raise UsageError(f"{path}, line {line}: per_100 is {fields['per_100']!r}; give 0 to {MOST_PER_100:.0f}")
    if not fields[by]:
        raise UsageError(f"{path}, line {line}: no {by} is named; name one, or take the line out")
    return ManualCount(line, fields[by], by, value)
