"""What a comparison of two batches comes to: a row a slide, a row a changed cell, and a page to read."""

import csv
import io
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fnrbc_device.batch.comparing import DIFFERENCE, PICTURES, compare_one, comparison_key, not_comparable
from fnrbc_device.batch.counting import Order, row_of
from fnrbc_device.batch.job import Asked, Crew, do
from fnrbc_device.batch.progress import Progress
from fnrbc_device.batch.rows import BatchFolder, Row, rows_in, write_json, write_text
from fnrbc_device.batch.run import Batch
from fnrbc_device.batch.sources import Source
from fnrbc_device.batch.table import Table
from fnrbc_device.errors import UsageError
from fnrbc_device.host.console import readable
from fnrbc_device.language import speaking
from fnrbc_device.records import INDETERMINATE
from fnrbc_device.reporting.comparison_report import ChangedCell, ComparedSlide, Comparison, comparison_html
from fnrbc_device.reporting.difference import DIFFERENCE_COLUMNS
from fnrbc_device.reporting.spreadsheet import guarded

COMPARISON: Final = "comparison"
"""Folder, and name of its files."""

_COUNTS: Final = ("fnrbc", "leukocytes", "indeterminate", "other", "cells")
_RATE: Final = "fnrbc_per_100_leukocytes"

_SLIDE_COLUMNS: Final = (
    "source", "specimen", "state", "error", "folder", "cells_compared", "changed", "only_before", "only_now",
    *(f"{name}_{when}" for name in (*_COUNTS, _RATE, "ci95_low", "ci95_high", "claim") for when in ("before", "now")),
)  # fmt: skip

_CELL_COLUMNS: Final = ("source", "specimen", *DIFFERENCE_COLUMNS, "picture")

MOST_ON_PAGE: Final = 300
"""Changed cells with their pictures on the page; the table has all."""


class _Slides(Table):
    """``comparison.csv``, in the place of a batch's table."""

    def write(self) -> None:
        """Write it whole."""
        rows = [_slide_row(self._folder, source, row) for source, row in self.lines.items()]
        write_text(self._folder.path / f"{COMPARISON}.csv", _as_csv(_SLIDE_COLUMNS, rows))


def sources_in(earlier: Path) -> list[Source]:
    """The sources of an earlier batch, read as they were then."""
    return [Source(Path(row.source), row.settings, row.specimen) for _, row in rows_in(earlier)]


def compare_all(what: Asked, out: Path, earlier: Path, crew: Crew, stop: threading.Event) -> dict[str, Any]:
    """Compare two batches source by source, and write what changes; gives the content of ``comparison.json``.

    Parameters
    ----------
    what
        Counted in ``out`` now.
    earlier
        The folder of the other batch.
    """
    folder, now, before = BatchFolder(out / COMPARISON), BatchFolder(out), BatchFolder(earlier)
    bundle_before = _bundle_before(before, what)
    folder.empty_work()
    table, orders = _Slides(folder, what.sources), deque[Order]()
    for source in what.sources:
        counts = before.path_of(source), now.path_of(source)
        fault = not_comparable(before.row_of(source), now.row_of(source))
        key = "" if fault else comparison_key(*counts)
        order = Order(source, key, what.bundle, what.basis, folder.work, counts=counts)
        if fault:
            folder.note_failure(row_of(order, "failed", fault), source)
            table.done(source)
        elif not _is_done(table.lines[source], key):
            table.forget(source)
            orders.append(order)
    sizes = {str(order.source.path): 1 for order in orders}
    do(Batch(folder, orders, compare_one, Progress(sizes), table, stop), what, crew)
    return _written(folder, table, what, bundle_before)


def _is_done(row: Row | None, key: str) -> bool:
    return row is not None and row.fingerprint == key and row.state == "complete"


def _bundle_before(before: BatchFolder, what: Asked) -> str:
    bundles = {row.bundle for source in what.sources if (row := before.row_of(source)) is not None}
    if len(bundles) > 1:
        raise UsageError(
            f"{before.path} was counted with {len(bundles)} bundles; give the same command that made it again, so that "
            "all of it is counted with one"
        )
    return next(iter(bundles), "")


def _written(folder: BatchFolder, table: Table, what: Asked, bundle_before: str) -> dict[str, Any]:
    compared = {source: row for source, row in table.lines.items() if row is not None and row.summary is not None}
    cells = [cell for source, row in compared.items() for cell in _changed(folder, source, row)]
    write_text(folder.path / "changed.csv", _as_csv(_CELL_COLUMNS, (_cell_row(cell) for cell in cells)))
    summary = _summary(table, compared, what, bundle_before)
    write_json(folder.path / f"{COMPARISON}.json", summary)
    slides = [_slide(source, row) for source, row in table.lines.items()]
    page = Comparison(summary, slides, sorted(cells, key=_of_interest)[:MOST_ON_PAGE], len(cells))
    with speaking(what.language):
        write_text(folder.path / f"{COMPARISON}.html", comparison_html(page))
    return summary


def _summary(table: Table, compared: Mapping[Source, Row], what: Asked, bundle_before: str) -> dict[str, Any]:
    found = [row.summary for row in compared.values() if row.summary is not None]
    changes: Counter[tuple[str, str]] = Counter()
    for one in found:
        changes.update({(change["from"], change["to"]): change["cells"] for change in one["changes"]})
    versions = sorted({one["before"]["version"] for one in found} - {what.basis.version})
    return {
        "bundle_before": bundle_before,
        "bundle": what.basis.bundle,
        "version": what.basis.version,
        "versions_before": versions,
        "slides": len(table.lines),
        "slides_compared": len(compared),
        "slides_changed": sum(one["changed"] > 0 for one in found),
        "slides_whose_claim_changed": sum(_state(one["before"]) != _state(one["now"]) for one in found),
        "cells": sum(one["cells"] for one in found),
        "changed": changes.total(),
        "only_before": sum(one["only_before"] for one in found),
        "only_now": sum(one["only_now"] for one in found),
        "changes": [{"from": a, "to": b, "cells": n} for (a, b), n in changes.most_common()],
        "not_compared": [
            {"source": row.source, "error": row.error}
            for row in table.lines.values()
            if row is not None and row.summary is None
        ],
    }


def in_words(summary: Mapping[str, Any], folder: Path) -> str:
    """What a comparison comes to, for a person."""
    changes = "; ".join(change_words(one) for one in summary["changes"])
    other = f" (and fnrbc {', '.join(summary['versions_before'])} before)" if summary["versions_before"] else ""
    return "\n".join(
        [
            f"bundle {summary['bundle_before'][:16]} before, {summary['bundle'][:16]} now{other}: "
            f"{summary['changed']} of {summary['cells']} cells changed on {summary['slides_changed']} of "
            f"{summary['slides_compared']} slides{f': {changes}' if changes else ''}",
            f"what the count may claim changed on {summary['slides_whose_claim_changed']} slides",
            *(f"not compared: {one['source']}: {one['error']}" for one in summary["not_compared"]),
            f"-> {folder / f'{COMPARISON}.html'}",
        ]
    )


def change_words(change: Mapping[str, Any]) -> str:
    """Such as ``3 fnrbc became other``."""
    was, now, cells = change["from"], change["to"], change["cells"]
    if not now:
        return f"{cells} {was} only before"
    return f"{cells} {was} became {now}" if was else f"{cells} {now} only now"


def _changed(folder: BatchFolder, source: Source, row: Row) -> Iterator[ChangedCell]:
    """The cells of a slide that changed, as its table has them."""
    drawn = set(row.summary["pictures"]) if row.summary else set()
    place = folder.path_of(source)
    with (place / DIFFERENCE).open(newline="", encoding="utf-8") as file:
        for number, fields in enumerate(csv.DictReader(file)):
            if fields["changed"] == "1":
                picture = place / PICTURES / f"{number}.jpg" if number in drawn else None
                yield ChangedCell(row.source, row.specimen, fields, picture)


def _cell_row(cell: ChangedCell) -> list[Any]:
    picture = "/".join(cell.picture.parts[-3:]) if cell.picture else ""
    return [guarded(cell.source), guarded(cell.specimen), *(cell.fields[name] for name in DIFFERENCE_COLUMNS), picture]


def _of_interest(cell: ChangedCell) -> tuple[bool, bool]:
    """First those that a person is asked about in one of the counts."""
    classes = {cell.fields["class"], cell.fields["class_before"]}
    return (not classes & {"fnrbc", INDETERMINATE}, cell.picture is None)


def _slide(source: Source, row: Row | None) -> ComparedSlide:
    name = readable(str(source.path))
    if row is None or row.summary is None:
        return ComparedSlide(name, source.specimen, row.error if row else "not done", None)
    return ComparedSlide(name, source.specimen, "", row.summary)


def _slide_row(folder: BatchFolder, source: Source, row: Row | None) -> list[Any]:
    name, specimen = guarded(readable(str(source.path))), guarded(source.specimen)
    if row is None or row.summary is None:
        state, error = ("not done", "") if row is None else (row.state, guarded(row.error))
        return [name, specimen, state, error, "", *[""] * (len(_SLIDE_COLUMNS) - 5)]
    found = row.summary
    figures = [_figures(found[when]) for when in ("before", "now")]
    both = [value for pair in zip(*figures, strict=True) for value in pair]
    told = [found[column] for column in ("cells", "changed", "only_before", "only_now")]
    return [name, specimen, row.state, "", folder.name_of(source), *told, *both]


def _figures(counts: Mapping[str, Any]) -> list[Any]:
    return [*(counts[name] for name in _COUNTS), *counts[_RATE].values(), _state(counts)]


def _state(counts: Mapping[str, Any]) -> str:
    return str(counts["claim"]["state"]) if counts["claim"] else ""


def _as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
