"""Which cells of a count a report shows in pictures: candidates, near misses, and what another count has otherwise."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fnrbc_device.counting.cell import Cell, View
from fnrbc_device.language import N_, _, ngettext
from fnrbc_device.records import CountEvent, Image
from fnrbc_device.reporting.difference import CountedCell, Difference
from fnrbc_device.reporting.report import GalleryItem
from fnrbc_device.texts import class_words

ABSENT: Final = N_("not counted")

LIMIT: Final = 400
"""Cells shown in a report; a page of more than 400 is read by no one, cells.csv holds all."""

OTHERS: Final = 1000
"""Further cells that the best crop is held of, 43 kB each, for those that another count may have had otherwise."""

Rank = tuple[bool, float]
"""Near misses after candidates, and then the distance to the threshold."""


class Gallery:
    """Holds crops of cells while they are counted, however long the count is.

    Of candidates and near misses all kept ones, 130 kB a cell, of twice ``LIMIT`` at most, those that a report shows
    first; of the first ``OTHERS`` others the best one. What lies round a cell takes ten times as much, and no report
    shows it.

    Parameters
    ----------
    threshold
        Probability of the target class from which on a cell rather is one. 0..1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._shown: dict[int, tuple[Rank, list[Image]]] = {}
        """With the crops, best first, by the number of the cell."""
        self._others: dict[int, list[Image]] = {}

    def see(self, events: Iterable[CountEvent], pictures: Mapping[int, Sequence[View]]) -> None:
        """Take in what a frame counted, with the views that were kept."""
        for event in events:
            crops = [view.crop for view in pictures.get(event.cell, ())]
            if not crops:
                continue
            asked = event.verdict.is_candidate
            if asked or event.verdict.is_near_miss(self._threshold):
                apart = abs(event.verdict.target_probability - self._threshold)
                self._shown[event.cell] = ((not asked, apart), crops)
            elif len(self._others) < OTHERS:
                self._others[event.cell] = crops
        if len(self._shown) > 2 * LIMIT:
            self._shown = dict(sorted(self._shown.items(), key=lambda one: (one[1][0], one[0]))[:LIMIT])

    def items(self, cells: Iterable[Cell], pixel_size_um: float) -> list[GalleryItem]:
        """List candidates and near misses that stand in the count, what comes first first."""
        found = [(cell, cell.settled, self._shown[cell.number]) for cell in cells if cell.number in self._shown]
        found.sort(key=lambda one: (one[2][0], one[0].number))
        return [_item(cell, event, crops, pixel_size_um) for cell, event, (_, crops) in found[:LIMIT] if event]

    def changed(self, cells: Iterable[Cell], difference: Difference, pixel_size_um: float) -> list[GalleryItem]:
        """List cells that an earlier count had in another class, or not at all, as far as a picture is held of them."""
        before = {now.cell: _called(was) for was, now in difference.pairs if now and _called(was) != now.class_name}
        held = {**self._others, **{number: crops for number, (_, crops) in self._shown.items()}}
        items = [
            _item(cell, cell.settled, held[cell.number], pixel_size_um, before[cell.number])
            for cell in cells
            if cell.number in before and cell.number in held and cell.settled
        ]
        return items[:LIMIT]


def change_table(difference: Difference, bundle_before: str) -> Sequence[tuple[str, str]]:
    """What changed since an earlier count, as rows for a report."""
    changes = difference.changes
    before = Counter(was.class_name for was, _ in difference.pairs if was)
    now = Counter(one.class_name for _, one in difference.pairs if one)
    return [
        (_("Model bundle of the earlier count"), bundle_before),
        *((_("%(name)s, then and now", name=class_words(name)), f"{before[name]}, {now[name]}")
          for name in sorted({*before, *now})),
        (_("Cells that changed"), _("%(part)s of %(whole)s", part=changes.total(), whole=len(difference.pairs))),
        *((f"{_told(was)} \N{RIGHTWARDS ARROW} {_told(is_now)}", ngettext("%(count)s cell", "%(count)s cells", number))
          for (was, is_now), number in changes.most_common()),
    ]  # fmt: skip


def _called(cell: CountedCell | None) -> str:
    return cell.class_name if cell else _(ABSENT)


def _told(name: str) -> str:
    return class_words(name) if name else _(ABSENT)


def _item(cell: Cell, event: CountEvent, crops: Sequence[Image], um: float, before: str = "") -> GalleryItem:
    return GalleryItem(
        cell=cell.number,
        island=cell.island,
        class_name=event.verdict.class_name,
        probability=event.verdict.target_probability,
        crops=crops,
        x_um=cell.col_px * um,
        y_um=cell.row_px * um,
        views=cell.views,
        diameter_um=event.diameter_um,
        before=before,
    )
