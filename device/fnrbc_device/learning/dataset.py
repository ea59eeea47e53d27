"""``fnrbc reviewed``: reviewed cells as a dataset that ``fnrbc-train cut`` takes, kept apart by session."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Role
from fnrbc_device.sessions.labels import KeptCell, of_sessions
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, PREPROCESSING_ID

LABELS: Final[dict[Role, str]] = {"target": "fnrbc", "denominator": "leukocyte", "ignored": "other"}
"""What each part in the count is called in a dataset."""

FEWEST_SESSIONS: Final = 3
"""Sessions with fNRBC that a split by session needs: one to train, one to tune and one to judge by."""

STRETCHES: Final = 10
"""Contiguous stretches of its pan that a session is cut into where there are fewer sessions."""

COLUMNS: Final = ("image", "x", "y", "group", "label")

MIDDLE_PX: Final = (CROP_PX - 1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A cell with what it is taught as."""

    cell: KeptCell
    role: Role
    group: str
    """What must not be on two sides of a split."""

    @property
    def image(self) -> str:
        """Its file in the dataset; the folder says who named it."""
        by = "machine" if self.cell.label is None else "reviewed"
        return f"{by}/{self.cell.session}-{self.cell.cell:06d}.png"


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """What can be taught from some sessions."""

    examples: tuple[Example, ...]
    sessions: int
    by_stretches: bool
    """Too few sessions to split by them: stretches of one are on two sides."""

    def in_words(self, out: Path) -> str:
        """One paragraph for a person."""
        named = Counter((one.cell.label is not None, LABELS[one.role]) for one in self.examples)
        reviewed = ", ".join(f"{named[True, name]} {name}" for name in LABELS.values())
        machine = sum(n for (by_people, _), n in named.items() if not by_people)
        said = f"{self.sessions} sessions, reviewed: {reviewed}; {machine} others as the machine has them"
        if self.by_stretches:
            said += (
                f". Fewer than {FEWEST_SESSIONS} sessions have fNRBC: stretches of a session are kept apart instead, "
                "and figures measured on them say nothing of another slide"
            )
        cut = f"fnrbc-train cut --data {out / 'cells.csv'} --out crops.npz"
        return (
            f"{said} -> {out / 'cells.csv'}; go on with {cut}, and with --data FOLDER for other labelled cells, "
            "which a network taught by these alone would not know"
        )


def gather(journal: Path, sessions: Sequence[str], reviewed_only: bool) -> Dataset:
    """Gather the examples of some sessions.

    Parameters
    ----------
    journal
        The record's file.
    sessions
        Their names; none for all that somebody reviewed.
    reviewed_only
        Leave out the sample of cells that nobody reviewed. They are never fNRBC: what the machine calls one and
        nobody confirmed is left out in any case.

    Raises
    ------
    UsageError
        Nobody reviewed a cell of them.
    """
    kept = {name: _taught(cells, reviewed_only) for name, cells in of_sessions(journal, sessions).items()}
    if not any(one.label for cells in kept.values() for one in cells):
        named = ", ".join(kept) or "any session"
        raise UsageError(f"nobody has reviewed a cell of {named} in {journal}; review candidates first")
    rich = sum(any(one.label == "target" for one in cells) for cells in kept.values())
    split = rich < FEWEST_SESSIONS
    stretches = STRETCHES if split else 1
    examples = [example for name, cells in kept.items() for example in _examples(name, cells, stretches)]
    return Dataset(tuple(examples), len(kept), split)


def write(dataset: Dataset, out: Path, stain: str, source: str) -> None:
    """Write a dataset: the crops, a CSV that names them, and what it says of itself.

    Raises
    ------
    UsageError
        The folder holds something already, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} holds something already; give a new or an empty folder")
    try:
        for folder in ("reviewed", "machine"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        for one in dataset.examples:
            (out / one.image).write_bytes(one.cell.png)
        with (out / "cells.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *_rows(dataset.examples)])
        (out / "dataset.toml").write_text(_description(stain, source), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written ({error.strerror}); choose a folder that can") from error


def _taught(cells: Iterable[KeptCell], reviewed_only: bool) -> list[KeptCell]:
    """What nobody decided on and the machine is not sure of teaches nothing."""
    return [one for one in cells if one.label or not (reviewed_only or one.verdict.is_candidate or one.near_miss)]


def _examples(session: str, cells: list[KeptCell], stretches: int) -> Iterator[Example]:
    """Cells in the order of their numbers are in that of the pan, so that a stretch of them is one of the slide."""
    for index, one in enumerate(cells):
        stretch = f"/{index * stretches // len(cells):02d}" if stretches > 1 else ""
        yield Example(one, one.label or one.verdict.role, session + stretch)


def _rows(examples: Iterable[Example]) -> Iterator[tuple[object, ...]]:
    for one in examples:
        yield (one.image, MIDDLE_PX, MIDDLE_PX, one.group, LABELS[one.role])


def _description(stain: str, source: str) -> str:
    """A dataset.toml. JSON writes a text as TOML's basic strings have it."""
    fields = {"stain": stain, "source": source, "crops": PREPROCESSING_ID}
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in fields.items()]
    return "\n".join([f"pixel_size_um = {CROP_PIXEL_SIZE_UM}", *lines]) + "\n"
