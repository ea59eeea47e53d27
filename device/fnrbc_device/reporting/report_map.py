"""The report's map: the mosaics of the slide, with the cells that matter marked on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from markupsafe import Markup

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.language import N_, _, as_decimal, decimal
from fnrbc_device.records import INDETERMINATE, Image
from fnrbc_device.reporting.rendering import render
from fnrbc_device.reporting.report_picture import data_uri
from fnrbc_device.texts import class_words

MOSAIC_PX: Final = 2000
"""Longest side of a mosaic in the report: sharp in print at 170 mm and 300 dpi."""

MOSAIC_QUALITY: Final = 82

MAX_MOSAICS: Final = 12
"""The largest islands; a hand that loses its place often leaves dozens of one frame each."""

GLASS: Final = (233, 237, 240)
"""What was not seen is drawn in this colour, which no stain has."""

MARK_SHARE: Final = 0.011
"""Radius of a mark, as a share of the mosaic's longer side: found at a glance, few overlap."""

MARK_UM: Final = 8.0
"""Least radius of a mark on the slide: it goes round the cell, where the map shows but a few of them."""

LEGEND: Final = N_("Double ring: counted as fNRBC. Dashed ring with ?: indeterminate. Grey: not seen.")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MarkDrawn:
    """One cell on a map, in the map's pixels."""

    kind: str
    x: float
    y: float
    radius: float
    title: str


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar of a round length at the bottom left, in the map's pixels."""

    x: float
    y: float
    """The bar's bottom left."""
    long: float
    unit: float
    """What its thickness and its label go by."""
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class IslandDrawn:
    """One island as the report draws it; the drawing's unit is the picture's pixel."""

    number: int
    picture: str
    """A ``data:`` URI."""
    width: int
    height: int
    size: str
    """For people."""
    marks: Sequence[MarkDrawn]
    scale_bar: ScaleBar


def map_html(mosaics: Sequence[Mosaic], cells: Sequence[Row], target: str, legend: str = LEGEND) -> Markup:
    """Draw the largest islands, at most ``MAX_MOSAICS``, in the order of their numbers.

    Parameters
    ----------
    mosaics
        One an island.
    cells
        Rows of ``cells.csv``; those of the target class and the indeterminate ones are marked.
    target
        Name of the target class.
    legend
        What the marks and colours mean.
    """
    largest = sorted(mosaics, key=_seen_um2, reverse=True)[:MAX_MOSAICS]
    islands = [_island(mosaic, cells, target) for mosaic in sorted(largest, key=lambda mosaic: mosaic.island)]
    return render("map.html", islands=islands, left_out=len(mosaics) - len(largest), legend=_(legend))


def _seen_um2(mosaic: Mosaic) -> float:
    return float(np.count_nonzero(mosaic.coverage)) * mosaic.um_per_px**2


def _island(mosaic: Mosaic, cells: Sequence[Row], target: str) -> IslandDrawn:
    picture, um_per_px = _reduced(mosaic)
    height, width = picture.shape[:2]
    kinds = {target: "target", INDETERMINATE: "indeterminate"}
    marked = [row for row in cells if int(row["island"]) == mosaic.island and row["class"] in kinds]
    radius = max(MARK_SHARE * max(height, width), MARK_UM / um_per_px)
    return IslandDrawn(
        number=mosaic.island,
        picture=data_uri(picture, MOSAIC_QUALITY),
        width=width,
        height=height,
        size=as_decimal(f"{width * um_per_px / 1e3:.2f} x {height * um_per_px / 1e3:.2f} mm"),
        marks=[_mark(row, kinds[row["class"]], mosaic.origin_rc_um, um_per_px, radius) for row in marked],
        scale_bar=_scale_bar(width, height, um_per_px),
    )


def _mark(row: Row, kind: str, origin_rc_um: tuple[float, float], um_per_px: float, radius: float) -> MarkDrawn:
    x = (float(row["x_um"]) - origin_rc_um[1]) / um_per_px
    y = (float(row["y_um"]) - origin_rc_um[0]) / um_per_px
    p = decimal(float(row["probability"]), 2)
    title = _("cell %(cell)s, %(name)s, p %(p)s", cell=row["cell"], name=class_words(row["class"]), p=p)
    return MarkDrawn(kind, x, y, radius, title)


def _scale_bar(width: int, height: int, um_per_px: float) -> ScaleBar:
    um = round_length(0.2 * width * um_per_px)
    unit = 0.012 * max(width, height)
    label = f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} \N{MICRO SIGN}m"
    return ScaleBar(unit, height - unit, um / um_per_px, unit, label)


def round_length(um: float) -> float:
    """Round a length down to 1, 2 or 5 times a power of ten, for a scale bar."""
    power = 10.0 ** np.floor(np.log10(max(um, 1e-3)))
    return float(max(step for step in (1, 2, 5) if step * power <= max(um, power)) * power)


def _reduced(mosaic: Mosaic) -> tuple[Image, float]:
    """Lay the picture on its ground, at most ``MOSAIC_PX`` long, and give its pixels' size in um."""
    alpha = mosaic.coverage[..., None].astype(np.float32) / 255
    ground = np.full(3, GLASS, np.float32)
    picture: Image = np.rint(mosaic.image * alpha + ground * (1 - alpha)).astype(np.uint8)
    height, width = picture.shape[:2]
    shrink = min(MOSAIC_PX / max(height, width), 1.0)
    if shrink < 1:
        size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return picture, mosaic.um_per_px * width / picture.shape[1]
