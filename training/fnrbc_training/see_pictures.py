"""Pictures that the centre network learns from, and what is known of the cells in them.

A folder is one of four: single cells (``dataset.toml`` and class folders; the cell in the middle is known, others are
not; a class of the role *ignored* says that no cell is there), fields with boxes (``boxes.csv``), fields with outlined
nuclei (``images`` and ``labels``), or fields of blood without a nucleated cell (pictures alone). Painted slides come on
top, of which all is known. Each folder is a session of its own: its stain is learned as the device learns it.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.red_cells import red_cell_diameters_px
from fnrbc_device.vision.reduction import glass_colour, reduce
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_device.vision.session_stain import SessionStain
from fnrbc_device.vision.stain import IDENTITY, Anchors, StainMap, anchors_of, map_of
from fnrbc_training.dataset import ROLES
from fnrbc_training.description import DESCRIPTION, describe
from fnrbc_training.labelled import SUFFIXES, in_class_folders
from fnrbc_training.see_page import OWN_REACH, Page, Shown
from fnrbc_training.single_cells import FAR_UM, labelled_one, seen_alone

RED_CELL_UM: Final = 7.5
NUCLEUS_UM: Final = 7.0
"""What the middle red cell of a field, and the middle nucleus of outlined tissue, is taken for: nobody wrote down
the pixel sizes of such pictures."""

FALLBACK_UM: Final = 0.105
"""Pixel of a field without a lone red cell."""

HELD_OUT: Final = 3
"""Every third field is held out; of single cells the held-out blocks of P-net's split are."""

BOX_RADIUS: Final = 0.3
"""Radius of a nucleus over the mean side of its cell's box, where the nucleus itself was not found."""

SETTLING: Final = 200
"""Pictures of a folder, evenly spread, that its stain is learned from."""

SLIDES: Final = (("giemsa", 0.06), ("he", 0.06), ("giemsa", 0.6), ("he", 0.6))
"""Looks of the painted slides, and the share of their cells that touch another."""

STAINS: Final = (0.75, 1.0, 1.3)
"""How strongly the painted slides are stained."""

Progress = Callable[[str, int, int], None]


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
        kind = "bare" if ROLES[cell.label] == "ignored" else "cell"
        page = Page.of(_read(cell.path), about.pixel_size_um, stain_map, kind, folder.name)
        nuclei = seen_alone(reduce(page.image, about.pixel_size_um, stain_map), about.pixel_size_um).detections
        _enter_middle(page, nuclei, about.pixel_size_um)
        shown.append(page.shown())
    return shown


def _enter_middle(page: Page, detections: list[Detection], pixel_um: float) -> None:
    """Note the one cell of a picture that is labelled; of all else that may be one nothing is known."""
    middle_row, middle_col = (side / 2 - 0.5 for side in page.image.shape[:2])
    apart = [float(np.hypot(one.centre_rc[0] - middle_row, one.centre_rc[1] - middle_col)) for one in detections]
    own = labelled_one(detections, (middle_row, middle_col), pixel_um)
    nowhere = own is None and any(pixel_um * value <= FAR_UM for value in apart)
    for one in detections:
        if one is not own:
            page.doubt(one)
    if page.kind == "bare":
        page.doubt_what_is_dark((middle_row, middle_col), FAR_UM / pixel_um)
    elif own is not None:
        page.enter(own)
        page.doubt_what_is_dark(own.centre_rc, OWN_REACH * own.nucleus_diameter_um / 2 / pixel_um)
    else:
        page.doubt_what_is_dark((middle_row, middle_col), 0.0)
        if not nowhere:
            page.place((middle_row, middle_col), NUCLEUS_UM / 2 / pixel_um)


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
    for shape, pairs in by_shape.items():
        # Pictures of one size come from one laboratory.
        stain_map = _stain(pairs)
        source = f"{folder.name} {shape[1]}x{shape[0]}"
        shown += [_field(_read(path), um, stain_map, boxes[path.name], source) for path, um in pairs]
    return shown


def _field(image: Image, pixel_um: float, stain_map: StainMap, boxes: list[dict[str, str]], source: str) -> Shown:
    detections = _segmented(image, pixel_um, stain_map)
    page = Page.of(image, pixel_um, stain_map, "field", source)
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
        page = Page.of(image, pixel_um, _own_stain(image, pixel_um), "outlined", folder.name)
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
        shown.append(Page.of(image, pixel_um, IDENTITY, "empty", folder.name).shown())
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
            stain_map = _own_stain(slide.image, slide.pixel_size_um)
            page = Page.of(slide.image, slide.pixel_size_um, stain_map, "painted", look)
            for cell in slide.truth:
                radius = cell.diameter_um * float(np.sqrt(cell.nucleus_ratio)) / 2 / slide.pixel_size_um
                page.place((cell.row_px, cell.col_px), radius)
            yield page.shown()


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


def _own_stain(image: Image, pixel_um: float) -> StainMap:
    """The stain of a picture that is a session of its own; as it is where it says nothing."""
    anchors = anchors_of(image, pixel_um, glass_colour(image))
    return map_of(anchors) if isinstance(anchors, Anchors) else IDENTITY


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
