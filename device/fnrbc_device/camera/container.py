"""What a video file says of itself before a picture is decoded: whether it is whole, and how many frames it shows.

Read are MP4 and MOV (ISO/IEC 14496-12), AVI (RIFF) and Matroska (RFC 9559), whatever the name ends in. A damaged
file gives no more than a fault in words.
"""

import bisect
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from pathlib import Path
from typing import BinaryIO, Final

MAX_INDEX_BYTES: Final = 256 * 1024 * 1024
"""An MP4's index takes about 20 bytes a frame: of a recording of a hundred hours at 30 frames/s this much."""

_MP4_FIRST: Final = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
_MATROSKA: Final = b"\x1a\x45\xdf\xa3"
_MATROSKA_SEGMENT: Final = b"\x18\x53\x80\x67"
_HOLDERS: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
_EMPTY_EDIT: Final = -1


@dataclass(frozen=True, slots=True)
class Video:
    """What a container says."""

    fault: str = ""
    """Why it is not whole, and what to do, to follow the file's name; empty where it is, or is of no such kind."""
    frames: int | None = None
    """How many frames it shows, by an index that says so exactly; None where it has none."""


def look_at_video(path: Path) -> Video:
    """Read what a video file says of itself.

    Raises
    ------
    OSError
        It cannot be read.
    """
    size = path.stat().st_size
    if not size:
        return Video("is empty (0 bytes); copy it again")
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in _MP4_FIRST:
            return _mp4(file, size)
        if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            return _avi(int.from_bytes(start[4:8], "little"), size)
        if start[:4] == _MATROSKA:
            return _matroska(file, size)
    return Video()


def _cut_off(size: int, wanted: int) -> Video:
    return Video(f"is cut off: {size} of {wanted} bytes are there; copy it again")


def _never_ended(missing: str) -> Video:
    return Video(
        f"was never ended: {missing}, which a recorder writes last, is missing; end the recording before the "
        "recorder is switched off, or have the file repaired"
    )


def _avi(said: int, size: int) -> Video:
    if said in (0, 0xFFFFFFFF):
        return _never_ended("its length")
    # One of more than 1 GB goes on behind its first part, so that only a shorter file tells.
    return _cut_off(size, said + 8) if said + 8 > size else Video()


def _matroska(file: BinaryIO, size: int) -> Video:
    file.seek(0)
    head = file.read(4096)
    at = head.find(_MATROSKA_SEGMENT)
    if at < 0 or at + 12 > len(head):
        return Video()
    first = head[at + 4]
    width = 9 - first.bit_length()
    length = int.from_bytes(head[at + 4 : at + 4 + width], "big") & ((1 << 7 * width) - 1)
    if not first or length == (1 << 7 * width) - 1:
        return Video()  # recorded as a stream: nobody said how long it would be
    wanted = at + 4 + width + length
    return _cut_off(size, wanted) if wanted > size else Video()


def _mp4(file: BinaryIO, size: int) -> Video:
    index: bytes | None = None
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        skip = 16 if length == 1 else 8
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or size - at
        if length < skip:
            return Video(f"is damaged: its part {kind!r} at byte {at} has no length; copy it again")
        if at + length > size:
            return _cut_off(size, at + length)
        if kind == b"moov" and length <= MAX_INDEX_BYTES:
            file.seek(at + skip)
            index = file.read(length - skip)
        at += length
    if index is None:
        return _never_ended("its index (moov)")
    try:
        return Video(frames=_frames_shown(index))
    except (struct.error, IndexError, ZeroDivisionError, KeyError):
        return Video()  # what it does not say right is left to the decoder


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each box, those of the boxes inside among them, in the file's order."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        skip = 8
        if length == 1:
            (length,), skip = struct.unpack_from(">Q", data, at + 8), 16
        length = length or len(data) - at
        if length < skip:
            return
        content = data[at + skip : at + length]
        yield kind, content
        if kind in _HOLDERS and kind != b"trak":
            yield from _boxes(content)
        at += length


def _frames_shown(index: bytes) -> int | None:
    """Frames of the first video track that its edit list shows: a trimmed file keeps more than that."""
    parts = list(_boxes(index))
    if any(kind == b"mvex" for kind, _ in parts):
        return None  # in fragments: the index counts none of their frames
    second = _timescale(dict(parts)[b"mvhd"])
    for kind, content in parts:
        # The first of a kind counts: QuickTime names a second handler, for where the data lies.
        track = dict(reversed(list(_boxes(content)))) if kind == b"trak" else {}
        if track.get(b"hdlr", b"")[8:12] == b"vide":
            return _shown(track, second)
    return None


def _shown(track: dict[bytes, bytes], second: int) -> int | None:
    if struct.unpack_from(">I", track[b"stsz"], 8)[0] > MAX_INDEX_BYTES // 4:
        return None
    times = _times(track)
    edits = [(time, duration) for duration, time in _edits(track.get(b"elst", b"")) if time != _EMPTY_EDIT]
    if not edits:
        return len(times)
    of_media = _timescale(track[b"mdhd"])
    spans = [(time, time + round(duration * of_media / second) if duration else None) for time, duration in edits]
    return sum(_within(times, start, end) for start, end in spans)


def _within(times: list[int], start: int, end: int | None) -> int:
    last = len(times) if end is None else bisect.bisect_left(times, end)
    return max(0, last - bisect.bisect_left(times, start))


def _times(track: dict[bytes, bytes]) -> list[int]:
    """When each frame is shown, in ascending order, in the track's own unit."""
    total = struct.unpack_from(">I", track[b"stsz"], 8)[0]
    lasts = _runs(track[b"stts"], "I", total)
    offsets = _runs(track[b"ctts"], "i", total) if b"ctts" in track else [0] * total
    return sorted(map(int.__add__, chain([0], accumulate(lasts)), offsets))


def _runs(table: bytes, kind: str, most: int) -> list[int]:
    """Values of a table of (how many, value), no more than there are frames."""
    (entries,) = struct.unpack_from(">I", table, 4)
    pairs = struct.iter_unpack(f">I{kind}", table[8 : 8 + 8 * entries])
    values: list[int] = []
    for number, value in pairs:
        values += repeat(value, min(number, most - len(values)))
    return values


def _edits(table: bytes) -> Iterator[tuple[int, int]]:
    """Yield how long, and from where in the track; units are the film's and the track's."""
    if not table:
        return
    form, step = (">Qq", 20) if table[0] == 1 else (">Ii", 12)
    for at in range(8, 8 + step * int.from_bytes(table[4:8], "big"), step):
        yield struct.unpack_from(form, table, at)


def _timescale(header: bytes) -> int:
    found: int = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]
    return found
