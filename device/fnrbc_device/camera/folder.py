"""A folder of recorded frames, decided on as a whole before the first is counted.

Which files are frames and in which order, what is passed over, which size, depth and turn the frames have: one picture
alone cannot tell, least of all the first.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Final

import cv2
import numpy as np

from fnrbc_device.camera.headers import About, UnreadablePictureError, about_file, kind_of
from fnrbc_device.camera.pictures import PICTURE_SUFFIXES, Depth, PictureReader, depth_of
from fnrbc_device.camera.stated_pixel_size import StatedPixelSize, agreed, beside
from fnrbc_device.errors import SourceError
from fnrbc_device.records import Image, LeftOut

VIDEO_SUFFIXES: Final = (
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv", ".m2ts", ".3gp",
)  # fmt: skip
OTHER_PICTURE_SUFFIXES: Final = (
    ".heic", ".heif", ".avif", ".gif", ".webp", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".psd", ".dng", ".cr2",
    ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw", ".svs", ".ndpi", ".scn", ".mrxs", ".bif", ".czi", ".nd2",
    ".lif", ".lsm", ".oib", ".oif", ".vsi", ".dcm", ".exr", ".fits", ".ppm", ".pgm", ".pnm",
)  # fmt: skip
"""Pictures, whole slides and microscopes' own files that are known and not read."""

FEW_TURNS: Final = 4
"""Places where the orientation changes that are looked at: one tells, four make sure."""
TURN_SIDE_PX: Final = 256
"""Side of the pictures whose overlap tells how the camera was really held."""
_NUMBER: Final = re.compile(r"(\d+)")
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True, eq=False)
class Folder:
    """What a folder of frames holds."""

    files: tuple[tuple[Path, About | UnreadablePictureError], ...]
    """Pictures in their order, with what each says of itself, or why it is not read."""
    left_out: tuple[LeftOut, ...]
    """What lies there and looks like something to be counted, but is passed over."""
    notes: tuple[str, ...]
    """What a person should know of how it is read."""
    shape: tuple[int, int] | None
    """Height and width that most frames have, px; None where nothing can be read."""
    turned: bool
    """Whether the files' notes of how the camera was held are followed."""
    pixel_size: StatedPixelSize | None
    depth: Depth = field(default_factory=Depth)

    @property
    def frames(self) -> int:
        """How many frames there are, those that cannot be read among them."""
        return sum(len(about.shapes) if isinstance(about, About) else 1 for _, about in self.files)


def look_through(folder: Path) -> Folder:
    """List a folder, and decide how its pictures are read.

    Raises
    ------
    SourceError
        It cannot be listed, holds no picture, or its pictures contradict each other's pixel size.
    """
    paths, left_out, others = _sorted_out(folder)
    if not paths:
        raise SourceError(_no_picture(folder, left_out, others))
    ordered = sorted(paths, key=natural_key)
    files = tuple((path, _about(path)) for path in ordered)
    whole = [(path, about) for path, about in files if isinstance(about, About)]
    turned, turn_notes = _turns(whole)
    return Folder(
        files, left_out, (*_order_notes(paths, ordered), *turn_notes), _majority(whole, turned), turned,
        _pixel_size(folder, whole), _depth(whole),
    )  # fmt: skip


def look_at(path: Path) -> Folder:
    """Decide how one picture file is read, which may hold several frames.

    Raises
    ------
    UnreadablePictureError
        It is no picture that is read.
    """
    about = about_file(path)
    whole = [(path, about)]
    stated = about.pixel_size and StatedPixelSize(about.pixel_size.um, about.pixel_size.where, path.name)
    return Folder(((path, about),), (), (), _majority(whole, True), True, stated, _depth(whole))


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort names as people number them: ``img_2`` before ``img_10``. Equal numbers go by the plain name."""
    parts = _NUMBER.split(path.name)
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts], path.name


def _sorted_out(folder: Path) -> tuple[list[Path], tuple[LeftOut, ...], int]:
    """Pictures; what is passed over but looks like something to count; and how many other files there are."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        sorted_out = [(entry, _why_left_out(entry)) for entry in entries]
    except OSError as error:
        raise SourceError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error
    pictures = [entry for entry, why in sorted_out if why == ""]
    left_out = tuple(why for _, why in sorted_out if isinstance(why, LeftOut))
    return pictures, left_out, len(entries) - len(pictures)


def _why_left_out(entry: Path) -> LeftOut | str | None:
    """Empty for a picture that is read; None for what has nothing to do with pictures."""
    name, suffix = entry.name, entry.suffix.lower()
    if entry.is_dir():
        return _subfolder(entry)
    if entry.exists() and not S_ISREG(entry.stat().st_mode):
        return LeftOut(name, "special_file", f"{name} is no regular file; give pictures")
    hidden = name.startswith(".")
    if suffix in PICTURE_SUFFIXES and not hidden:
        return ""
    kind = kind_of(entry)
    if (suffix in VIDEO_SUFFIXES and not hidden) or kind == "video":
        return LeftOut(name, "video", f"{name} is a video beside pictures; count it by itself")
    if kind == "picture":
        return LeftOut(name, "name", f"{name} holds a picture but is not named like one; end it in .jpg, .png or .tif")
    if kind or (suffix in OTHER_PICTURE_SUFFIXES and not hidden):
        named = kind or f"a {suffix} file"
        return LeftOut(name, "kind", f"{name} is {named}, which is not read; save it as PNG, JPEG or TIFF")
    return None


def _subfolder(entry: Path) -> LeftOut | None:
    """A folder inside is not searched; with pictures in it that is told."""
    if entry.name.startswith("."):
        return None
    try:
        inside = sum(one.suffix.lower() in (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES) for one in entry.iterdir())
    except OSError:
        inside = 0
    if not inside:
        return None
    return LeftOut(entry.name, "folder", f"{entry.name} is a folder with {inside} pictures; count it by itself", inside)


def _no_picture(folder: Path, left_out: Sequence[LeftOut], others: int) -> str:
    there = f"; {left_out[0].detail}" if left_out else f"; put frames there that end in {', '.join(PICTURE_SUFFIXES)}"
    return f"{folder} holds {others} files and no picture among them{there}"


def _about(path: Path) -> About | UnreadablePictureError:
    try:
        return about_file(path)
    except UnreadablePictureError as fault:
        return fault


def _order_notes(paths: Sequence[Path], ordered: Sequence[Path]) -> Iterator[str]:
    plain = sorted(paths, key=lambda path: path.name)
    if plain != list(ordered):
        first = next(at for at, (one, other) in enumerate(zip(plain, ordered, strict=True)) if one != other)
        yield (
            f"frames are taken in the order of the numbers in their names, which is not that of their letters: "
            f"{ordered[first].name} comes before {plain[first].name}"
        )


def _turns(files: Sequence[tuple[Path, About]]) -> tuple[bool, list[str]]:
    """Whether notes of how the camera was held are followed, and what to tell where they change."""
    changes = [
        (before, after)
        for before, after in itertools.pairwise(files)
        if before[1].orientation != after[1].orientation
    ]
    if not changes:
        return True, []
    turned = _follow_turns(files, changes[:FEW_TURNS])
    (_, about_before), (path, about) = changes[0]
    how = "each is turned as it says" if turned else "all are read as the camera's chip saw them"
    return turned, [
        f"{path.name} says that the camera was held otherwise than before (EXIF orientation {about.orientation} after "
        f"{about_before.orientation}), {len(changes)} such changes in all; {how}, for so they fit together"
    ]


def _follow_turns(files: Sequence[tuple[Path, About]], changes: Iterable[tuple[tuple[Path, About], ...]]) -> bool:
    """Sizes tell where a quarter turn is in it; where all fit both ways, how neighbours overlap."""
    alike = [Counter(_shapes(files, turned)).most_common(1)[0][1] for turned in (False, True)]
    if alike[0] != alike[1]:
        return alike[1] > alike[0]
    fits = [[_fit(before[0], after[0], turned) for before, after in changes] for turned in (False, True)]
    return sum(fits[1]) > sum(fits[0])


def _fit(before: Path, after: Path, turned: bool) -> float:
    """How well two neighbours overlap, 0..1: the peak of their phase correlation."""
    reader = PictureReader(turned=turned)
    try:
        small = [_small(image) for image in (list(reader.read_all(before))[-1], next(reader.read_all(after)))]
    except (UnreadablePictureError, IndexError, StopIteration):
        return 0.0
    window = cv2.createHanningWindow((TURN_SIDE_PX, TURN_SIDE_PX), cv2.CV_32F)
    return float(cv2.phaseCorrelate(small[0], small[1], window)[1])


def _small(image: Image | UnreadablePictureError) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if isinstance(image, UnreadablePictureError):
        raise image
    small = cv2.resize(image[..., 1], (TURN_SIDE_PX, TURN_SIDE_PX), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _shapes(files: Iterable[tuple[Path, About]], turned: bool) -> Iterator[tuple[int, int]]:
    for _, about in files:
        for height, width in about.shapes:
            yield (width, height) if turned and about.orientation in _SIDEWAYS else (height, width)


def _majority(files: Sequence[tuple[Path, About]], turned: bool) -> tuple[int, int] | None:
    """The shape that most frames have; of two that are as frequent the one that comes first."""
    counted = Counter(_shapes(files, turned)).most_common(1)
    return counted[0][0] if counted else None


def _pixel_size(folder: Path, files: Iterable[tuple[Path, About]]) -> StatedPixelSize | None:
    said = [
        StatedPixelSize(about.pixel_size.um, about.pixel_size.where, path.name)
        for path, about in files
        if about.pixel_size
    ]
    try:
        noted = beside(folder)
        return agreed([*said, *([noted] if noted else [])])
    except ValueError as fault:
        raise SourceError(str(fault)) from fault


def _depth(files: Iterable[tuple[Path, About]]) -> Depth:
    """The depth that holds every sample of the folder: a dim frame alone would seem to be of fewer bits."""
    depth = Depth()
    for path, about in files:
        if about.bits > 8 and not depth.is_widest:
            depth = depth_of(path, depth)
    return depth
