"""Which cells of a count a report shows in pictures: the candidates, and those that another count has otherwise."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from fnrbc_device.counting.ledger import Cell
from fnrbc_device.records import CountEvent, Image
from fnrbc_device.reporting.difference import CountedCell, Difference
from fnrbc_device.reporting.report import GalleryItem

ABSENT: Final = "not counted"

GALLERY_LIMIT: Final = 400
"""Cells shown in a report; a page with more than 400 pictures is read by no one, cells.csv holds all."""


def candidates(cells: Iterable[Cell], threshold: float, um: float) -> list[GalleryItem]:
    """Candidates whose picture was kept; those nearest to the threshold, where there are too many.

    Parameters
    ----------
    cells
        Of a count.
    threshold
        Probability of the target class. 0..1.
    um
        Size of a pixel on the slide.
    """
    items = [_item(cell, event, crop, um) for cell, event, crop in _pictured(cells) if event.verdict.is_candidate]
    items.sort(key=lambda item: abs(item.probability - threshold))
    return items[:GALLERY_LIMIT]


def changed(cells: Iterable[Cell], difference: Difference, um: float) -> list[GalleryItem]:
    """Cells that were of another class in the earlier count, or not in it, as far as a picture was kept of them."""
    before = {now.cell: _called(was) for was, now in difference.pairs if now and _called(was) != now.class_name}
    items = [
        _item(cell, event, crop, um, before[cell.number])
        for cell, event, crop in _pictured(cells)
        if cell.number in before
    ]
    return items[:GALLERY_LIMIT]


def change_table(difference: Difference, bundle_before: str) -> Sequence[tuple[str, str]]:
    """What changed since an earlier count, as rows for a report."""
    changes = difference.changes
    before = Counter(was.class_name for was, _ in difference.pairs if was)
    now = Counter(one.class_name for _, one in difference.pairs if one)
    return [
        ("Model bundle of the earlier count", bundle_before),
        *((f"{name}, then and now", f"{before[name]}, {now[name]}") for name in sorted({*before, *now})),
        ("Cells that changed", f"{changes.total()} of {len(difference.pairs)}"),
        *((f"{was or ABSENT} \N{RIGHTWARDS ARROW} {is_now or ABSENT}", f"{number} {_cells(number)}")
          for (was, is_now), number in changes.most_common()),
    ]  # fmt: skip


def _called(cell: CountedCell | None) -> str:
    return cell.class_name if cell else ABSENT


def _cells(number: int) -> str:
    return "cell" if number == 1 else "cells"


def _pictured(cells: Iterable[Cell]) -> list[tuple[Cell, CountEvent, Image]]:
    return [(cell, cell.settled, cell.best[0].crop) for cell in cells if cell.best and cell.settled]


def _item(cell: Cell, event: CountEvent, crop: Image, um: float, before: str = "") -> GalleryItem:
    return GalleryItem(
        cell=cell.number,
        island=cell.island,
        class_name=event.verdict.class_name,
        probability=event.verdict.target_probability,
        crop=crop,
        x_um=cell.col_px * um,
        y_um=cell.row_px * um,
        views=cell.views,
        diameter_um=event.diameter_um,
        before=before,
    )
