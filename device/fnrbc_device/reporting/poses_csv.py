"""The tables that a count leaves behind: its cells, and the places of its frames."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from fnrbc_device.host.console import ESCAPE
from fnrbc_device.records import Join, Pose, Rejection, Step, final_pose

POSE_COLUMNS: Final = ("frame", "island", "x_px", "y_px", "used", "reason")


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
    with part.open("w", newline="", encoding="utf-8", errors=ESCAPE) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    part.replace(path)
