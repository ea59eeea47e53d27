"""What another model makes of the same recorded frames: the difference of two counts, cell by cell."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fnrbc_device.counting.ledger import SAME_CELL_UM
from fnrbc_device.errors import UsageError

DIFFERENCE_COLUMNS: Final = (
    "cell", "cell_before", "island", "x_um", "y_um", "class", "class_before", "probability", "probability_before",
    "changed",
)  # fmt: skip

ABSENT: Final = ""
"""The class, in a row of the difference, of a cell that only the other count has."""


@dataclass(frozen=True, slots=True)
class CountedCell:
    """One row of a ``cells.csv``."""

    cell: int
    island: int
    x_px: float
    y_px: float
    x_um: float
    y_um: float
    class_name: str
    probability: float
    best_frame: int = -1
    """That shows it best; -1 where the table does not say."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A count that was written before."""

    cells: tuple[CountedCell, ...]
    frames: int
    bundle: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Two counts of the same frames, laid side by side."""

    pairs: tuple[tuple[CountedCell | None, CountedCell | None], ...]
    """(before, now) of every cell, in the order of now; what only the earlier count has stands last."""

    @property
    def changes(self) -> Counter[tuple[str, str]]:
        """How many cells went from which class to which other; ``""`` where one count lacks the cell."""
        classes = (tuple(one.class_name if one else ABSENT for one in pair) for pair in self.pairs)
        return Counter((before, now) for before, now in classes if before != now)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of ``difference.csv``."""
        for before, now in self.pairs:
            known = now or before
            assert known is not None
            b = (before.cell, before.class_name, before.probability) if before else (ABSENT,) * 3
            n = (now.cell, now.class_name, now.probability) if now else (ABSENT,) * 3
            changed = int(b[1] != n[1])
            yield (n[0], b[0], known.island, known.x_um, known.y_um, n[1], b[1], n[2], b[2], changed)

    def summary(self, bundle_before: str) -> dict[str, Any]:
        """What ``summary.json`` holds of it."""
        changes = self.changes
        return {
            "bundle_before": bundle_before,
            "cells": len(self.pairs),
            "changed": changes.total(),
            "only_before": sum(n for (_, now), n in changes.items() if now == ABSENT),
            "only_now": sum(n for (before, _), n in changes.items() if before == ABSENT),
        }

    def in_words(self) -> str:
        """One sentence, such as ``12 of 431 cells changed: 3 fnrbc became other, 9 other became indeterminate``."""
        changes = self.changes
        said = f"{changes.total()} of {len(self.pairs)} cells changed"
        return f"{said}: {', '.join(_change(*one) for one in changes.most_common())}" if changes else said


def _change(classes: tuple[str, str], cells: int) -> str:
    before, now = classes
    if now == ABSENT:
        return f"{cells} {before} only in the earlier count"
    return f"{cells} {now} only in this count" if before == ABSENT else f"{cells} {before} became {now}"


def read_earlier(folder: Path, frames: int | None) -> Earlier:
    """Read what ``fnrbc count`` wrote.

    Parameters
    ----------
    folder
        That was given as ``--out``.
    frames
        Frames that are to be counted now; None where the source does not know yet.

    Raises
    ------
    UsageError
        The folder holds no count, or one of other frames.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        with (folder / "cells.csv").open(newline="", encoding="utf-8") as file:
            cells = tuple(_cell(row) for row in csv.DictReader(file))
        earlier = Earlier(cells, int(summary["frames"]), str(summary["bundle"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"--compare {folder} holds no count that can be read ({error}); give the --out of an earlier fnrbc count"
        ) from error
    if frames is not None:
        require_same_frames(earlier, frames)
    return earlier


def require_same_frames(earlier: Earlier, frames: int) -> None:
    """Refuse to lay counts of different frames side by side."""
    if earlier.frames != frames:
        raise UsageError(
            f"--compare holds a count of {earlier.frames} frames, the source has {frames}; "
            "compare with a count of the same frames"
        )


def _cell(row: Mapping[str, Any]) -> CountedCell:
    numbers = {name: float(row[name]) for name in ("x_px", "y_px", "x_um", "y_um", "probability")}
    frame = int(row.get("best_frame", -1))
    return CountedCell(int(row["cell"]), int(row["island"]), class_name=str(row["class"]), best_frame=frame, **numbers)


def differ(earlier: Earlier, now: Iterable[Mapping[str, Any]], pixel_size_um: float) -> Difference:
    """Pair the cells of two counts by their place on the slide.

    Parameters
    ----------
    earlier
        The count to hold this one against.
    now
        Rows of this count's ``cells.csv``.
    pixel_size_um
        Of this count's frames.
    """
    return differ_cells(earlier.cells, [_cell(row) for row in now], pixel_size_um)


def differ_cells(before: Sequence[CountedCell], now: Sequence[CountedCell], pixel_size_um: float) -> Difference:
    """Pair the cells of two counts whose places are on the same islands, as ``differ`` does."""
    partners = _paired(before, now, SAME_CELL_UM / pixel_size_um)
    taken = set(partners.values())
    pairs = [(before[partners[i]] if i in partners else None, cell) for i, cell in enumerate(now)]
    lost = [(cell, None) for i, cell in enumerate(before) if i not in taken]
    return Difference((*pairs, *lost))


def _paired(before: Sequence[CountedCell], now: Sequence[CountedCell], near_px: float) -> dict[int, int]:
    """Index before by index now: nearest first, each cell once. Two models see one place, so most distances are 0."""
    buckets: dict[tuple[int, int, int], list[int]] = {}
    for i, cell in enumerate(before):
        buckets.setdefault(_bucket(cell, near_px), []).append(i)
    close = []
    for j, cell in enumerate(now):
        island, row, col = _bucket(cell, near_px)
        around = ((island, row + down, col + right) for down in (-1, 0, 1) for right in (-1, 0, 1))
        for i in (i for key in around for i in buckets.get(key, ())):
            apart = ((cell.x_px - before[i].x_px) ** 2 + (cell.y_px - before[i].y_px) ** 2) ** 0.5
            if apart <= near_px:
                close.append((apart, i, j))
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(close):
        if j not in partners and i not in taken:
            partners[j] = i
            taken.add(i)
    return partners


def _bucket(cell: CountedCell, side_px: float) -> tuple[int, int, int]:
    return cell.island, int(cell.y_px // side_px), int(cell.x_px // side_px)
