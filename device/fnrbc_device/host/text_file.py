"""Text that people typed: with a byte order mark or without, in UTF-8, UTF-16, or what Windows wrote before it."""

import codecs
from pathlib import Path
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_WESTERN: Final = ("cp1252", "latin-1")
"""Of text that is not UTF-8, as Windows and older Linux write it in Western Europe; the second has every byte."""


def read_text(path: Path) -> str:
    """Read a text file that a person's editor or spreadsheet wrote.

    Raises
    ------
    OSError
        It cannot be read.
    ValueError
        It is no text: it breaks its own encoding, or holds characters that no one types.
    """
    return text_of(path.read_bytes())


def text_of(content: bytes) -> str:
    """Text of a file's bytes: by its byte order mark, else UTF-8, else Western European.

    Raises
    ------
    ValueError
        It is no text: it breaks its own encoding, or holds zero characters.
    """
    text = content.decode(_encoding(content))
    if "\0" in text:
        raise ValueError("it holds zero characters, as no text does; save it as text in UTF-8")
    return text


def _encoding(content: bytes) -> str:
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    if marked:
        return marked
    if zeros := content[:200].count(0):
        # ASCII letters in UTF-16 without a mark have a zero each, on one side.
        even = content[:200:2].count(0)
        return "utf-16-be" if even == zeros else "utf-16-le" if even == 0 else "utf-8"
    return next((encoding for encoding in ("utf-8", *_WESTERN) if _decodes(content, encoding)), "utf-8")


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
