"""What the libraries that decode pictures print of damage.

OpenCV gives a picture back whatever its decoder had to make up, and the decoder prints a line, no more: libjpeg on the
process's error output, FFmpeg on its output. These lines are the only sign that pixels were invented.
"""

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Final

FFMPEG_LEVEL: Final = "40"
"""``OPENCV_FFMPEG_LOGLEVEL`` at which FFmpeg prints what it made up, too."""

# OpenCV reads it once, at the first video that anybody opens or writes in this process.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = FFMPEG_LEVEL

_OUTPUTS: Final = (1, 2)
_LINES_OF_DECODERS: Final = re.compile(
    r"\[OPENCV:FFMPEG:(?P<level>-?\d+)\] (?P<ffmpeg>.*)"
    r"|\[[\w,/ ]+ @ 0x[0-9a-f]+\] (?P<plain>.*)"
    r"|(?P<jpeg>(?:Corrupt JPEG data|Premature end of JPEG|Invalid SOS|Inconsistent progression).*)"
    r"|(?P<png>libpng (?:warning|error):.*)"
    r"|(?: \(|Consider increasing the value for the 'analyzeduration').*"  # second lines of FFmpeg's
)
_ERROR: Final = 16
_TOLD_QUIETLY: Final = ("EOI missing", "Packet corrupt", "overread", "mjpeg_decode_dc", "concealing")
_HARMLESS: Final = re.compile(
    r"extraneous bytes before marker|co located POCs|mmco: |number of reference frames", re.IGNORECASE
)
"""Written of whole pictures too: cameras fill up the ends of JPEGs, and count reference frames in ways of their own."""

_one_at_a_time = RLock()  # outputs belong to the process: of two decodings at once one could hear the other's lines


@contextmanager
def damage_heard() -> Iterator[list[str]]:
    """Collect what decoders say of damage in the block; the list is filled when it is left.

    What anybody else printed meanwhile goes on to where it was meant for. Where an output is closed, nothing can be
    printed on it, and nothing is heard.
    """
    found: list[str] = []
    with _one_at_a_time:
        _flush()
        diverted = [output for output in _OUTPUTS if _is_open(output)]
        kept = {output: os.dup(output) for output in diverted}
        heard = {output: _store() for output in diverted}
        try:
            for output in diverted:
                os.dup2(heard[output], output)
            yield found
        finally:
            _flush()
            for output in diverted:
                os.dup2(kept[output], output)
                others = _sorted_out(_taken(heard[output]), found)
                with suppress(OSError):  # a full disk behind the output is told by whoever writes there
                    os.write(output, others)
                os.close(kept[output])
                os.close(heard[output])


def _sorted_out(text: bytes, found: list[str]) -> bytes:
    """Add the lines that tell of damage to ``found``; give back what no decoder wrote."""
    others = b""
    for line in text.splitlines(keepends=True):
        match = _LINES_OF_DECODERS.match(line.decode("utf-8", "replace").rstrip())
        if match is None:
            others += line
            continue
        words = match["ffmpeg"] or match["plain"] or match["jpeg"] or match["png"] or ""
        if _tells_of_damage(words, match["level"]):
            found.append(words)
    return others


def _tells_of_damage(words: str, level: str | None) -> bool:
    if not words or _HARMLESS.search(words):
        return False
    return level is None or int(level) <= _ERROR or words.startswith(_TOLD_QUIETLY)


def _is_open(output: int) -> bool:
    try:
        os.fstat(output)
    except OSError:
        return False
    return True


def _store() -> int:
    if sys.platform == "linux":
        return os.memfd_create("decoder's words", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _taken(store: int) -> bytes:
    length = os.lseek(store, 0, os.SEEK_END)
    return os.pread(store, length, 0)


_LIBC: Final = ctypes.CDLL(None) if os.name == "posix" else None


def _flush() -> None:
    """C's own buffers: what FFmpeg printed sits there until somebody asks for it."""
    if _LIBC is not None:
        _LIBC.fflush(None)
