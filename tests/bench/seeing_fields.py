"""Blood smear fields: white cells found, what else is taken for one, and fields with next to none."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Detection, Frame, Image
from seeing_pictures import (
    RED_CELL_UM,
    Result,
    Wanted,
    annotated,
    contact_sheet,
    field_of,
    grouped,
    pictures_in,
    read,
    red_cell_px,
    rows_of,
    share,
    spread,
)

LEAST_FOUND: Final = 0.97
MOST_FNRBC: Final = 0.5
"""fNRBC a field of blood that holds none: one in two fields is already more than a reviewer should see."""

FALLBACK_PX: Final = 70.0
"""Diameter of a red cell where no red cell lies alone, px."""

TILE_UM: Final = 24.0


@dataclass(frozen=True, slots=True)
class Box:
    """One labelled box, px."""

    name: str
    left: float
    top: float
    width: float
    height: float

    def holds(self, centre_rc: tuple[float, float]) -> bool:
        """Whether a place lies in it."""
        row, col = centre_rc
        return self.top <= row <= self.top + self.height and self.left <= col <= self.left + self.width

    def touches_border(self, shape: tuple[int, ...]) -> bool:
        """Whether the picture cuts it off."""
        right, bottom = self.left + self.width, self.top + self.height
        return self.left <= 2 or self.top <= 2 or right >= shape[1] - 2 or bottom >= shape[0] - 2

    @property
    def mean_side_px(self) -> float:
        """Diameter of what the box holds."""
        return float(np.sqrt(self.width * self.height))


@dataclass(slots=True)
class _Smear:
    """What the fields of a smear came to."""

    fields: int = 0
    white: int = 0
    found: int = 0
    several: int = 0
    candidates: int = 0
    false: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, list[float]] = field(default_factory=dict)
    missed: list[Image] = field(default_factory=list)
    wrong: list[Image] = field(default_factory=list)


def measure_smear(data: Path, limit: int | None, sheet: Path | None = None) -> Result:
    """Share of the white cells' boxes that hold a candidate's centre, and every candidate outside of them.

    A picture's pixel size is that at which its median red-cell box (of those that the border does not cut)
    measures ``RED_CELL_UM``; where a picture has fewer than five, the median of the pictures of its size.
    """
    folder = data / "smear_fields"
    boxes = {name: [_box(row) for row in rows] for name, rows in grouped(_labels(folder), _image_name).items()}
    paths = [path for path in pictures_in(folder / "images", None) if path.name in boxes]
    scales = _scales({path: boxes[path.name] for path in paths})
    smear = _Smear()
    for path in spread(paths, limit):
        _add_field(smear, read(path), boxes[path.name], scales[path])
    if sheet is not None:
        contact_sheet(smear.missed, sheet.with_stem(sheet.stem + "-missed"))
        contact_sheet(smear.wrong[:200], sheet.with_stem(sheet.stem + "-false"), side=120, columns=20)
    return _smear_result(smear, [scales[path] for path in spread(paths, limit)])


def boxes_and_scales(folder: Path) -> dict[Path, tuple[list[Box], float]]:
    """The boxes of each labelled picture, and um a pixel."""
    boxes = {name: [_box(row) for row in rows] for name, rows in grouped(_labels(folder), _image_name).items()}
    paths = [path for path in pictures_in(folder / "images", None) if path.name in boxes]
    scales = _scales({path: boxes[path.name] for path in paths})
    return {path: (boxes[path.name], scales[path]) for path in paths}


def red_cell_boxes_px(folder: Path) -> dict[Path, list[float]]:
    """Mean sides of each picture's red-cell boxes that its border does not cut, px."""
    boxes = {name: [_box(row) for row in rows] for name, rows in grouped(_labels(folder), _image_name).items()}
    return _red_sides({path: boxes[path.name] for path in pictures_in(folder / "images") if path.name in boxes})


def _red_sides(boxes: dict[Path, list[Box]]) -> dict[Path, list[float]]:
    sides = {}
    for path, found in boxes.items():
        shape = _shape(path)
        sides[path] = [box.mean_side_px for box in found if box.name == "rbc" and not box.touches_border(shape)]
    return sides


def _labels(folder: Path) -> list[dict[str, str]]:
    return rows_of(folder / "boxes.csv")


def _image_name(row: dict[str, str]) -> str:
    return row["image"]


def _box(row: dict[str, str]) -> Box:
    return Box(row["class"], *(float(row[name]) for name in ("left_px", "top_px", "width_px", "height_px")))


def _scales(boxes: dict[Path, list[Box]]) -> dict[Path, float]:
    """um a pixel of every picture."""
    shapes = {path: _shape(path) for path in boxes}
    own = {path: RED_CELL_UM / float(np.median(side)) for path, side in _red_sides(boxes).items() if len(side) >= 5}
    of_shape = {
        shape: float(np.median([own[path] for path in own if shapes[path] == shape] or [RED_CELL_UM / FALLBACK_PX]))
        for shape in set(shapes.values())
    }
    return {path: own.get(path, of_shape[shapes[path]]) for path in boxes}


def _shape(path: Path) -> tuple[int, int]:
    height, width = read(path).shape[:2]
    return height, width


def _add_field(smear: _Smear, image: Image, boxes: list[Box], pixel_um: float) -> None:
    detections = field_of(image, pixel_um).detections
    white = [box for box in boxes if box.name == "wbc"]
    smear.fields += 1
    smear.white += len(white)
    smear.candidates += len(detections)
    for box in white:
        inside = [d for d in detections if box.holds(d.centre_rc)]
        smear.found += bool(inside)
        smear.several += len(inside) > 1
        if not inside:
            smear.missed.append(_box_tile(image, box, detections))
    for detection in detections:
        if not any(box.holds(detection.centre_rc) for box in white):
            _add_false(smear, image, boxes, detection, pixel_um)


def _add_false(smear: _Smear, image: Image, boxes: list[Box], detection: Detection, pixel_um: float) -> None:
    within = {box.name for box in boxes if box.holds(detection.centre_rc)}
    what = "platelet" if "platelet" in within else "rbc" if "rbc" in within else "nothing"
    smear.false[what] += 1
    smear.sizes.setdefault(what, []).append(detection.nucleus_diameter_um)
    caption = f"{what} {detection.nucleus_diameter_um:.1f}"
    smear.wrong.append(tile(image, detection.centre_rc, TILE_UM / pixel_um, [detection], caption))


def _box_tile(image: Image, box: Box, detections: list[Detection]) -> Image:
    middle = (box.top + box.height / 2, box.left + box.width / 2)
    return tile(image, middle, 1.5 * max(box.width, box.height), detections, "")


def tile(
    image: Image, centre_rc: tuple[float, float], side_px: float, detections: list[Detection], caption: str
) -> Image:
    """A square of a picture with outlines drawn, glass-white beyond the border."""
    drawn = annotated(image, detections, "")
    half = max(8, round(side_px / 2))
    row, col = (round(place) + half for place in centre_rc)
    padded = cv2.copyMakeBorder(drawn, half, half, half, half, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    cut = np.ascontiguousarray(padded[row - half : row + half, col - half : col + half])
    small = np.asarray(cv2.resize(cut, (200, 200), interpolation=cv2.INTER_AREA), np.uint8)
    cv2.putText(small, caption, (4, 18), 0, 0.6, (200, 0, 0), 1, cv2.LINE_AA)
    return small


def _smear_result(smear: _Smear, scales: list[float]) -> Result:
    found = share(smear.found, smear.white)
    false = {
        what: {"count": count, "median_nucleus_um": round(float(np.median(smear.sizes[what])), 2)}
        for what, count in smear.false.most_common()
    }
    scale = [round(float(np.quantile(scales, at)), 4) for at in (0, 0.5, 1)]
    false_a_field = round(share(smear.false.total(), smear.fields), 3)
    figures = {
        "fields": smear.fields,
        "white_cells": smear.white,
        "found_share": round(found, 4),
        "several_share": round(share(smear.several, smear.white), 4),
        "candidates": smear.candidates,
        "false_a_field": false_a_field,
        "false": false,
        "pixel_um": scale,
    }
    table = [
        f"{smear.found} of {smear.white} white cells found in {smear.fields} fields; {smear.several} as several",
        f"{smear.false.total()} candidates elsewhere, {false_a_field} a field:",
        *(f"  {what:10}{one['count']:6}  nucleus of {one['median_nucleus_um']} um" for what, one in false.items()),
        f"um a pixel, least, median, most: {scale[0]} {scale[1]} {scale[2]}",
    ]
    return Result("smear", figures, table, [Wanted("white cells found", found, at_least=LEAST_FOUND)])


def measure_anaemia(data: Path, limit: int | None, sheet: Path | None = None) -> Result:
    """Candidates a field before the classifier, fNRBC after it, where there are next to none.

    A picture's pixel size is that at which its median lone red cell measures ``RED_CELL_UM``. Anaemia makes
    red cells small, so what is found looks larger than it is: the strict side.
    """
    bundle = load_bundle(None)
    tiles: list[Image] = []
    rows: list[dict[str, Any]] = []
    with closing(OnnxClassifier(bundle)) as classifier:
        for index, path in enumerate(pictures_in(data / "anaemia_fields", limit)):
            image = read(path)
            pixel_um = RED_CELL_UM / (red_cell_px(image) or FALLBACK_PX)
            analyser = Analyser(pixel_um, classifier, bundle.manifest, still=True)
            analyser.analyse(Frame(index, 0.0, image, path.name))
            analyser.finish()
            detections = field_of(image, pixel_um).detections
            tiles += _named_tiles(image, detections, analyser, pixel_um)
            rows.append(_field_row(path.name, pixel_um, len(detections), analyser))
    if sheet is not None:
        contact_sheet(tiles, sheet)
    return _anaemia_result(rows)


def _named_tiles(image: Image, detections: list[Detection], analyser: Analyser, pixel_um: float) -> Iterator[Image]:
    settled = {(round(cell.row_px), round(cell.col_px)): cell.settled for cell in analyser.cells()}
    for detection in detections:
        row, col = detection.centre_rc
        event = settled.get((round(row), round(col)))
        caption = event.verdict.class_name[:8] if event else "open"
        yield tile(
            image,
            detection.centre_rc,
            TILE_UM / pixel_um,
            [detection],
            f"{caption} {detection.nucleus_diameter_um:.1f}",
        )


def _field_row(name: str, pixel_um: float, candidates: int, analyser: Analyser) -> dict[str, Any]:
    tally = analyser.tally()
    return {
        "name": name,
        "pixel_um": round(pixel_um, 4),
        "candidates": candidates,
        "fnrbc": tally.fnrbc,
        "leukocytes": tally.leukocytes,
        "indeterminate": tally.indeterminate,
        "other": tally.other,
        "rejected": sum(tally.frames_rejected.values()),
    }


def _anaemia_result(rows: list[dict[str, Any]]) -> Result:
    columns = ("candidates", "fnrbc", "leukocytes", "indeterminate", "other", "rejected")
    a_field = {name: round(share(sum(row[name] for row in rows), len(rows)), 3) for name in columns}
    table = [f"{'field':12}{'um/px':>8}" + "".join(f"{name:>15}" for name in columns)]
    table += [
        f"{row['name']:12}{row['pixel_um']:8.4f}" + "".join(f"{row[name]:15}" for name in columns) for row in rows
    ]
    table.append(f"{'a field':20}" + "".join(f"{a_field[name]:15}" for name in columns))
    figures = {"fields": len(rows), "a_field": a_field, "by_field": rows}
    wanted = [Wanted("fNRBC a field", a_field["fnrbc"], at_most=MOST_FNRBC)]
    return Result("anaemia", figures, table, wanted)
