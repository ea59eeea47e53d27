"""A slide's cells as GeoJSON that QuPath opens over the slide: a detection a cell, with its class, colour and measures.

Coordinates are pixels of the slide's finest level, x to the right and y down, as QuPath has them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import INDETERMINATE

GEOJSON_NAME: Final = "cells.geojson"

COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    "fnrbc": (213, 94, 0), "leukocyte": (0, 114, 178), "other": (120, 120, 120), INDETERMINATE: (240, 190, 0),
}  # fmt: skip
"""Told apart by people who do not see red and green as others do (Okabe and Ito, 2008)."""

MORE_COLOURS: Final = ((0, 158, 115), (204, 121, 167), (86, 180, 233))
"""Of classes that a laboratory's own bundle names."""

MEASURES: Final = ("probability", "diameter_um", "nucleus_ratio")


def write_geojson(
    path: Path, rows: Iterable[Mapping[str, Any]], outline: Callable[[int], NDArray[np.int32]], classes: Sequence[str]
) -> None:
    """Write a feature collection, replacing an earlier one only when it is whole.

    Parameters
    ----------
    rows
        Of ``cells.csv``, by column name.
    outline
        Of a cell's nucleus, by its number: (N, 2) px of the slide, (x, y).
    classes
        Of the bundle, in its order.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    colours = class_colours(classes)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, row in enumerate(rows):
            file.write((",\n" if number else "\n") + json.dumps(_feature(row, outline(int(row["cell"])), colours)))
        file.write("\n]}\n")
    part.replace(path)


def class_colours(classes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Colour of each class, and of the indeterminate."""
    own = [name for name in classes if name not in COLOURS]
    further = {name: MORE_COLOURS[at % len(MORE_COLOURS)] for at, name in enumerate(own)}
    return {**COLOURS, **further}


def _feature(
    row: Mapping[str, Any], outline_xy: NDArray[np.int32], colours: Mapping[str, tuple[int, int, int]]
) -> dict[str, Any]:
    name = str(row["class"])
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [_ring(row, outline_xy)]},
        "properties": {
            "objectType": "detection",
            "name": f"cell {row['cell']}",
            "classification": {"name": name, "color": list(colours[name])},
            "measurements": {measure: row[measure] for measure in MEASURES},
        },
    }


def _ring(row: Mapping[str, Any], outline_xy: NDArray[np.int32]) -> list[list[float]]:
    """A closed ring; of an outline of fewer than three points a small square round the centre."""
    points: list[list[float]] = [[int(x), int(y)] for x, y in outline_xy]
    if len(points) < 3:
        x, y = float(row["x_px"]), float(row["y_px"])
        points = [[x - 1, y - 1], [x + 1, y - 1], [x + 1, y + 1], [x - 1, y + 1]]
    return [*points, points[0]]
