"""Lays an earlier count's cells where a later count of the same frames has them.

Another way of finding cells moves frames by a fraction of a cell, and may number islands otherwise. Both counts say
where each frame lies; what a frame moved by, the cells that it shows moved by.
"""

import csv
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Pose
from fnrbc_device.reporting.difference import CountedCell


def read_poses(path: Path) -> dict[int, Pose]:
    """Read where each frame lies from a ``poses.csv``; frames that were not placed are left out.

    Raises
    ------
    UsageError
        It cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            placed = (row for row in csv.DictReader(file) if row["island"] != "")
            return {int(row["frame"]): _pose(row) for row in placed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); count that source again") from error


def aligned(
    cells: Iterable[CountedCell], before: Mapping[int, Pose], now: Mapping[int, Pose]
) -> tuple[CountedCell, ...]:
    """Move an earlier count's cells with the frames that show them.

    Parameters
    ----------
    cells
        Of the earlier count.
    before, now
        Where each frame lies in either count, by its number.

    Returns
    -------
    tuple
        In the order given. A cell none of whose island's frames the later count has placed stays where it was.
    """
    common: dict[int, list[int]] = {}
    for frame in sorted(before.keys() & now.keys()):
        common.setdefault(before[frame].island, []).append(frame)
    return tuple(_moved(cell, before, now, common.get(cell.island, [])) for cell in cells)


def _moved(cell: CountedCell, before: Mapping[int, Pose], now: Mapping[int, Pose], frames: list[int]) -> CountedCell:
    if not frames:
        return cell
    frame = _nearest(frames, cell.best_frame)
    was, is_now = before[frame], now[frame]
    down, right = is_now.row_px - was.row_px, is_now.col_px - was.col_px
    um = cell.x_um / cell.x_px if cell.x_px else cell.y_um / cell.y_px if cell.y_px else 0.0
    return replace(
        cell,
        island=is_now.island,
        x_px=cell.x_px + right,
        y_px=cell.y_px + down,
        x_um=round(cell.x_um + right * um, 3),
        y_um=round(cell.y_um + down * um, 3),
    )


def _nearest(frames: list[int], wanted: int) -> int:
    """Of sorted frames the one with the nearest number."""
    after = bisect_left(frames, wanted)
    return min(frames[max(after - 1, 0) : after + 1], key=lambda frame: abs(frame - wanted))


def _pose(row: Mapping[str, str]) -> Pose:
    return Pose(int(row["island"]), float(row["y_px"]), float(row["x_px"]))
