"""What a TIFF says of itself: which of its pages make up a frame, and how samples become red, green and blue.

One file may hold a stack, a picture whose red, green and blue are pages of their own, a negative, a palette.
``tifffile`` reads the tags and the notes of ImageJ, OME and Micro-Manager; what they leave unsaid or say of another
kind of picture is refused by name.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import tifffile

from fnrbc_device.camera.stated_pixel_size import (
    UNITS_UM,
    StatedPixelSize,
    from_density,
    from_micro_manager,
    from_ome,
)

TIFF_STARTS: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Classic and BigTIFF, in either byte order."""

MOST_PAGES: Final = 100_000
"""An hour at 30 frames a second."""

_PLAIN, _INVERTED, _RGB, _PALETTE, _YCBCR = 1, 0, 2, 3, 6
_SAMPLES: Final = {_PLAIN: (1, 2), _INVERTED: (1, 2), _PALETTE: (1,), _RGB: (3, 4, 5), _YCBCR: (3,)}
"""Samples a pixel that each kind may have: one or three, and transparency or the like."""
_STRIPS, _TILES = 273, 324
"""Tags of where the parts of a picture lie."""
_PLANAR: Final = (1, 2)
"""How colours lie: pixel by pixel, or one plane after the other."""
_JPEG: Final = 7
_LEAST_FULL: Final = 256
"""A palette below it is black by the standard; some old programs filled the lower 8 bits alone. Nothing tells which."""
COMPRESSIONS: Final = frozenset({1, 5, 7, 8, 32773, 32946, 33005, 34712, 34925, 50000, 34926, 50001, 34927, 50002})
"""Whose pixels are proved against a second decoder: none, LZW, JPEG, Deflate, PackBits, JPEG 2000, LZMA, ZSTD, WebP,
JPEG XL."""
_NAMES: Final = {5: "CMYK, made for print", 8: "CIELab", 32803: "the raw mosaic of a camera", 34892: "linear raw"}
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType: a smaller copy of another page, and a mask."""
_COLOUR_NAMES: Final = (("red", "r"), ("green", "g"), ("blue", "b"))
_OME_CHANNEL: Final = re.compile(r'<(?:\w+:)?Channel\b[^>]*?\bName\s*=\s*"([^"]*)"')

# What is wrong with a file is said once, in one sentence of ours.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


@dataclass(frozen=True, slots=True)
class Plane:
    """Where one frame of a TIFF lies."""

    pages: tuple[int, ...]
    """Numbers of its pages: one, or those of red, green and blue."""
    offsets: tuple[int, ...] = ()
    """Where its bytes begin instead, one a page: ImageJ writes a large stack behind one page."""


def open_tiff(file: BinaryIO) -> tifffile.TiffFile:
    """Open a TIFF that lies in an open file.

    Raises
    ------
    ValueError
        It is damaged, with the rest of a sentence that begins with the file's name.
    """
    try:
        file.seek(0)
        return tifffile.TiffFile(file, _multifile=False)
    except Exception as error:  # bytes from anywhere break tifffile in any way there is
        raise ValueError(f"is a damaged TIFF ({cause(error)}); copy it again, or leave it out") from error


def tiff_about(
    file: BinaryIO, size: int
) -> tuple[tuple[tuple[int, int], ...], int, int, int, StatedPixelSize | None]:
    """Shapes of its frames, bits a sample, samples a pixel, orientation and pixel size.

    Raises
    ------
    ValueError
        It is damaged or not read, with the rest of a sentence that begins with the file's name.
    """
    planes = planes_in(file)
    with open_tiff(file) as tif:
        try:
            pages = _pages(tif)
            for number in {number for plane in planes for number in plane.pages}:
                require_read(pages[number], size)
            firsts = [pages[plane.pages[0]] for plane in planes]
            first = firsts[0]
            shapes = tuple((int(page.imagelength), int(page.imagewidth)) for page in firsts)
            return shapes, bits_of(first), int(first.samplesperpixel), _orientation(first), pixel_size_of(tif)
        except ValueError:
            raise
        except Exception as error:  # as above
            raise ValueError(f"is a damaged TIFF ({cause(error)}); copy it again, or leave it out") from error


def planes_in(file: BinaryIO) -> list[Plane]:
    """Frames of a file in their order.

    Raises
    ------
    ValueError
        It is damaged, or its channels are no red, green and blue; the rest of a sentence.
    """
    # Asked for what belongs together, tifffile takes pages to be like the first one: the file is opened for that alone.
    with open_tiff(file) as tif:
        try:
            return _planes(tif)
        except ValueError:
            raise
        except Exception as error:  # as in ``open_tiff``
            raise ValueError(f"is a damaged TIFF ({cause(error)}); copy it again, or leave it out") from error


def _planes(tif: tifffile.TiffFile) -> list[Plane]:
    pages = _pages(tif)
    if not pages:
        raise ValueError("is a TIFF without a page; copy it again, or leave it out")
    if tif.is_imagej:
        _refuse_uncounted_channels(tif.imagej_metadata or {})
    if tif.is_imagej or tif.is_ome or tif.is_shaped:
        described = [plane for series in tif.series for plane in _of_series(series, tif)]
        if described:
            return described
    _refuse_channels_of_micro_manager(tif)
    kept = [number for number, page in enumerate(pages) if not int(page.subfiletype) & (_REDUCED | _MASK)]
    return [Plane((number,)) for number in kept or (0,)]


def require_read(page: Any, size: int) -> None:
    """Refuse a page that is not read, by the name of what it is. Raises ``ValueError``."""
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    if min(page.imagewidth, page.imagelength) < 1:
        raise ValueError(f"is a TIFF of {page.imagewidth}x{page.imagelength} px; copy it again, or leave it out")
    planar = page.tags.get(284)
    if samples > 1 and planar is not None and planar.value not in _PLANAR:
        raise ValueError(f"says {planar.value} of how its colours lie, 1 or 2 is known; copy it again, or leave it out")
    if photometric not in _SAMPLES:
        raise ValueError(f"is {_NAMES.get(photometric, _word(page.photometric))}, which is not read; save it as RGB")
    if int(page.compression) not in COMPRESSIONS:
        packed = _word(page.compression)
        raise ValueError(f"is a TIFF compressed by {packed}, which is not read; save it with LZW or none")
    if photometric == _YCBCR and int(page.compression) != _JPEG:
        raise ValueError("is a TIFF in YCbCr without JPEG, which is not read; save it as RGB")
    if page.dtype is None or page.dtype.kind not in "ub" or bits_of(page) > 16:
        raise ValueError(f"holds {page.dtype or 'unknown'} values; store 8 or 16 bits a channel")
    if samples not in _SAMPLES[photometric]:
        raise ValueError(
            f"is {_word(page.photometric)} with {samples} samples a pixel: nothing says which are red, green and blue; "
            "save it as RGB"
        )
    if photometric == _PALETTE and (page.colormap is None or page.colormap.shape[1] < 2 ** bits_of(page)):
        raise ValueError("is a palette TIFF without its palette; save it as RGB")
    if photometric == _PALETTE and int(page.colormap.max(initial=0)) < _LEAST_FULL:
        raise ValueError("is a palette TIFF whose colours are all black in the 16 bits that they have; save it as RGB")
    _require_whole(page, size)


def bits_of(page: Any) -> int:
    """Bits of a sample, as stored."""
    bits = page.bitspersample
    return int(max(bits)) if isinstance(bits, tuple) else int(bits)


def _require_whole(page: Any, size: int) -> None:
    offsets, counts = page.dataoffsets, page.databytecounts
    if page.imagedepth != 1 or not offsets or len(offsets) != len(counts) or len(offsets) < int(np.prod(page.chunked)):
        raise ValueError("is a TIFF that misses parts of its picture; copy it again, or leave it out")
    if len(offsets) > int(np.prod(page.chunked)) or (_STRIPS in page.tags and _TILES in page.tags):
        raise ValueError("is a TIFF that names more parts than its picture has; copy it again, or leave it out")
    for offset, count in zip(offsets, counts, strict=True):
        if offset <= 0 or count <= 0 or offset + count > size:
            raise ValueError(f"is a TIFF cut off after {size} bytes; copy it again, or leave it out")


def _pages(tif: tifffile.TiffFile) -> list[Any]:
    found: list[Any] = []
    seen: set[int] = set()
    for number in range(MOST_PAGES + 1):
        try:
            page = tif.pages[number]
        except IndexError:
            return found
        if page.offset in seen:
            raise ValueError("is a TIFF whose pages lead round in a circle; copy it again, or leave it out")
        seen.add(page.offset)
        found.append(page)
    raise ValueError(f"is a TIFF of more than {MOST_PAGES} pages, or damaged; copy it again, or split it")


def _of_series(series: Any, tif: tifffile.TiffFile) -> Iterator[Plane]:
    """Frames of what belongs together by the notes of ImageJ, OME or tifffile."""
    axes, shape = str(series.axes), tuple(int(side) for side in series.shape)
    lead = [(axis, side) for axis, side in zip(axes, shape, strict=True) if axis not in "YXS"]
    sides = [side for _, side in lead]
    numbers = np.arange(int(np.prod(sides, dtype=np.int64))).reshape(sides)
    place = next((at for at, (axis, _) in enumerate(lead) if axis == "C"), None)
    if place is None or "S" in axes:  # pages in colours, one a frame
        groups = numbers.reshape(-1, 1)
    else:
        order = _colour_order(tif, sides[place])
        groups = np.moveaxis(numbers, place, -1)[..., list(order)].reshape(-1, len(order))
    for group in groups:
        yield _plane(series, [int(number) for number in group], int(numbers.size))


def _plane(series: Any, numbers: Sequence[int], count: int) -> Plane:
    pages = series.pages
    if len(pages) >= count:
        found = [pages[number] for number in numbers]
        if any(page is None for page in found):
            raise ValueError("is a TIFF that misses pages of its stack; copy it again, or leave it out")
        return Plane(tuple(int(page.index) for page in found))
    if series.dataoffset is None:
        raise ValueError("is a TIFF that misses pages of its stack; copy it again, or leave it out")
    first, begin = pages[0], int(series.dataoffset)
    offsets = tuple(begin + number * int(first.nbytes) for number in numbers)
    return Plane((int(first.index),) * len(numbers), offsets)


def _colour_order(tif: tifffile.TiffFile, channels: int) -> tuple[int, ...]:
    """Which channels are red, green and blue; of a single one itself. Raises ``ValueError`` for any other."""
    if channels == 1:
        return (0,)
    names = [name.strip().lower() for name in _channel_names(tif)]
    if channels == 3:
        if len(names) < 3:
            return _order_of_luts(tif)
        if sorted(_colour_of(name) for name in names[:3]) == [0, 1, 2]:
            return tuple(np.argsort([_colour_of(name) for name in names[:3]]).tolist())
    named = f" ({', '.join(names[:channels])})" if names else ""
    raise ValueError(f"holds {channels} channels{named} that are no red, green and blue; save it as RGB")


def _colour_of(name: str) -> int:
    return next((place for place, known in enumerate(_COLOUR_NAMES) if name in known), -1)


def _channel_names(tif: tifffile.TiffFile) -> list[str]:
    if tif.is_ome:
        return _OME_CHANNEL.findall(tif.ome_metadata or "")
    metadata = tif.imagej_metadata or {}
    labels = metadata.get("Labels") or []
    return [str(label).split("\n")[0] for label in labels[:3] if _colour_of(str(label).split("\n")[0].lower()) >= 0]


def _order_of_luts(tif: tifffile.TiffFile) -> tuple[int, ...]:
    """By the colours that ImageJ shows its channels in; red, green, blue where it shows them alike."""
    luts = [np.asarray(lut) for lut in (tif.imagej_metadata or {}).get("LUTs", [])[:3]]
    tops = [tuple(bool(value) for value in lut[:, -1]) for lut in luts if lut.ndim == 2]
    if len(tops) < 3 or len(set(tops)) == 1:
        return (0, 1, 2)
    pure = [(True, False, False), (False, True, False), (False, False, True)]
    if sorted(tops) != sorted(pure):
        raise ValueError("holds 3 channels shown in colours that are no red, green and blue; save it as RGB")
    return tuple(tops.index(colour) for colour in pure)


def _refuse_uncounted_channels(metadata: Mapping[str, Any]) -> None:
    if metadata.get("mode") in ("composite", "color") and not isinstance(metadata.get("channels"), int):
        raise ValueError("shows its channels as one picture, and does not say how many there are; save it as RGB")


def _refuse_channels_of_micro_manager(tif: tifffile.TiffFile) -> None:
    summary = (tif.micromanager_metadata or {}).get("Summary", {}) if tif.is_micromanager else {}
    channels = summary.get("Channels", 1) if isinstance(summary, dict) else 1
    if isinstance(channels, int) and channels > 1:
        raise ValueError(f"holds {channels} channels of Micro-Manager that are no red, green and blue; save it as RGB")


def _orientation(page: Any) -> int:
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None and isinstance(tag.value, int) and 1 <= int(tag.value) <= 8 else 1


def pixel_size_of(tif: tifffile.TiffFile) -> StatedPixelSize | None:
    """By what knows microscopes best: OME, Micro-Manager, ImageJ, then the resolution."""
    page = _pages(tif)[0]
    if tif.is_ome and (size := from_ome(tif.ome_metadata or "")):
        return size
    if (tag := page.tags.get(51123)) is not None and (size := from_micro_manager(tag.value)):
        return size
    if tif.is_micromanager and (size := from_micro_manager(tif.micromanager_metadata)):
        return size
    (per_x, per_y), unit = _resolution(page), _unit(tif, page)
    return from_density(per_x, per_y, *unit)


def _resolution(page: Any) -> tuple[float, float]:
    def value(tag: Any) -> float:
        above, below = tag.value if tag is not None else (0, 1)
        return above / below if below else 0.0

    return value(page.tags.get(282)), value(page.tags.get(283))


def _unit(tif: tifffile.TiffFile, page: Any) -> tuple[float | None, str]:
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "\N{MICRO SIGN}")
        return UNITS_UM.get(unit), f"ImageJ scale in {unit}"
    tag = page.tags.get(296)
    return {2: 25_400.0, 3: 10_000.0}.get(int(tag.value) if tag is not None else 2), "TIFF resolution"


def _word(value: Any) -> str:
    name = getattr(value, "name", None)
    return str(name) if name else str(value)


def cause(error: Exception) -> str:
    """Put a library's words into a line; name its class where it says nothing."""
    return " ".join(str(error).split())[:120] or type(error).__name__
