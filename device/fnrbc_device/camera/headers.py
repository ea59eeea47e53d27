"""What a picture file says of itself, read before a pixel of it is decoded.

A decoder returns some pixels for almost any file: of a negative, of the red page alone, of a print's four inks. So the
header decides first whether a file is read, how its samples become red, green and blue, and how many frames it holds.
What is not read is refused by name. TIFF, which can say most, has ``tiff_header`` for itself.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO, Final

from fnrbc_device.camera.stated_pixel_size import StatedPixelSize, from_density
from fnrbc_device.camera.tiff_header import TIFF_STARTS, tiff_about
from fnrbc_device.errors import SourceError

JPEG_START: Final = b"\xff\xd8"
PNG_START: Final = b"\x89PNG\r\n\x1a\n"
BMP_START: Final = b"BM"
HEAD_BYTES: Final = 32
"""Enough to tell any kind of file meant here."""

MOST_EXPANSION: Final = 1100
"""Bytes of pixels that a byte of a file can hold: deflate, the densest code of blank pictures, packs 1032 to 1."""
ALWAYS_ALLOWED_BYTES: Final = 64 * 1024**2
"""A picture up to this size is decoded whatever its file's size is."""

OTHER_KINDS: Final[tuple[tuple[int, bytes, str], ...]] = (
    (4, b"ftypheic", "HEIC"), (4, b"ftypheix", "HEIC"), (4, b"ftypmif1", "HEIF"), (4, b"ftypmsf1", "HEIF"),
    (4, b"ftyphevc", "HEIC"), (4, b"ftypavif", "AVIF"), (4, b"ftypcrx ", "Canon raw"), (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"), (4, b"jP  \r\n\x87\n", "JPEG 2000"), (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"), (4, b"JXL \r\n\x87\n", "JPEG XL"), (0, b"8BPS", "Photoshop"),
    (0, b"\xda\xce\xbe\x0a", "Nikon ND2"), (0, b"ZISRAWFILE", "Zeiss CZI"), (0, b"p\0\0\0", "Leica LIF"),
    (0, b"II\xbc", "JPEG XR"), (0, b"IIU\0", "Panasonic raw"), (0, b"IIRO", "Olympus raw"),
    (0, b"FUJIFILMCCD", "Fuji raw"),
    (0, b"%PDF", "PDF"), (128, b"DICM", "DICOM"), (0, b"\x76\x2f\x31\x01", "OpenEXR"), (0, b"SIMPLE  =", "FITS"),
)  # fmt: skip
"""(place, bytes there, name) of kinds of picture that are known and not read."""
VIDEO_STARTS: Final = (
    (8, b"AVI "), (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1aE\xdf\xa3"), (0, b"\0\0\x01\xba"),
)  # fmt: skip
"""AVI, the MP4 family, Matroska, MPEG."""

_JPEG_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_JPEG_READ: Final = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive, with Huffman codes: what cameras write."""
_JPEG_SCAN, _JPEG_END, _JPEG_APP0, _JPEG_APP1 = 0xDA, 0xD9, 0xE0, 0xE1
_EXIF_ORIENTATION: Final = 274
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_BMP_BITS: Final = (1, 4, 8, 16, 24, 32)
_BMP_PLAIN, _BMP_MASKS = (0, 1, 2), 3
_BMP_USUAL_MASKS: Final = {
    16: ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)), 32: ((0xFF0000, 0xFF00, 0xFF),),
}  # fmt: skip


class UnreadablePictureError(SourceError):
    """A file that should be a picture is missing, empty, cut off, damaged, or of a kind that is not read."""


@dataclass(frozen=True, slots=True)
class About:
    """What a picture file says of itself."""

    kind: str
    """JPEG, PNG, TIFF or BMP."""
    shapes: tuple[tuple[int, int], ...]
    """Height and width as stored, px: one pair a frame that the file holds."""
    bits: int
    """Of a sample, as stored: 1..16."""
    samples: int
    """Of a pixel, as stored."""
    orientation: int = 1
    """How the picture is to be turned to be upright: 1..8 as in EXIF, 1 is not at all."""
    pixel_size: StatedPixelSize | None = None
    """What a pixel spans on the slide; None where the file does not say, or says what no microscope has."""


def about_file(path: Path) -> About:
    """Read what a picture file says of itself.

    Raises
    ------
    UnreadablePictureError
        It cannot be opened, is no picture, or one that is not read: in one sentence, with its kind.
    """
    try:
        if not S_ISREG(path.stat().st_mode):
            raise UnreadablePictureError(f"{path.name} is no regular file; give a picture's file")
        with path.open("rb") as file:
            return about_picture(file, path.stat().st_size, path.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadablePictureError(f"{path.name} cannot be opened ({reason}); check the file") from error


def about_picture(file: BinaryIO, size: int, name: str) -> About:
    """Read what an open picture file of ``size`` bytes says of itself. Raises as ``about_file`` does."""
    start = file.read(HEAD_BYTES * 8)
    if not start:
        raise UnreadablePictureError(f"{name} is empty (0 bytes); copy it again, or leave it out")
    try:
        about = _by_kind(file, start, size)
    except ValueError as fault:
        raise UnreadablePictureError(f"{name} {fault}") from fault
    except (struct.error, IndexError):
        raise UnreadablePictureError(f"{name} is cut off after {size} bytes; copy it again, or leave it out") from None
    _require_possible(about, size, name)
    return about


def kind_of(path: Path) -> str:
    """Tell by its first bytes what a regular file is: ``picture``, ``video``, a kind's name, or nothing known."""
    try:
        with path.open("rb") as file:
            return kind_by_start(file.read(HEAD_BYTES * 8))
    except OSError:
        return ""


def kind_by_start(start: bytes) -> str:
    """``picture`` for one that is read, the name of a known kind that is not, ``video``, or empty."""
    if start.startswith((JPEG_START, PNG_START, *TIFF_STARTS)):
        return "picture"
    if start.startswith(BMP_START) and len(start) > 30 and int.from_bytes(start[14:18], "little") in (12, 40, 108, 124):
        return "picture"
    for place, mark, kind in OTHER_KINDS:
        if start[place : place + len(mark)] == mark:
            return kind
    return "video" if any(start[place : place + len(mark)] == mark for place, mark in VIDEO_STARTS) else ""


def _by_kind(file: BinaryIO, start: bytes, size: int) -> About:
    """Raises ``ValueError`` with the rest of a sentence that begins with the file's name."""
    if start.startswith(JPEG_START):
        return _jpeg(file)
    if start.startswith(PNG_START):
        return _png(file)
    if start.startswith(TIFF_STARTS):
        return About("TIFF", *tiff_about(file, size))
    if start.startswith(BMP_START):
        return _bmp(start, size)
    other = kind_by_start(start)
    if other and other != "video":
        raise ValueError(f"is {other}, which is not read; save it as PNG, JPEG or TIFF")
    raise ValueError(f"is no picture that can be read ({size} bytes); use PNG, JPEG, TIFF or BMP")


def _require_possible(about: About, size: int, name: str) -> None:
    """Refuse a header that promises more pixels than its file can hold, before memory is taken for them."""
    height, width = max(about.shapes)
    if min(height, width) == 0:
        raise UnreadablePictureError(f"{name} says to be {width}x{height} px; copy it again, or leave it out")
    stored = height * width * about.samples * about.bits // 8
    if stored > max(ALWAYS_ALLOWED_BYTES, MOST_EXPANSION * size):
        raise UnreadablePictureError(
            f"{name} says to be {width}x{height} px, more than its {size} bytes can hold; "
            "copy it again, or leave it out"
        )


def _jpeg(file: BinaryIO) -> About:
    orientation, pixel_size = 1, None
    file.seek(2)
    while (marker := _next_marker(file)) not in (_JPEG_SCAN, _JPEG_END):
        length = int.from_bytes(_take(file, 2), "big") - 2
        body = _take(file, max(length, 0))
        if marker in _JPEG_FRAMES:
            height, width, components = _jpeg_frame(marker, body)
            return About("JPEG", ((height, width),), 8, components, orientation, pixel_size)
        if marker == _JPEG_APP1 and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body[6:])
        elif marker == _JPEG_APP0 and body.startswith(b"JFIF\0") and len(body) >= 12:
            unit, per_x, per_y = struct.unpack(">BHH", body[7:12])
            pixel_size = from_density(per_x, per_y, {1: 25_400.0, 2: 10_000.0}.get(unit), "JFIF density")
    raise ValueError("is a JPEG without a picture; copy it again, or leave it out")


def _jpeg_frame(marker: int, body: bytes) -> tuple[int, int, int]:
    precision, height, width, components = struct.unpack(">BHHB", body[:6])
    if marker == 0xC3:
        raise ValueError("is a lossless JPEG, which is not read; save it as PNG or TIFF")
    if marker not in _JPEG_READ:
        raise ValueError(f"is a JPEG of a kind that is not read (frame {marker:#x}); save it as PNG or TIFF")
    if precision != 8:
        raise ValueError(f"is a JPEG of {precision} bits a sample, which is not read; save it as PNG or TIFF")
    if components == 4:
        raise ValueError("is a CMYK JPEG, made for print; save it as RGB")
    if components not in (1, 3):
        raise ValueError(f"is a JPEG of {components} components; save it as grey or RGB")
    return height, width, components


def _next_marker(file: BinaryIO) -> int:
    """The marker of the next segment; fill bytes before it are skipped."""
    if _take(file, 1) != b"\xff":
        raise ValueError("is a damaged JPEG; copy it again, or leave it out")
    marker = 0xFF
    while marker == 0xFF:
        marker = _take(file, 1)[0]
    return marker


def _take(file: BinaryIO, count: int) -> bytes:
    """Exactly ``count`` bytes. Raises ``IndexError`` where the file ends before."""
    taken = file.read(count)
    if len(taken) < count:
        raise IndexError
    return taken


def _exif_orientation(tiff: bytes) -> int:
    """The turn that the first directory of an EXIF block names; 1 where it names none that there is."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (at,) = struct.unpack(order + "I", tiff[4:8])
        (entries,) = struct.unpack(order + "H", tiff[at : at + 2])
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack(order + "HHIH", tiff[entry : entry + 10])
            if tag == _EXIF_ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass  # A torn note of how the camera was held says nothing; the picture itself may be whole.
    return 1


def _png(file: BinaryIO) -> About:
    file.seek(len(PNG_START))
    shape, bits, samples, orientation, pixel_size = None, 8, 1, 1, None
    while True:
        length, kind = struct.unpack(">I4s", _take(file, 8))
        if kind == b"IDAT" or kind == b"IEND":
            break
        body = _take(file, length + 4)
        if kind == b"IHDR":
            width, height, bits, colours = struct.unpack(">IIBB", body[:10])
            shape, samples = (height, width), _PNG_SAMPLES.get(colours, 0)
            if bits not in _PNG_DEPTHS.get(colours, ()):
                raise ValueError(f"is a PNG of {bits} bits and colour type {colours}, which there is not")
        elif kind == b"pHYs" and body[8] == 1:
            per_x, per_y = struct.unpack(">II", body[:8])
            pixel_size = from_density(per_x, per_y, 1e6, "PNG pHYs")
        elif kind == b"eXIf":
            orientation = _exif_orientation(body)
        elif kind == b"acTL" and (frames := int.from_bytes(body[:4], "big")) > 1:
            raise ValueError(f"is an animated PNG of {frames} frames, which is not read; save each as a PNG")
    if shape is None:
        raise ValueError("is a PNG without a header; copy it again, or leave it out")
    return About("PNG", (shape,), bits, samples, orientation, pixel_size)


def _bmp(start: bytes, size: int) -> About:
    if int.from_bytes(start[2:6], "little") > size:
        raise IndexError
    (header,) = struct.unpack("<I", start[14:18])
    if header == 12:
        width, height, _, bits = struct.unpack("<HHHH", start[18:26])
        return _bmp_about(width, height, bits, 0, None)
    width, height, _, bits, compression, _, per_x, per_y = struct.unpack("<iiHHIIii", start[18:46])
    if compression == _BMP_MASKS and struct.unpack("<III", start[54:66]) not in _BMP_USUAL_MASKS.get(bits, ()):
        raise ValueError("is a BMP with colours in an order of its own, which is not read; save it as PNG or TIFF")
    pixel_size = from_density(per_x, per_y, 1e6, "BMP resolution")
    return _bmp_about(width, abs(height), bits, compression, pixel_size)


def _bmp_about(width: int, height: int, bits: int, compression: int, pixel_size: StatedPixelSize | None) -> About:
    if bits not in _BMP_BITS or compression not in (*_BMP_PLAIN, _BMP_MASKS) or width < 0:
        raise ValueError(f"is a BMP of {bits} bits, compression {compression}, which is not read; save it as PNG")
    return About("BMP", ((height, width),), min(bits, 8), max(bits // 8, 1), 1, pixel_size)
