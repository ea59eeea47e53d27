"""CSV that people open in a spreadsheet: what somebody wrote is shown there, never computed; figures are figures."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fnrbc_device.language import as_decimal, decimal_sign

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a text for a formula by (OWASP, "CSV Injection")."""

MARK: Final = "'"

BOM: Final = "\ufeff"
"""Without it Excel takes UTF-8 for the code page of its country."""


def guarded(text: str) -> str:
    """Put a mark before what could be taken for a formula, and before a mark, so that it can be taken off again."""
    return MARK + text if text.startswith((*FORMULA, MARK)) else text


def plain(cell: str) -> str:
    """Give a text as it was before ``guarded``."""
    return cell.removeprefix(MARK)


def for_spreadsheet(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Write a table that a double click opens, in a spreadsheet of the language that is spoken.

    Where people write a decimal comma, spreadsheets take ``;`` between columns: a table for one language is none for
    another, and programs read the plain CSV.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, delimiter=";" if decimal_sign() == "," else ",", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return (BOM + text.getvalue()).encode()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return as_decimal(str(value))
    return guarded(value) if isinstance(value, str) else value
