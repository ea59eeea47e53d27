"""Tiled and pyramidal TIFF and OME-TIFF, through tifffile: one of the file's tiles is decoded at a time.

Only the directory is read ahead. A tile that cannot be decoded is a hole of its own size; one that the file left out
was not scanned.
"""

import contextlib
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from fnrbc_device.camera.stated_pixel_size import StatedPixelSize, stated
from fnrbc_device.camera.tiff_header import COMPRESSIONS, bits_of, cause, open_tiff, pixel_size_of
from fnrbc_device.errors import SourceError
from fnrbc_device.records import Image
from fnrbc_device.slides.slide import About, Box, Patch

CACHE_BYTES: Final = 48 * 1024**2
"""Decoded tiles that are kept: neighbours share their seams. 48 MiB hold one row of a slide of 60,000 px."""

LARGEST_PART_BYTES: Final = 96 * 1024**2
"""Largest part that is decoded at once: a strip as wide as a large slide and 512 px high."""

_RGB, _YCBCR, _GREY = 2, 6, 1
_JPEG: Final = 7
_REDUCED: Final = 1
_FLUORESCENCE: Final = re.compile(r'ContrastMethod\s*=\s*"Fluor|EmissionWavelength\s*=|\bFluor\s*=\s*"')
_APERIO_UM: Final = re.compile(r"\|\s*MPP\s*=\s*([0-9.]+)")
_POWER: Final = re.compile(r'(?:AppMag\s*=\s*|NominalMagnification\s*=\s*")([0-9.]+)')


class TiffSlide:
    """Implements ``Slide``.

    Parameters
    ----------
    path
        A TIFF.

    Raises
    ------
    SourceError
        It is damaged, cut short, or of a kind that no stained slide is.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise SourceError(f"{path} cannot be opened ({error.strerror}); check the file") from error
        try:
            self._levels, self.about = self._read_about(path.stat().st_size)
        except ValueError as fault:
            self._file.close()
            raise SourceError(f"{path.name} {fault}") from fault
        except BaseException:
            self._file.close()
            raise
        self._kept: OrderedDict[tuple[int, int], NDArray[np.uint8] | None] = OrderedDict()

    def read(self, box: Box) -> Patch:
        """Read a part of the finest level; see ``Slide``."""
        return self._read(0, box)

    def coarse(self, level: int, top: int, height: int) -> Image:
        """Rows of a coarser level; see ``Slide``."""
        page = self._levels[level]
        box = Box(top, 0, min(height, int(page.imagelength) - top), int(page.imagewidth))
        patch = self._read(level, box)
        if patch.holes:
            raise SourceError(f"{self.name}: its coarser level {level} is damaged ({patch.holes[0]})")
        return patch.image

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._kept.clear()
        self._file.close()

    def _read_about(self, size: int) -> tuple[list[Any], About]:
        with open_tiff(self._file) as tif:
            try:
                said = _description(tif)
                levels = _levels(tif, said)
                first = levels[0]
                _require_slide(first, said)
                for page in levels:
                    _require_within(page, size)
                    _ = page.decode, page.jpegtables, page.jpegheader  # read while the directory is open
                factors = tuple(float(first.imagewidth) / float(page.imagewidth) for page in levels)
                return levels, About(
                    "OME-TIFF" if tif.is_ome else "TIFF", (int(first.imagelength), int(first.imagewidth)),
                    self._pixel_size(tif, said), _power(said), None, _block(first), factors,
                )  # fmt: skip
            except (ValueError, SourceError):
                raise
            except Exception as error:  # bytes from anywhere break tifffile in any way there is
                raise ValueError(f"is a damaged TIFF ({cause(error)}); copy it again") from error

    def _pixel_size(self, tif: tifffile.TiffFile, said: str) -> StatedPixelSize | None:
        found = _APERIO_UM.search(said)
        size = stated(float(found.group(1)), None, "Aperio MPP") if found else pixel_size_of(tif)
        return size and StatedPixelSize(size.um, size.where, self.name)

    def _read(self, level: int, box: Box) -> Patch:
        page = self._levels[level]
        image: Image = np.full((box.height, box.width, 3), 255, np.uint8)
        holes = []
        height, width = _block(page)
        for block in box.blocks(height, width):
            across = -(-int(page.imagewidth) // width)
            number = block.top // height * across + block.left // width
            try:
                pixels = self._part(level, page, number)
            except _UndecodableError:
                holes.append(block)
                continue
            if pixels is not None:
                top, left = block.top % height, block.left % width
                image[block.top - box.top :, block.left - box.left :][: block.height, : block.width] = pixels[
                    top : top + block.height, left : left + block.width
                ]
        return Patch(image, tuple(holes))

    def _part(self, level: int, page: Any, number: int) -> NDArray[np.uint8] | None:
        """One of the file's tiles, (h, w, 3); None for one that was not scanned."""
        key = (level, number)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        pixels = self._decoded(page, number)
        self._kept[key] = pixels
        each = max(1, int(np.prod(_block(page))) * 3)
        while len(self._kept) > max(CACHE_BYTES // each, 1):
            self._kept.popitem(last=False)
        return pixels

    def _decoded(self, page: Any, number: int) -> NDArray[np.uint8] | None:
        planes = int(page.samplesperpixel) if int(page.planarconfig) == 2 else 1
        each = len(page.dataoffsets) // planes
        parts = [self._samples(page, number + plane * each) for plane in range(min(planes, 3))]
        if any(part is None for part in parts):
            return None
        whole = [part for part in parts if part is not None]
        pixels = np.dstack(whole) if len(whole) > 1 else whole[0]
        return np.ascontiguousarray(pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=2))

    def _samples(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        offset, count = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if offset == 0 and count == 0:
            return None
        try:
            self._file.seek(offset)
            packed = self._file.read(count)
            if len(packed) < count:
                raise _UndecodableError
            found = page.decode(packed, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        except Exception as error:  # a tile's bytes break decoders in any way there is
            raise _UndecodableError from error
        height, width = _block(page)
        if found is None or found.dtype != np.uint8 or found.ndim != 4:
            raise _UndecodableError
        samples: NDArray[np.uint8] = found[0]
        whole_height = height if page.is_tiled else samples.shape[0]
        if samples.shape[0] < whole_height or samples.shape[1] < min(width, int(page.imagewidth)):
            raise _UndecodableError
        return samples


class _UndecodableError(Exception):
    """A tile's bytes are no picture."""


def is_pyramid(tif: tifffile.TiffFile) -> bool:
    """Whether a TIFF holds its picture at several scales."""
    return len(_levels(tif, _description(tif))) > 1


def _levels(tif: tifffile.TiffFile, said: str) -> list[Any]:
    """The pages of the largest picture, finest first."""
    if tif.is_ome:
        _require_one_plane(tif.series[0], said)
    pages: list[Any] = []
    with contextlib.suppress(Exception):  # what tifffile makes of foreign directories may be anything
        largest = max(tif.series, key=lambda series: _area(series.levels[0].pages[0]))
        pages = [_page(level) for level in largest.levels]
    first: Any = pages[0] if pages else tif.pages[0]
    if len(pages) < 2:  # reduced pages one after the other, as libtiff's programs write them
        pages = [first, *(page for page in tif.pages if _is_smaller(page, first))]
    found = sorted({int(page.imagewidth): page for page in pages}.values(), key=_area, reverse=True)
    return [page for page in found if page.is_tiled == first.is_tiled or page is first]


def _page(level: Any) -> Any:
    """A level's only page, with tags of its own."""
    return level.pages[0].aspage()


def _is_smaller(page: Any, first: Any) -> bool:
    """Whether a page is the first one's picture at a coarser scale."""
    if not int(getattr(page, "subfiletype", 0)) & _REDUCED or int(page.imagewidth) >= int(first.imagewidth):
        return False
    ratio = (int(first.imagewidth) / int(page.imagewidth)) / (int(first.imagelength) / int(page.imagelength))
    return abs(ratio - 1) < 0.02 and int(page.samplesperpixel) == int(first.samplesperpixel)


def _area(page: Any) -> int:
    return int(page.imagelength) * int(page.imagewidth)


def _require_one_plane(series: Any, said: str) -> None:
    """Refuse channels that are no colours, focal planes and times. Raises ``ValueError``."""
    if _FLUORESCENCE.search(said):
        raise ValueError(
            "was made with fluorescence; cells are counted on stained slides in bright field alone"
        )
    names = {"C": "channels that are no red, green and blue", "Z": "focal planes", "T": "points in time"}
    for axis, side in zip(str(series.axes), series.shape, strict=True):
        if axis in names and int(side) > 1:
            raise ValueError(f"holds {side} {names[axis]}; save one picture in RGB of it")


def _require_slide(page: Any, said: str) -> None:
    """Refuse what no stained slide in bright field is, by its name. Raises ``ValueError``."""
    if _FLUORESCENCE.search(said):
        raise ValueError("was made with fluorescence; cells are counted on stained slides in bright field alone")
    bits, samples, meaning = bits_of(page), int(page.samplesperpixel), int(page.photometric)
    if page.dtype != np.uint8 or bits != 8:
        raise ValueError(f"holds {bits} bits a sample; slides are read with 8 bits, save it as 8-bit RGB")
    if meaning not in (_RGB, _YCBCR, _GREY) or samples not in (1, 3, 4) or int(page.imagedepth) != 1:
        name = getattr(page.photometric, "name", page.photometric)
        raise ValueError(f"is {name} with {samples} samples a pixel, which is not read; save it as 8-bit RGB")
    packed = int(page.compression)
    if packed not in COMPRESSIONS or (meaning == _YCBCR and packed != _JPEG):
        kind, how = (getattr(one, "name", one) for one in (page.photometric, page.compression))
        raise ValueError(
            f"holds {kind} packed by {how}, which is not read; save it as RGB with JPEG, LZW or deflate, or install "
            "what reads scanners' own formats: pip install 'fnrbc[slides]'"
        )
    height, width = _block(page)
    if height * width * samples > LARGEST_PART_BYTES:
        raise ValueError(
            f"is stored in parts of {width}x{height} px, too large to read one at a time; save it tiled, e.g. with "
            "`vips tiffsave IN OUT --tile --pyramid --compression jpeg --Q 90`"
        )


def _require_within(page: Any, size: int) -> None:
    """Refuse a file that ends before its pixels do. Raises ``ValueError``."""
    height, width = _block(page)
    planes = int(page.samplesperpixel) if int(page.planarconfig) == 2 else 1
    wanted = -(-int(page.imagelength) // height) * -(-int(page.imagewidth) // width) * planes
    offsets, counts = page.dataoffsets, page.databytecounts
    beyond = sum(offset + count > size for offset, count in zip(offsets, counts, strict=False))
    missing = max(wanted - min(len(offsets), len(counts)), 0)
    if beyond or missing:
        raise ValueError(
            f"is cut short after {size} bytes: {beyond + missing} of its {wanted} tiles are missing; copy it again"
        )


def _block(page: Any) -> tuple[int, int]:
    """(rows, cols) of the parts that a page is stored in."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def _description(tif: tifffile.TiffFile) -> str:
    first: Any = tif.pages[0]
    return str(tif.ome_metadata if tif.is_ome else first.description or "")


def _power(said: str) -> str:
    found = _POWER.search(said)
    return f"{float(found.group(1)):g}x" if found else ""
