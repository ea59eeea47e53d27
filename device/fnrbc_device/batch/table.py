"""The tables of a batch: one row a source, and what all of them come to."""

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from fnrbc_device.batch.rows import Basis, BatchFolder, Row, write_json, write_text
from fnrbc_device.batch.sources import Source
from fnrbc_device.host.console import readable
from fnrbc_device.reporting.counts import COUNT_COLUMNS, count_row
from fnrbc_device.reporting.spreadsheet import guarded
from fnrbc_device.texts import RESEARCH_USE_ONLY

TABLE: Final = "batch.csv"
SUMMARY: Final = "summary.json"

STATES: Final = ("complete", "incomplete", "failed", "not_done")

EVERY_S: Final = 10.0
"""Between two writings of the table while a batch runs."""

_ABOUT: Final = ("source", "specimen", "state", "error", "folder", "kind")
_OF_SUMMARY: Final = (
    "pixel_size_um", "frames", "frames_used", "islands", "unique_area_mm2", "cells_open", "seeing", "seconds",
)  # fmt: skip

COLUMNS: Final = (*_ABOUT, *_OF_SUMMARY, *COUNT_COLUMNS)

_TOTALS: Final = ("fnrbc", "leukocytes", "other", "indeterminate", "cells")


class Table:
    """``batch.csv``, kept up while a batch runs.

    Parameters
    ----------
    folder
        Of the batch.
    sources
        In the order of the rows.
    clock
        Monotonic, seconds.
    """

    def __init__(
        self, folder: BatchFolder, sources: Sequence[Source], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._clock = folder, clock
        self.lines: dict[Source, Row | None] = {source: folder.row_of(source) for source in sources}
        """What is known of each source; None while it is not done."""
        self._written_s = clock()

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._folder.path / TABLE

    def forget(self, source: Source) -> None:
        """Note that what is known of a source does not answer what is asked now."""
        self.lines[source] = None

    def done(self, source: Source) -> None:
        """Take in the row of a source that was just put in its place."""
        self.lines[source] = self._folder.row_of(source)
        if self._clock() - self._written_s >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Write it whole, a row a source; one that is not done yet is said to be so."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(self._row(source, row) for source, row in self.lines.items())
        write_text(self.path, text.getvalue())
        self._written_s = self._clock()

    def summary(self, basis: Basis, counted_now: int) -> dict[str, Any]:
        """Write ``summary.json`` and give its content."""
        rows = list(self.lines.values())
        states = Counter("not_done" if row is None else row.state for row in rows)
        summary: dict[str, Any] = {
            "sources": len(rows),
            **{state: states[state] for state in STATES},
            "counted_now": counted_now,
            "bundle": basis.bundle,
            "version": basis.version,
            "totals": {name: _total(rows, name) for name in _TOTALS},
            "open": [
                {"source": row.source, "state": row.state, "error": row.error}
                for row in rows
                if row is not None and row.state != "complete"
            ],
            "research_use": RESEARCH_USE_ONLY,
        }
        write_json(self._folder.path / SUMMARY, summary)
        return summary

    def _row(self, source: Source, row: Row | None) -> list[Any]:
        name, specimen = guarded(readable(str(source.path))), guarded(source.specimen)
        if row is None:
            return _padded([name, specimen, "not done", "", "", source.settings.kind])
        folder = self._folder.name_of(source)
        about = [name, specimen, row.state, guarded(row.error), folder, row.settings.kind]
        if row.summary is None:
            return _padded(about)
        return [*about, *(row.summary[column] for column in _OF_SUMMARY), *count_row(row.summary)]


def in_words(summary: dict[str, Any], table: Path) -> str:
    """What a batch came to, for a person."""
    before = summary["sources"] - summary["counted_now"] - summary["not_done"]
    states = ", ".join(f"{summary[state]} {state.replace('_', ' ')}" for state in STATES if summary[state])
    total = summary["totals"]
    return "\n".join(
        [
            f"{summary['sources']} sources: {states}; {summary['counted_now']} counted now, {before} before",
            f"{total['fnrbc']} fNRBC, {total['leukocytes']} leukocytes, {total['indeterminate']} indeterminate on all "
            "of them; unverified until a person has reviewed the candidates",
            f"-> {table}",
            RESEARCH_USE_ONLY,
        ]
    )


def _padded(about: list[Any]) -> list[Any]:
    return [*about, *[""] * (len(COLUMNS) - len(about))]


def _total(rows: Iterable[Row | None], name: str) -> int:
    return sum(int(row.summary[name]) for row in rows if row is not None and row.summary is not None)
