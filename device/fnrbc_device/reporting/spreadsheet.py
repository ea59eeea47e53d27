"""Text in a CSV that people open in a spreadsheet: what somebody wrote is shown there, never computed."""

from typing import Final

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a text for a formula by (OWASP, "CSV Injection")."""

MARK: Final = "'"


def guarded(text: str) -> str:
    """Put a mark before what could be taken for a formula, and before a mark, so that it can be taken off again."""
    return MARK + text if text.startswith((*FORMULA, MARK)) else text


def plain(cell: str) -> str:
    """Give a text as it was before ``guarded``."""
    return cell.removeprefix(MARK)
