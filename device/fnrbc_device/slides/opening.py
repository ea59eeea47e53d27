"""Tells slide files from single pictures, and opens them with the library that reads them."""

from pathlib import Path
from typing import Any, Final

from fnrbc_device.camera.driver import with_red_for_blue
from fnrbc_device.camera.headers import kind_of
from fnrbc_device.camera.pictures import PICTURE_SUFFIXES
from fnrbc_device.camera.tiff_header import TIFF_STARTS, open_tiff
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.records import Image
from fnrbc_device.slides.openslide_reader import OpenSlideFile, openslide, vendor_of
from fnrbc_device.slides.slide import Box, Patch, Slide
from fnrbc_device.slides.tiff_reader import TiffSlide, is_pyramid

SLIDE_SUFFIXES: Final = (
    ".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".czi", ".vsi",
)  # fmt: skip
"""Of slide scanners' files; what lies in them decides."""

ONE_PICTURE_PX: Final = 128_000_000
"""A TIFF of more pixels is read as a slide, piece by piece: 108 Mpx is what the largest single cameras give."""

UNREAD: Final = {
    ".vsi": "Olympus VSI, which OpenSlide does not read; export it as OME-TIFF (QuPath, bfconvert)",
}


def is_slide(path: Path) -> bool:
    """Whether a path is a slide file, which is counted tile by tile, and no picture, video or folder of pictures.

    A TIFF is one if it holds its picture at several scales, or more than ``ONE_PICTURE_PX``; a folder, if it holds
    DICOM files and no pictures.
    """
    if path.is_dir():
        return _of_dicom(path) is not None
    if not path.is_file():
        return False
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return True
    if _starts_as_tiff(path):
        return _is_tiff_slide(path)
    return kind_of(path) == "DICOM"


def open_slide(path: Path, *, exchange_red_blue: bool = False) -> Slide:
    """Open a slide file; ``exchange_red_blue`` where it gives blue for red.

    Raises
    ------
    UsageError
        It does not exist, or what reads it is not installed.
    SourceError
        It is damaged, incomplete, or of a kind that is not read.
    """
    slide = _opened(_of_dicom(path) or path if path.is_dir() else path)
    return _Exchanged(slide) if exchange_red_blue else slide


class _Exchanged:
    """Implements ``Slide`` by another one, its red and blue exchanged."""

    def __init__(self, slide: Slide) -> None:
        self.name, self.about = slide.name, slide.about
        self._slide = slide

    def read(self, box: Box) -> Patch:
        patch = self._slide.read(box)
        return Patch(with_red_for_blue(patch.image), patch.holes)

    def coarse(self, level: int, top: int, height: int) -> Image:
        return with_red_for_blue(self._slide.coarse(level, top, height))

    def close(self) -> None:
        self._slide.close()


def _opened(path: Path) -> Slide:
    if not path.is_file():
        raise UsageError(f"{path} is no slide file; give the file that the scanner wrote")
    if unread := UNREAD.get(path.suffix.lower()):
        raise SourceError(f"{path.name} is {unread}")
    if path.stat().st_size == 0:
        raise SourceError(f"{path.name} is empty (0 bytes); copy it again")
    tiff = _starts_as_tiff(path)
    if (openslide_is_here() or not tiff) and vendor_of(path):
        return OpenSlideFile(path)
    if tiff:
        return TiffSlide(path)
    raise SourceError(
        f"{path.name} is no slide that OpenSlide knows ({path.stat().st_size} bytes), or it is cut short; "
        "copy it again, or export it as OME-TIFF"
    )


def openslide_is_here() -> bool:
    """Whether scanners' own formats can be read on this machine."""
    try:
        openslide()
    except UsageError:
        return False
    return True


def _starts_as_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(TIFF_STARTS)
    except OSError:
        return False


def _is_tiff_slide(path: Path) -> bool:
    try:
        with path.open("rb") as file, open_tiff(file) as tif:
            page: Any = tif.pages[0]
            return is_pyramid(tif) or int(page.imagelength) * int(page.imagewidth) > ONE_PICTURE_PX
    except Exception:  # noqa: BLE001  what cannot be read as a picture is refused there, in its own words
        return False


def _of_dicom(folder: Path) -> Path | None:
    """One of a folder's DICOM files, from which OpenSlide finds the others; None where pictures lie there."""
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return None
    if any(path.suffix.lower() in PICTURE_SUFFIXES for path in files):
        return None
    return next((path for path in files if path.suffix.lower() == ".dcm" or kind_of(path) == "DICOM"), None)

