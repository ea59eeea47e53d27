"""What all benches of seeing share: pictures in, masks out, figures held against what is wanted."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.records import Detection, Field, Image
from fnrbc_device.vision.segmentation import Segmenter

RED_CELL_UM: Final = 7.5
"""Diameter of a red cell: the only ruler in a picture whose pixel size nobody wrote down."""

LEAST_RED_CELLS: Final = 5
"""Fewer give no median worth having."""

ROUND: Final = 0.75
"""4 pi area / perimeter^2 from which a piece is one red cell: two that touch reach 0.65."""

Labels = NDArray[np.int32]
"""(H, W): 0 is ground, every other value one thing."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A figure that the bench holds against a limit."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure keeps its limit; one that could not be measured (NaN) does not."""
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below

    def __str__(self) -> str:
        limit = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{'met   ' if self.met else 'MISSED'} {self.name}: {self.value:.4g} (wanted {limit})"


@dataclass(frozen=True, slots=True)
class Result:
    """What one bench measured."""

    bench: str
    figures: dict[str, Any]
    """What ``--json`` prints."""
    table: list[str]
    """Lines for a person."""
    wanted: list[Wanted]

    def as_json(self) -> dict[str, Any]:
        """The figures, with what was wanted and whether it was met."""
        wanted = [
            {"name": w.name, "value": w.value, "at_least": w.at_least, "at_most": w.at_most, "met": w.met}
            for w in self.wanted
        ]
        return {"bench": self.bench, **self.figures, "wanted": wanted, "met": all(w.met for w in self.wanted)}


def read(path: Path) -> Image:
    """Read one picture, (H, W, 3) uint8 RGB."""
    return PictureReader().read(path)


def pictures_in(folder: Path, limit: int | None = None) -> list[Path]:
    """Pictures of a folder in name order; with a limit, as many spread evenly over all of them.

    Raises
    ------
    FileNotFoundError
        The folder holds none: a bench on nothing must not pass.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix in (".png", ".jpg"))
    if not found:
        raise FileNotFoundError(f"{folder} holds no .png or .jpg; give the folder of the data with --data")
    return spread(found, limit)


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most ``limit`` items, evenly over the sequence."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, limit)]


def field_of(image: Image, pixel_um: float) -> Field:
    """What the appliance's segmentation sees in one picture, on its own."""
    return Segmenter(pixel_um).segment(image)


def lobes_of(detection: Detection) -> list[NDArray[np.int32]]:
    """The outlines of a detection's lobes, one by one, each (N, 2) x, y in working pixels.

    A joined nucleus carries the outlines of its lobes end to end; within one, points are neighbours, so a
    longer jump is the seam between two.
    """
    points = detection.contour_xy
    apart = np.abs(np.diff(points, axis=0)).max(axis=1, initial=0)
    parts = np.split(points, np.flatnonzero(apart > 1) + 1)
    return [np.asarray(part, np.int32) for part in parts if len(part)]


def label_image(field: Field, shape: tuple[int, int]) -> Labels:
    """(H, W) int32 of the nuclei found, all lobes filled, 1 for the first."""
    labels = np.zeros(field.low.shape, np.int32)
    for number, detection in enumerate(field.detections, start=1):
        for lobe in lobes_of(detection):
            cv2.fillPoly(labels, [lobe], number)
    factor = field.detections[0].factor if field.detections else 1.0
    rows, cols = ((np.arange(side) + 0.5) // factor for side in shape)
    edged = np.pad(labels, ((0, 1), (0, 1)))  # what fills no working pixel at the far borders
    return edged[np.ix_(rows.astype(np.intp), cols.astype(np.intp))]


def matches(truth: Labels, found: Labels, least_iou: float = 0.5) -> list[tuple[int, int, float]]:
    """Pairs (true value, found value, IoU) with at least that IoU, one to one, best first."""
    both = (truth > 0) & (found > 0)
    keys, shared = np.unique(truth[both].astype(np.int64) * (int(found.max()) + 1) + found[both], return_counts=True)
    true_px, found_px = np.bincount(truth.ravel()), np.bincount(found.ravel())
    pairs = []
    for key, overlap in zip(keys, shared, strict=True):
        true, seen = divmod(int(key), int(found.max()) + 1)
        iou = float(overlap / (true_px[true] + found_px[seen] - overlap))
        if iou >= least_iou:
            pairs.append((true, seen, iou))
    return _one_to_one(sorted(pairs, key=lambda pair: -pair[2]))


def _one_to_one(pairs: Iterable[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    taken_true: set[int] = set()
    taken_found: set[int] = set()
    kept = []
    for true, seen, iou in pairs:
        if true not in taken_true and seen not in taken_found:
            taken_true.add(true)
            taken_found.add(seen)
            kept.append((true, seen, iou))
    return kept


def things_in(labels: Labels) -> int:
    """Number of labelled things."""
    return len(np.unique(labels[labels > 0]))


def red_cell_px(image: Image) -> float | None:
    """Median diameter of the red cells of a smear, px: what Otsu calls dark, is round, and is the common size.

    None where fewer than ``LEAST_RED_CELLS`` lie alone.
    """
    green = cv2.GaussianBlur(np.ascontiguousarray(image[..., 1]), (0, 0), 1.5)
    _, dark = cv2.threshold(green, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    contours, _ = cv2.findContours(dark, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    least_px2 = image.shape[0] * image.shape[1] / 4000  # 5 000 red cells side by side: no field shows them so small
    areas = [cv2.contourArea(c) for c in contours if _is_round(c)]
    large = [area for area in areas if area > least_px2]
    return 2 * float(np.sqrt(np.median(large) / np.pi)) if len(large) >= LEAST_RED_CELLS else None


def _is_round(contour: NDArray[Any]) -> bool:
    around = cv2.arcLength(contour, True)
    return bool(around > 0 and 4 * np.pi * cv2.contourArea(contour) / around**2 >= ROUND)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def grouped(items: Iterable[Item], by: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Items by the name that ``by`` gives each."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[by(item)].append(item)
    return dict(groups)


def share(part: float, whole: float) -> float:
    """Part of a whole; NaN of nothing, which keeps no limit."""
    return part / whole if whole else float("nan")


def contact_sheet(tiles: Sequence[Image], path: Path, columns: int = 10, side: int = 200) -> None:
    """Write pictures as one PNG, for a person to look at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = [np.asarray(cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for tile in tiles]
    small += [np.zeros((side, side, 3), np.uint8)] * (-len(small) % columns)
    rows = [np.hstack(small[start : start + columns]) for start in range(0, len(small), columns)]
    if rows:
        cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def annotated(image: Image, detections: Iterable[Detection], caption: str) -> Image:
    """A copy of a picture with outlines drawn and a caption."""
    drawn = np.array(image)
    for detection in detections:
        outlines = [np.rint((lobe + 0.5) * detection.factor - 0.5).astype(np.int32) for lobe in lobes_of(detection)]
        cv2.polylines(drawn, outlines, True, (0, 160, 0), max(1, image.shape[0] // 200))
    cv2.putText(drawn, caption, (4, image.shape[0] // 14), 0, image.shape[0] / 600, (200, 0, 0), 1, cv2.LINE_AA)
    return drawn
