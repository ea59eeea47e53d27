"""Slide scanners' own formats, through OpenSlide: MRXS, SVS, SCN, NDPI, BIF, DICOM, Philips, Trestle, Sakura, Zeiss.

OpenSlide gives what was never scanned as transparent, and stays in error once it could not read a place: then the
file is opened again, and what can be read is read in the file's own tiles.
"""

import contextlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.stated_pixel_size import StatedPixelSize, stated
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.records import Image
from fnrbc_device.slides.slide import About, Box, Patch

WHITE: Final = (255, 255, 255)

BLOCK_PX: Final = 256
"""Side of the pieces that are read round a damaged place, where the file does not say how large its tiles are."""

LARGEST_BLOCK_PX: Final = 2048
"""Files that are one strip say to be a tile as wide as the slide."""

INSTALL: Final = "install it with `pip install 'fnrbc[slides]'`"


def openslide() -> Any:
    """Import the library.

    Raises
    ------
    UsageError
        It is not installed, or does not fit this machine.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:
        why = " ".join(str(error).split())[:120]
        raise UsageError(
            f"slide scanners' files are read through OpenSlide, which is not here ({why}); {INSTALL}"
        ) from error
    return openslide


def vendor_of(path: Path) -> str | None:
    """Name of the scanner's format; None where OpenSlide knows none, or reads it as any other TIFF."""
    library = openslide()
    found = library.OpenSlide.detect_format(str(path))
    return None if found in (None, "generic-tiff") else str(found)


class OpenSlideFile:
    """Implements ``Slide``.

    Parameters
    ----------
    path
        A file of a format that OpenSlide knows.

    Raises
    ------
    SourceError
        It is incomplete or damaged, was made with fluorescence, or holds no square pixels.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._library = openslide()
        self._file = self._opened()
        try:
            self._corner, self.about = self._read_about()
        except BaseException:
            self.close()
            raise

    def read(self, box: Box) -> Patch:
        """Read a part of the finest level; see ``Slide``."""
        try:
            return Patch(self._pixels(box))
        except self._library.OpenSlideError:
            return self._in_blocks(box)

    def coarse(self, level: int, top: int, height: int) -> Image:
        """Rows of a coarser level; see ``Slide``."""
        factor = self.about.levels[level]
        width = max(1, int(self.about.shape[1] / factor))
        corner = (self._corner[1], self._corner[0] + round(top * factor))
        try:
            return self._flat(self._file.read_region(corner, self._level_of(level), (width, height)))
        except self._library.OpenSlideError as error:
            self._reopen()
            raise SourceError(f"{self.name}: its coarser level {level} cannot be read ({_cause(error)})") from error

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def _opened(self) -> Any:
        try:
            return self._library.OpenSlide(str(self._path))
        except (self._library.OpenSlideError, OSError) as error:
            raise SourceError(
                f"{self.name} is a slide that cannot be opened ({_cause(error)}); copy it again, with all that belongs "
                "to it"
            ) from error

    def _read_about(self) -> tuple[tuple[int, int], About]:
        said = self._file.properties
        self._refuse_fluorescence(said)
        top, left = (int(said.get(f"openslide.bounds-{axis}", 0)) for axis in "yx")
        width, height = self._file.dimensions
        shape = tuple(
            int(said.get(f"openslide.bounds-{side}", whole - start))
            for side, whole, start in (("height", height, top), ("width", width, left))
        )
        block = (_side(said, "tile-height"), _side(said, "tile-width"))
        self._levels = sorted(
            range(self._file.level_count), key=lambda level: float(self._file.level_downsamples[level])
        )
        factors = tuple(float(self._file.level_downsamples[level]) for level in self._levels)
        kind = str(said.get("openslide.vendor", "slide"))
        power = said.get("openslide.objective-power", "")
        about = About(
            kind, (shape[0], shape[1]), self._pixel_size(said), f"{float(power):g}x" if power else "",
            self._background(said), block, factors,
        )  # fmt: skip
        return (top, left), about

    def _pixel_size(self, said: Any) -> StatedPixelSize | None:
        try:
            x, y = (float(said.get(f"openslide.mpp-{axis}", 0) or 0) for axis in "xy")
            size = stated(x, y or None, "openslide.mpp-x")
        except ValueError as fault:
            raise SourceError(f"{self.name} {fault}") from fault
        return size and StatedPixelSize(size.um, size.where, self.name)

    def _background(self, said: Any) -> tuple[int, int, int] | None:
        told = said.get("openslide.background-color", "")
        try:
            red, green, blue = bytes.fromhex(told)
        except ValueError:
            return None
        return red, green, blue

    def _refuse_fluorescence(self, said: Any) -> None:
        told = " ".join(str(value) for name, value in said.items() if _names_light(name)).lower()
        if "fluor" in told:
            raise SourceError(
                f"{self.name} was scanned with fluorescence; cells are counted on stained slides in bright field alone"
            )

    def _level_of(self, level: int) -> int:
        return self._levels[level]

    def _pixels(self, box: Box) -> Image:
        corner = (self._corner[1] + box.left, self._corner[0] + box.top)
        return self._flat(self._file.read_region(corner, 0, (box.width, box.height)))

    def _flat(self, region: Any) -> Image:
        """RGB on the background's colour."""
        pixels: NDArray[np.uint8] = np.asarray(region, np.uint8)
        seen = pixels[..., 3]
        image = np.ascontiguousarray(pixels[..., :3])
        if seen.min() < 255:
            background = self.about.background_rgb if hasattr(self, "about") else None
            image[seen < 128] = background or WHITE
        return image

    def _in_blocks(self, box: Box) -> Patch:
        """What can be read, piece by piece; each failure closes the file for good."""
        image: Image = np.empty((box.height, box.width, 3), np.uint8)
        image[...] = self.about.background_rgb or WHITE
        holes = []
        for block in box.blocks(*self.about.block):
            try:
                pixels = self._pixels(block)
            except self._library.OpenSlideError:
                self._reopen()
                try:
                    pixels = self._pixels(block)
                except self._library.OpenSlideError:
                    self._reopen()
                    holes.append(block)
                    continue
            top, left = block.top - box.top, block.left - box.left
            image[top : top + block.height, left : left + block.width] = pixels
        return Patch(image, tuple(holes))

    def _reopen(self) -> None:
        with contextlib.suppress(self._library.OpenSlideError):
            self._file.close()
        self._file = self._opened()


def _names_light(name: str) -> bool:
    lowered = name.lower()
    return any(word in lowered for word in ("illumination", "slide_type", "contrast", "fluorescence", "filter_name"))


def _side(said: Any, name: str) -> int:
    side = int(said.get(f"openslide.level[0].{name}", 0) or 0)
    return side if 0 < side <= LARGEST_BLOCK_PX else BLOCK_PX


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
