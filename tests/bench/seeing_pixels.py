"""The pixel size that red cells suggest on real pictures, against what is known of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from fnrbc_device.records import Image
from fnrbc_device.vision.pixelsize import RED_CELL_UM, PixelSizeEstimate, RedCellRuler
from seeing_cells import PIXEL_UM as PBC_PIXEL_UM
from seeing_fields import red_cell_boxes_px
from seeing_pictures import Result, Wanted, grouped, pictures_in, read, red_cell_px, share, spread

CROPS: Final = 40
"""Single-cell crops that stand for one session: each shows three or four lone red cells."""

PICTURES: Final = 8
"""Small fields that stand for one session."""

LEAST_RIGHT: Final = 0.95
"""Share of the sessions whose interval must hold the true pixel size: it is a 95 % interval."""


def measure(data: Path, limit: int | None) -> Result:
    """Let groups of pictures stand for sessions; ``limit`` is the number of groups of each.

    ``pbc`` has a known pixel size. ``smear`` has boxes, drawn a little wider than the cells; a picture of
    ``anaemia`` has what the bench of that name takes for its red cell.
    """
    right, offered, crops = _pbc(data, limit)
    boxes = _smear(data, limit)
    otsu = _anaemia(data, limit)
    figures = {
        "pbc": {"sessions": crops, "offered": offered, "interval_holds_it": right},
        "smear": _spread_of(boxes),
        "anaemia": _spread_of(otsu),
    }
    table = [f"pbc: {offered} of {crops} sessions offered a pixel size, {right} of them with {PBC_PIXEL_UM} within"]
    for name, against, ratios in (("smear", "median box", boxes), ("anaemia", "Otsu's red cell", otsu)):
        found = _spread_of(ratios)
        table.append(
            f"{name}: {found['offered']} of {found['sessions']} offered; diameter over the {against}: "
            f"{found['low']:.3f} {found['median']:.3f} {found['high']:.3f} (least, median, most)"
        )
    wanted = [Wanted("pbc: the interval holds the pixel size", share(right, offered), at_least=LEAST_RIGHT)]
    return Result("pixels", figures, table, wanted)


def _estimate(images: Iterable[Image]) -> PixelSizeEstimate | None:
    ruler = RedCellRuler()
    for image in images:
        ruler.look(image)
    return ruler.estimate()


def _pbc(data: Path, limit: int | None) -> tuple[int, int, int]:
    """Sessions whose interval holds the pixel size, sessions that got one, sessions."""
    folders = sorted(folder for folder in (data / "pbc").glob("*") if folder.is_dir())
    crops = [path for folder in folders for path in pictures_in(folder)]
    sessions = spread(range(max(1, len(crops) // CROPS)), limit)
    step = max(1, len(crops) // CROPS)
    found = [_estimate(map(read, crops[start::step])) for start in sessions]
    offered = [one for one in found if one is not None]
    return sum(one.agrees_with(PBC_PIXEL_UM) for one in offered), len(offered), len(found)


def _smear(data: Path, limit: int | None) -> list[float]:
    """Diameter over the median box, a session; NaN where none was offered."""
    boxes = red_cell_boxes_px(data / "smear_fields")
    by_size = grouped(boxes, lambda path: "x".join(map(str, read(path).shape)))
    sessions = [
        paths[start : start + PICTURES]
        for paths in by_size.values()
        for start in range(0, len(paths) - PICTURES + 1, PICTURES)
    ]
    return [
        _over(_estimate(map(read, paths)), float(np.median([side for path in paths for side in boxes[path]])))
        for paths in spread(sessions, limit)
    ]


def _anaemia(data: Path, limit: int | None) -> list[float]:
    images = [read(path) for path in pictures_in(data / "anaemia_fields", limit)]
    return [_over(_estimate([image]), red_cell_px(image) or float("nan")) for image in images]


def _over(estimate: PixelSizeEstimate | None, known_px: float) -> float:
    return RED_CELL_UM / estimate.value_um / known_px if estimate else float("nan")


def _spread_of(ratios: Sequence[float]) -> dict[str, float]:
    known = [ratio for ratio in ratios if np.isfinite(ratio)]
    low, median, high = np.quantile(known, (0, 0.5, 1)) if known else (float("nan"),) * 3
    return {
        "sessions": len(ratios),
        "offered": len(known),
        "low": round(float(low), 4),
        "median": round(float(median), 4),
        "high": round(float(high), 4),
    }
