"""The tables that a count leaves behind: its cells, and the places of its frames."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from fnrbc_device.records import CountEvent, Join, Pose, Rejection, Step, final_pose

CELL_COLUMNS: Final = (
    "cell", "island", "x_px", "y_px", "x_um", "y_um", "class", "probability", "views", "diameter_um",
    "nucleus_ratio", "best_frame",
)  # fmt: skip
POSE_COLUMNS: Final = ("frame", "island", "x_px", "y_px", "used", "reason")


def cell_row(event: CountEvent, place: Pose, views: int, pixel_size_um: float) -> dict[str, Any]:
    """A counted cell's row of ``cells.csv``, by column name.

    Parameters
    ----------
    event
        That entered it into the count.
    place
        Its own, on the island that it belongs to in the end.
    views
        How many there were.
    pixel_size_um
        Size of a pixel on the slide, um.
    """
    row = (
        event.cell,
        place.island,
        round(place.col_px, 2),
        round(place.row_px, 2),
        round(place.col_px * pixel_size_um, 3),
        round(place.row_px * pixel_size_um, 3),
        event.verdict.class_name,
        round(event.verdict.probability, 4),
        views,
        round(event.diameter_um, 2),
        round(event.nucleus_ratio, 3),
        event.best_frame,
    )
    return dict(zip(CELL_COLUMNS, row, strict=True))


class Poses:
    """The rows of ``poses.csv``: every frame on the island that it belongs to in the end."""

    def __init__(self) -> None:
        self._placed: list[tuple[int, Pose | None, Rejection | None]] = []
        self._joins: list[Join] = []

    def add(self, step: Step) -> None:
        """Note where a step placed its frame, and which islands it joined."""
        self._placed.append((step.frame.index, step.pose, step.reason))
        self._joins += step.joins

    def rows(self) -> list[tuple[Any, ...]]:
        """One a frame, in their order."""
        return [self._row(*placed) for placed in self._placed]

    def _row(self, index: int, pose: Pose | None, reason: Rejection | None) -> tuple[Any, ...]:
        used = int(reason is None)
        if pose is None:
            return (index, "", "", "", used, reason or "")
        pose = final_pose(pose, self._joins)
        return (index, pose.island, round(pose.col_px, 3), round(pose.row_px, 3), used, reason or "")


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as CSV; an earlier one stays whole until this one is."""
    part = path.with_name(path.name + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    part.replace(path)
