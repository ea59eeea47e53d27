"""Pictures that the centre network learns from, and what is known of the cells in them.

A folder is one of four: single cells (``dataset.toml`` and class folders; the cell in the middle is known, others are
not), fields with boxes (``boxes.csv``), fields with outlined nuclei (``images`` and ``labels``), or fields of blood
without a nucleated cell (pictures alone). Painted slides come on top, of which all is known. Each folder is a session
of its own: its stain is learned as the device learns it.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.centre_picture import CENTRE_UM, at_centre_scale
from fnrbc_device.vision.pixelsize import red_cell_diameters_px
from fnrbc_device.vision.reduction import glass_colour, reduce
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_device.vision.session_stain import SessionStain
from fnrbc_device.vision.stain import IDENTITY, StainMap
from fnrbc_training.dataset import ROLES
from fnrbc_training.description import DESCRIPTION, describe
from fnrbc_training.labelled import SUFFIXES, in_class_folders

RED_CELL_UM: Final = 7.5
NUCLEUS_UM: Final = 7.0
"""What the middle red cell of a field, and the middle nucleus of outlined tissue, is taken for: nobody wrote down
the pixel sizes of such pictures."""

FALLBACK_UM: Final = 0.105
"""Pixel of a field without a lone red cell."""

CENTRE_UM_OFF: Final = 4.5
"""A nucleus so far from the middle of a single-cell picture is another cell's."""

HELD_OUT: Final = 3
"""Every third field is held out; of single cells the held-out blocks of P-net's split are."""

BOX_RADIUS: Final = 0.3
"""Radius of a nucleus over the mean side of its cell's box, where the nucleus itself was not found."""

UNKNOWN: Final = 2
"""In a mask: whether this is nucleus nobody said. 1 is nucleus, 0 is none."""

UNKNOWN_REACH: Final = 1.4
"""Radii of a cell that nobody labelled within which nothing is learned."""

SETTLING: Final = 200
"""Pictures of a folder, evenly spread, that its stain is learned from."""

SLIDES: Final = (("giemsa", 0.06), ("he", 0.06), ("giemsa", 0.6), ("he", 0.6))
"""Looks of the painted slides, and the share of their cells that touch another."""

STAINS: Final = (0.75, 1.0, 1.3)
"""How strongly the painted slides are stained."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One picture at the centre network's scale, and what is known of it."""

    image: Image
    """(h, w, 3) uint8 RGB."""
    glass_rgb: tuple[float, float, float]
    stain_map: StainMap
    """Of its session."""
    cells: NDArray[np.float32]
    """(N, 3) row, col, radius of the nucleus, px of this picture."""
    mask: NDArray[np.uint8]
    """(h, w): 1 where a nucleus is, 0 where none is, ``UNKNOWN`` where nobody says."""
    kind: str
    """``cell``, ``field``, ``outlined``, ``empty`` or ``painted``."""


def gather(folders: list[Path], seed: int, progress: Progress, *, held_out: bool = False) -> list[Shown]:
    """Read folders, and paint slides.

    Parameters
    ----------
    folders
        Of the four kinds above.
    seed
        Of the painted slides.
    progress
        Told about every folder.
    held_out
        Give what is held out from training instead; nothing painted.

    Raises
    ------
    UsageError
        A folder is of no kind.
    """
    shown: list[Shown] = []
    for done, folder in enumerate(folders, start=1):
        shown += _reader_of(folder)(folder, held_out)
        progress("pictures", done, len(folders))
    return shown if held_out else shown + list(_painted(seed))


def _reader_of(folder: Path) -> Callable[[Path, bool], list[Shown]]:
    if (folder / DESCRIPTION).is_file():
        return _cells
    if (folder / "boxes.csv").is_file():
        return _boxed
    if (folder / "labels").is_dir():
        return _outlined
    if any(folder.glob("*.*")):
        return _empty
    raise UsageError(f"{folder} holds no pictures; give class folders, boxes.csv, images and labels, or fields")


def _cells(folder: Path, held_out: bool) -> list[Shown]:
    about = describe(folder)
    labelled = [cell for cell in in_class_folders(folder, about, False) if (cell.part == "heldout") == held_out]
    stain_map = _stain([(cell.path, about.pixel_size_um) for cell in labelled])
    shown = []
    for cell in labelled:
        image = _read(cell.path)
        nucleated = ROLES[cell.label] != "ignored"
        shown.append(_single(image, about.pixel_size_um, stain_map, nucleated))
    return shown


def _single(image: Image, pixel_um: float, stain_map: StainMap, nucleated: bool) -> Shown:
    """A picture of one cell: the nucleus nearest to the middle is the labelled one."""
    detections = _segmented(image, pixel_um, stain_map)
    middle = np.array(image.shape[:2]) / 2 - 0.5
    apart = [float(np.hypot(*(np.array(one.centre_rc) - middle))) * pixel_um for one in detections]
    own = int(np.argmin(apart)) if apart and min(apart) <= CENTRE_UM_OFF else None
    page = _Page.of(image, pixel_um, stain_map, "cell")
    for index, one in enumerate(detections):
        if index != own:
            page.doubt(one)
        elif nucleated:
            page.enter(one)
    if own is None and nucleated:
        page.place((float(middle[0]), float(middle[1])), NUCLEUS_UM / 2 / pixel_um)
    return page.shown()


def _boxed(folder: Path, held_out: bool) -> list[Shown]:
    boxes: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (folder / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            boxes[row["image"]].append(row)
    paths = _some([path for path in _pictures(folder / "images") if path.name in boxes], held_out)
    scales = [_box_scale(boxes[path.name]) for path in paths]
    usual = float(np.median([scale for scale in scales if scale] or [FALLBACK_UM]))
    shown = []
    by_shape: dict[tuple[int, ...], list[tuple[Path, float]]] = defaultdict(list)
    for path, scale in zip(paths, scales, strict=True):
        by_shape[_read(path).shape].append((path, scale or usual))
    for pairs in by_shape.values():
        # Pictures of one size come from one laboratory.
        stain_map = _stain(pairs)
        shown += [_field(_read(path), um, stain_map, boxes[path.name]) for path, um in pairs]
    return shown


def _field(image: Image, pixel_um: float, stain_map: StainMap, boxes: list[dict[str, str]]) -> Shown:
    detections = _segmented(image, pixel_um, stain_map)
    page = _Page.of(image, pixel_um, stain_map, "field")
    for box in boxes:
        if box["class"] != "wbc":
            continue
        left, top, width, height = (float(box[name]) for name in ("left_px", "top_px", "width_px", "height_px"))
        inside = [
            one
            for one in detections
            if top <= one.centre_rc[0] <= top + height and left <= one.centre_rc[1] <= left + width
        ]
        if len(inside) == 1:
            page.enter(inside[0])
        else:
            page.place((top + height / 2, left + width / 2), BOX_RADIUS * float(np.sqrt(width * height)))
    return page.shown()


def _outlined(folder: Path, held_out: bool) -> list[Shown]:
    shown = []
    for path in _some(_pictures(folder / "images"), held_out):
        labels = cv2.imread(str(folder / "labels" / path.name), cv2.IMREAD_UNCHANGED)
        if labels is None:
            raise UsageError(f"{folder / 'labels' / path.name} is missing; every picture needs its outlines")
        image = _read(path)
        values = [value for value in np.unique(labels) if value]
        areas = [float((labels == value).sum()) for value in values]
        pixel_um = NUCLEUS_UM / (2 * float(np.sqrt(np.median(areas) / np.pi))) if values else FALLBACK_UM
        page = _Page.of(image, pixel_um, IDENTITY, "outlined")
        for value, area in zip(values, areas, strict=True):
            rows, cols = np.nonzero(labels == value)
            page.place((float(rows.mean()), float(cols.mean())), float(np.sqrt(area / np.pi)))
        page.cover((labels > 0).astype(np.uint8))
        shown.append(page.shown())
    return shown


def _empty(folder: Path, held_out: bool) -> list[Shown]:
    shown = []
    for path in _some(_pictures(folder), held_out):
        image = _read(path)
        diameters = red_cell_diameters_px(image)
        pixel_um = RED_CELL_UM / float(np.median(diameters)) if len(diameters) else FALLBACK_UM
        shown.append(_Page.of(image, pixel_um, IDENTITY, "empty").shown())
    return shown


def _painted(seed: int) -> Iterator[Shown]:
    """Slides of which all is known but where exactly a nucleus ends."""
    for number, (look, touching) in enumerate(SLIDES):
        for step, strength in enumerate(STAINS):
            slide = SimulatedSlide.make(
                1000 * seed + 10 * number + step,
                look,  # type: ignore[arg-type]  # one of LOOKS
                150,
                touching=touching,
                stain=(strength, strength, strength),
            )
            page = _Page.of(slide.image, slide.pixel_size_um, IDENTITY, "painted")
            for cell in slide.truth:
                radius = cell.diameter_um * float(np.sqrt(cell.nucleus_ratio)) / 2 / slide.pixel_size_um
                page.place((cell.row_px, cell.col_px), radius)
            yield page.shown()


class _Page:
    """A picture on its way into the set."""

    def __init__(self, shown: Shown, factor: float) -> None:
        self._shown = shown
        self._factor = factor
        self._cells: list[tuple[float, float, float]] = []

    @staticmethod
    def of(image: Image, pixel_um: float, stain_map: StainMap, kind: str) -> _Page:
        scaled, factor = at_centre_scale(image, pixel_um)
        mask = np.zeros(scaled.shape[:2], np.uint8)
        empty = np.zeros((0, 3), np.float32)
        return _Page(Shown(scaled, glass_colour(image), stain_map, empty, mask, kind), factor)

    def enter(self, detection: Detection) -> None:
        """Note a nucleus that the device outlined."""
        row, col = (self._here(at) for at in detection.centre_rc)
        self._cells.append((row, col, detection.nucleus_diameter_um / 2 / CENTRE_UM))
        self._fill(detection, 1)

    def place(self, centre_rc: tuple[float, float], radius_px: float) -> None:
        """Note a cell of which the place is known and the outline is not; frame px."""
        row, col = (self._here(at) for at in centre_rc)
        radius = radius_px / self._factor
        self._cells.append((row, col, radius))
        self._disc(row, col, UNKNOWN_REACH * radius)

    def doubt(self, detection: Detection) -> None:
        """Note what may be a cell and nobody labelled."""
        row, col = (self._here(at) for at in detection.centre_rc)
        self._disc(row, col, UNKNOWN_REACH * detection.reach_px / self._factor)

    def cover(self, mask: NDArray[np.uint8]) -> None:
        """Put a whole mask of nuclei in place; frame px."""
        height, width = self._shown.mask.shape
        small = cv2.resize(mask * 255, (width, height), interpolation=cv2.INTER_AREA)
        self._shown.mask[...] = np.asarray(small, np.uint8) > 127

    def shown(self) -> Shown:
        cells = np.array(self._cells, np.float32).reshape(-1, 3)
        one = self._shown
        return Shown(one.image, one.glass_rgb, one.stain_map, cells, one.mask, one.kind)

    def _here(self, frame: float) -> float:
        return (frame + 0.5) / self._factor - 0.5

    def _disc(self, row: float, col: float, radius: float) -> None:
        cv2.circle(self._shown.mask, (round(col), round(row)), max(1, round(radius)), UNKNOWN, -1)

    def _fill(self, detection: Detection, value: int) -> None:
        points = (detection.contour_xy + 0.5) * detection.factor / self._factor - 0.5
        apart = np.abs(np.diff(detection.contour_xy, axis=0)).max(axis=1, initial=0)
        for lobe in np.split(points, np.flatnonzero(apart > 1) + 1):
            cv2.fillPoly(self._shown.mask, [np.rint(lobe).astype(np.int32)], value)


def _segmented(image: Image, pixel_um: float, stain_map: StainMap) -> list[Detection]:
    return Segmenter(pixel_um).segment_reduced(reduce(image, pixel_um, stain_map)).detections


def _stain(pairs: list[tuple[Path, float]]) -> StainMap:
    """The stain of a folder, as the device would learn it from some of its pictures."""
    stain = SessionStain()
    for place in np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), SETTLING)).astype(int)):
        path, pixel_um = pairs[int(place)]
        image = _read(path)
        stain.learn(image, pixel_um, glass_colour(image))
    return stain.map


def _some(paths: list[Path], held_out: bool) -> list[Path]:
    return [path for index, path in enumerate(paths) if (index % HELD_OUT == HELD_OUT - 1) == held_out]


def _box_scale(boxes: list[dict[str, str]]) -> float | None:
    """Pixel size, um, by the boxes of red cells; None where there are few."""
    sides = [float(np.sqrt(float(b["width_px"]) * float(b["height_px"]))) for b in boxes if b["class"] == "rbc"]
    return RED_CELL_UM / float(np.median(sides)) if len(sides) >= 5 else None


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _read(path: Path) -> Image:
    return PictureReader().read(path)
