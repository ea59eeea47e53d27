"""The report's map: the mosaics of the slide, with the cells that matter marked on them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.records import INDETERMINATE, Image
from fnrbc_device.reporting.report_picture import data_uri

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

MARKS: Final = """<defs>
<g id="target" fill="none"><circle r="1.05" stroke="#fff" stroke-width=".7"/>
<circle r="1.22" stroke="#b5380b" stroke-width=".24"/>
<circle r=".88" stroke="#b5380b" stroke-width=".14"/></g>
<g id="indeterminate"><circle r="1.05" fill="none" stroke="#fff" stroke-width=".45"/>
<circle r="1.05" fill="none" stroke="#7a4b00" stroke-width=".26" stroke-dasharray=".55 .33"/>
<rect x=".55" y="-1.75" width="1" height="1.1" rx=".2" fill="#7a4b00"/>
<text x="1.05" y="-.9" font-size="1" font-weight="bold" text-anchor="middle" fill="#fff">?</text></g>
</defs>"""
"""A mark of radius 1 for each kind of cell that is marked, told by its shape as well as its colour."""

LEGEND: Final = "Double ring: counted as fNRBC. Dashed ring with ?: indeterminate. Grey: not seen."

Row = Mapping[str, Any]


def map_html(mosaics: Sequence[Mosaic], cells: Sequence[Row], target: str, legend: str = LEGEND) -> str:
    """Draw the islands.

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
    if not mosaics:
        return "<h2>Map of the slide</h2><p>No frame could be placed.</p>"
    largest = sorted(mosaics, key=_seen_um2, reverse=True)[:MAX_MOSAICS]
    figures = "".join(_island(mosaic, cells, target) for mosaic in sorted(largest, key=_number))
    left_out = len(mosaics) - len(largest)
    more = f'<p class="soft">{left_out} smaller islands are not drawn.</p>' if left_out else ""
    defs = f'<svg class="defs" width="0" height="0" aria-hidden="true">{MARKS}</svg>'
    return f'<h2>Map of the slide</h2>{defs}<p class="soft">{escape(legend)}</p>{figures}{more}'


def _seen_um2(mosaic: Mosaic) -> float:
    return float(np.count_nonzero(mosaic.coverage)) * mosaic.um_per_px**2


def _number(mosaic: Mosaic) -> int:
    return mosaic.island


def _island(mosaic: Mosaic, cells: Sequence[Row], target: str) -> str:
    """One island with its marks; the drawing's unit is the picture's pixel."""
    picture, um_per_px = _reduced(mosaic)
    height, width = picture.shape[:2]
    kinds = {target: "target", INDETERMINATE: "indeterminate"}
    marked = [row for row in cells if int(row["island"]) == mosaic.island and row["class"] in kinds]
    radius = max(MARK_SHARE * max(height, width), MARK_UM / um_per_px)
    marks = "".join(_mark(row, kinds[row["class"]], mosaic.origin_rc_um, um_per_px, radius) for row in marked)
    size = f"{width * um_per_px / 1e3:.2f} x {height * um_per_px / 1e3:.2f} mm"
    return (
        f'<figure class="mosaic"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Island {mosaic.island}"><image width="{width}" height="{height}" '
        f'href="{data_uri(picture, MOSAIC_QUALITY)}"/>{marks}{_scale_bar(width, height, um_per_px)}</svg>'
        f'<figcaption class="soft">Island {mosaic.island}: {size}, {len(marked)} cells marked.</figcaption>'
        "</figure>"
    )


def _mark(row: Row, kind: str, origin_rc_um: tuple[float, float], um_per_px: float, radius: float) -> str:
    x = (float(row["x_um"]) - origin_rc_um[1]) / um_per_px
    y = (float(row["y_um"]) - origin_rc_um[0]) / um_per_px
    title = f"cell {row['cell']}, {row['class']}, p {float(row['probability']):.2f}"
    where = f'transform="translate({x:.1f} {y:.1f}) scale({radius:.2f})"'
    return f'<use href="#{kind}" {where}><title>{escape(title)}</title></use>'


def _scale_bar(width: int, height: int, um_per_px: float) -> str:
    um = round_length(0.2 * width * um_per_px)
    long, unit = um / um_per_px, 0.012 * max(width, height)
    label = f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} \N{MICRO SIGN}m"
    x, y = unit, height - unit
    box = f'width="{max(long, 6 * unit) + unit:.1f}" height="{3 * unit:.1f}"'
    bar = f'width="{long:.1f}" height="{unit / 2.5:.1f}"'
    return (
        f'<rect x="{x - unit / 2:.1f}" y="{y - 2.4 * unit:.1f}" {box} fill="#fff" opacity="0.85"/>'
        f'<rect x="{x:.1f}" y="{y - unit / 2:.1f}" {bar} fill="#1b2126"/>'
        f'<text x="{x:.1f}" y="{y - unit:.1f}" font-size="{1.4 * unit:.1f}" fill="#1b2126">{label}</text>'
    )


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
