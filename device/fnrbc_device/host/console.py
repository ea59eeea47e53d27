"""Standard output and error as a command uses them: neither a letter nor a full disk there ends the work.

What a console's character set lacks is escaped; what cannot be written is remembered and told at the end.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TextIO

ESCAPE: Final = "fnrbc_device.escape"
"""Name of the codec error handler: the bytes of a name that is no text as ``\\xfc``, other letters as ``\\u2192``."""

_STANDARD_ERROR: Final = 2

_FIRST_BYTE: Final = 0xDC00
_UNDECODED: Final = range(0xDC80, 0xDD00)
"""Python's stand-ins for bytes of a file name that are no text (PEP 383)."""


def readable(text: str) -> str:
    """Text that can be written anywhere as UTF-8: bytes of a file's name that are none are escaped."""
    return text.encode("utf-8", ESCAPE).decode("utf-8")


@dataclass(slots=True)
class Console:
    """What became of the output."""

    fault: OSError | None = None
    """Why a part of it was lost; None where all was written, or where its reader had enough."""


@contextmanager
def opened_console() -> Iterator[Console]:
    """Put standard output and error in such a form, and as they were at the end.

    Where they are no files, as in tests, they are left alone.
    """
    _take_standard_descriptors()
    before = sys.stdout, sys.stderr
    output, error = _Remembering.on(sys.stdout), _Remembering.on(sys.stderr)
    sys.stdout, sys.stderr = _text(output, sys.stdout), _text(error, sys.stderr)
    console = Console()
    try:
        yield console
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        console.fault = output.fault if output else None
        sys.stdout, sys.stderr = before


def _take_standard_descriptors() -> None:
    """Open what the caller closed: the next file opened would get its number, and be printed into by libraries."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(number)


class _Remembering(io.FileIO):
    """Takes all that is written; what the system does not take is lost, and the first reason kept."""

    fault: OSError | None = None

    @classmethod
    def on(cls, stream: TextIO | None) -> "_Remembering | None":
        """Over the same file as a stream; None where that has none."""
        try:
            return cls(stream.fileno(), "w", closefd=False) if stream else None
        except OSError:  # io.UnsupportedOperation among them
            return None

    def write(self, data: Any, /) -> int:
        """Write, or remember why not. The buffer above hands on bytes."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.fault = self.fault or error
            return memoryview(data).nbytes


def _text(raw: _Remembering | None, before: TextIO) -> TextIO:
    if raw is None:
        return before
    return io.TextIOWrapper(io.BufferedWriter(raw), before.encoding, ESCAPE, write_through=False, line_buffering=True)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


def _escape(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number - _FIRST_BYTE:02x}" if number in _UNDECODED else ascii(letter)[1:-1]


codecs.register_error(ESCAPE, _escaped)
