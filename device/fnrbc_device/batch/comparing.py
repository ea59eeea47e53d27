"""What another network, or another way of counting, changes in one source: cell by cell, with pictures to look at."""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cv2

from fnrbc_device.batch.counting import Order, Outcome, OutputError, one_thread, row_of, where, worker_name
from fnrbc_device.batch.pictures import Place, pictures
from fnrbc_device.batch.rows import ROW, Row, read_row, seal
from fnrbc_device.batch.sources import Source
from fnrbc_device.errors import FnrbcError
from fnrbc_device.records import INDETERMINATE, Pose
from fnrbc_device.reporting.aligning import aligned, read_poses
from fnrbc_device.reporting.difference import (
    ABSENT,
    DIFFERENCE_COLUMNS,
    CountedCell,
    Difference,
    differ_cells,
    read_earlier,
)
from fnrbc_device.reporting.poses_csv import write_table

DIFFERENCE: Final = "difference.csv"
PICTURES: Final = "pictures"

MOST_PICTURES: Final = 400
"""Of one source, 4 kB each; nobody looks at more of one slide, and the table has all."""

_JPEG_QUALITY: Final = 90

_COUNTS: Final = ("fnrbc", "leukocytes", "indeterminate", "other", "cells", "fnrbc_per_100_leukocytes", "claim")


def comparison_key(before: Path, now: Path) -> str:
    """What a comparison rests on: both counts as they are on the disk."""
    digest = hashlib.sha256()
    for folder in (before, now):
        digest.update((folder / ROW).read_bytes())
    return digest.hexdigest()[:16]


def not_comparable(before: Row | None, now: Row | None) -> str:
    """Why two counts say nothing of what a network changes; empty where they do."""
    for what, row in (("the earlier batch", before), ("this batch", now)):
        if row is None or row.summary is None:
            return f"{what} has no count of it{f' ({row.error})' if row else ''}"
    assert before is not None
    assert now is not None
    if before.fingerprint != now.fingerprint:
        return "the source changed since the earlier batch; count it with both networks again"
    changed = [
        f"{name} {was} \N{RIGHTWARDS ARROW} {getattr(now.settings, name)}"
        for name, was in before.settings
        if was != getattr(now.settings, name)
    ]
    return f"it was counted with other settings ({', '.join(changed)}); use the same ones" if changed else ""


def compare_one(order: Order) -> Outcome:
    """Hold two counts of a source against each other, and write what differs into a folder of its own.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    one_thread()
    assert order.counts is not None
    made = order.work / uuid.uuid4().hex
    try:
        made.mkdir()
        try:
            row = row_of(order, "complete", "", (), _compared(order, *order.counts, made))
        except FnrbcError as fault:
            row = row_of(order, "failed", str(fault))
        except OSError:
            raise
        except Exception as fault:  # noqa: BLE001  whatever it is, it costs this source and no other
            row = row_of(order, "failed", f"it broke the comparison ({where(fault)}); keep it, and report that")
        seal(made, row)
    except OSError as fault:
        raise OutputError(
            f"the worker {worker_name()} cannot write {made} ({fault.strerror}); mend that and give the same command "
            "again"
        ) from fault
    return Outcome(row.state, worker_name(), row.error, made)


def _compared(order: Order, before: Path, now: Path, made: Path) -> dict[str, Any]:
    rows = [read_row(folder) for folder in (before, now)]
    was, is_now = (row.summary for row in rows if row is not None and row.summary is not None)
    poses = read_poses(before / "poses.csv"), read_poses(now / "poses.csv")
    earlier, later = read_earlier(before, is_now["frames"]), read_earlier(now, None)
    difference = differ_cells(aligned(earlier.cells, *poses), later.cells, is_now["pixel_size_um"])
    write_table(made / DIFFERENCE, DIFFERENCE_COLUMNS, difference.rows())
    own = {cell.cell: cell for cell in earlier.cells}
    places = list(_places(difference, own, *poses))[:MOST_PICTURES]
    return {
        **difference.summary(earlier.bundle),
        "changes": [{"from": a, "to": b, "cells": n} for (a, b), n in difference.changes.most_common()],
        "pictures": _draw(order.source, places, is_now["pixel_size_um"], made),
        "before": {**{name: was[name] for name in _COUNTS}, "version": was["version"]},
        "now": {**{name: is_now[name] for name in _COUNTS}, "version": is_now["version"]},
    }


def _places(
    difference: Difference, own: Mapping[int, CountedCell], before: Mapping[int, Pose], now: Mapping[int, Pose]
) -> Iterator[Place]:
    """Where to look at what changed, by the row of the table: what a person would look at first, first."""
    changed = [(number, *pair) for number, pair in enumerate(difference.pairs) if _called(pair[0]) != _called(pair[1])]
    for number, was, is_now in sorted(changed, key=lambda one: (not _matters(one[1:]), one[0])):
        cell, poses = (is_now, now) if is_now else (own[was.cell], before) if was else (None, now)
        if cell is not None and (pose := poses.get(cell.best_frame)) is not None and pose.island == cell.island:
            row, col = cell.y_px - pose.row_px, cell.x_px - pose.col_px
            yield Place(number, cell.best_frame, row, col, cell.y_px, cell.x_px)


def _matters(pair: Iterable[CountedCell | None]) -> bool:
    """Whether a cell was, or now is, one of those that a person is asked about."""
    return any(cell is not None and cell.class_name in ("fnrbc", INDETERMINATE) for cell in pair)


def _called(cell: CountedCell | None) -> str:
    return cell.class_name if cell else ABSENT


def _draw(source: Source, places: list[Place], um: float, made: Path) -> list[int]:
    """Write the pictures; gives the rows of the table that have one."""
    (made / PICTURES).mkdir()
    drawn = []
    for number, image in pictures(source, places, um):
        name = str(made / PICTURES / f"{number}.jpg")
        cv2.imwrite(name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        drawn.append(number)
    return sorted(drawn)
