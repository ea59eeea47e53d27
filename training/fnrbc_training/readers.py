"""A CSV manifest: which cell of which picture, and what each reader said of it.

One line a cell. ``image`` is a file, relative to the CSV; ``x`` and ``y`` (or ``row`` and ``col``) are the cell's
place in it, px from the top left corner. ``group`` (or ``donor``, or ``slide``) keeps cells together that must
not be on two sides of the split, without it each image is a group; ``part`` (training, tuning or heldout) states
the split. Every other column is a reader. ``dataset.toml`` lies beside the CSV.

As in the paper a cell is an fNRBC only if every reader says so. Chance makes readers agree too; Cohen's kappa is
the agreement beyond it.
"""

import csv
import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast, get_args

from fnrbc_device.errors import UsageError
from fnrbc_training.dataset import CLASSES, ROLES, TARGET, Part
from fnrbc_training.description import DESCRIPTION, Description
from fnrbc_training.labelled import FEWEST_PICTURES, Labelled
from fnrbc_training.splitting import balanced_parts

IMAGE: Final = "image"
PLACES: Final = (("row", "col"), ("y", "x"), ("row_px", "col_px"), ("y_px", "x_px"))
"""Columns that give the place, in the order row, col."""
GROUPS: Final = ("group", "donor", "slide")
PART: Final = "part"

WORDS: Final = {
    **{name: name for name in CLASSES},
    **dict.fromkeys(("1", "yes", "true", "positive"), "fnrbc"),
    **dict.fromkeys(("0", "no", "false", "negative"), "leukocyte"),
}
"""What readers' words mean where the description does not say it. In the paper all that is no fNRBC is one class."""

Row = dict[str, str]


def in_manifest(path: Path, about: Description, simulated: bool) -> tuple[list[Labelled], dict[str, float]]:
    """Read a manifest.

    Parameters
    ----------
    path
        The CSV.
    about
        What the ``dataset.toml`` beside it says.
    simulated
        Painted cells: none is held out.

    Returns
    -------
    tuple[list[Labelled], dict[str, float]]
        The cells, and Cohen's kappa of fNRBC or not for each two readers.

    Raises
    ------
    UsageError
        A column or a value is missing or means nothing, a cell stands there twice with two labels, or a class
        has a single cell.
    """
    rows, columns = _rows(path)
    place, readers = _place(path, columns), _readers(path, columns)
    words = {**WORDS, **{word.casefold(): label for word, label in about.classes.items()}}
    votes = [[_vote(path, line, row, reader, words) for reader in readers] for line, row in rows]
    cells = [_cell(path, line, row, place, vote) for (line, row), vote in zip(rows, votes, strict=True)]
    _require_consistent(path, cells)
    kappas = {
        f"{a} and {b}": cohens_kappa([v[i] == "fnrbc" for v in votes], [v[j] == "fnrbc" for v in votes])
        for (i, a), (j, b) in itertools.combinations(enumerate(readers), 2)
    }
    return _split(cells, PART in columns, simulated), kappas


def cohens_kappa(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Agreement of two readers beyond chance: 1 always, 0 as by chance, below 0 less than that [1]_.

    Two readers who both say the same of every cell agree wholly, though chance would make them.

    References
    ----------
    .. [1] J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement
       20, 1960, 37-46.
    """
    n = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    p, q = sum(first) / n, sum(second) / n
    chance = p * q + (1 - p) * (1 - q)
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def agreed(vote: Sequence[str]) -> str:
    """Settle what readers say: an fNRBC only if all say so, else the other class that most of them name."""
    if set(vote) == {"fnrbc"}:
        return "fnrbc"
    return Counter(word for word in vote if word != "fnrbc").most_common(1)[0][0]


def _rows(path: Path) -> tuple[list[tuple[int, Row]], list[str]]:
    """Lines with their numbers, and the names of the columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="", skipinitialspace=True)
            columns = [str(name).strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}); give a comma-separated file in UTF-8") from None
    if IMAGE not in columns:
        raise UsageError(f"{path} has the columns {', '.join(columns) or 'none'}; one named {IMAGE!r} is needed")
    if not rows:
        raise UsageError(f"{path} has no line below its heading; give one line a cell")
    return rows, columns


def _place(path: Path, columns: list[str]) -> tuple[str, str]:
    found = next((pair for pair in PLACES if set(pair) <= set(columns)), None)
    if found is None:
        raise UsageError(f"{path} does not say where in the image a cell is; give the columns x and y, px")
    return found


def _readers(path: Path, columns: list[str]) -> list[str]:
    known = {IMAGE, PART, *GROUPS, *itertools.chain(*PLACES)}
    readers = [name for name in columns if name and name not in known]
    if not readers:
        raise UsageError(f"{path} has no column of a reader; give one a reader, with a word for every cell")
    return readers


def _vote(path: Path, line: int, row: Row, reader: str, words: Mapping[str, str]) -> str:
    word = row[reader].strip()
    found = words.get(word.casefold())
    if found is None:
        raise UsageError(
            f"{path} line {line}: {reader} says {word!r}; give one of {', '.join(sorted(words))}, "
            f"or say under [classes] of {DESCRIPTION} what it counts as"
        )
    return found


def _cell(path: Path, line: int, row: Row, place: tuple[str, str], vote: list[str]) -> Labelled:
    image, label = row[IMAGE].strip(), agreed(vote)
    at = _number(path, line, row, place[0]), _number(path, line, row, place[1])
    group = next((row[name].strip() for name in GROUPS if row.get(name, "").strip()), image)
    part = row.get(PART, "training").strip()
    if not image or part not in get_args(Part):
        raise UsageError(f"{path} line {line}: image {image!r}, part {part!r}; a part is one of {get_args(Part)}")
    return Labelled(
        path=path.parent / image,
        name=f"{path.stem}/{image} at x {at[1]:g}, y {at[0]:g}",
        place_rc=at,
        label=CLASSES.index(label),
        original=label,
        group=f"{path.stem}/{group}",
        part=cast(Part, part),
        stated=PART in row,
    )


def _number(path: Path, line: int, row: Row, column: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(
            f"{path} line {line}: {column} is {row[column]!r}; give px from the top left corner, 0 or more"
        )
    return number


def _require_consistent(path: Path, cells: list[Labelled]) -> None:
    known: dict[tuple[Path, tuple[float, float] | None], int] = {}
    for cell in cells:
        if known.setdefault((cell.path, cell.place_rc), cell.label) != cell.label:
            raise UsageError(f"{path}: {cell.name} stands there twice with two labels; take one line out")
    for label, count in sorted(Counter(label for label in known.values()).items()):
        # Of what is neither there may be one or none: the count ignores it.
        if count < FEWEST_PICTURES and ROLES[label] != "ignored":
            raise UsageError(
                f"{path}: class {CLASSES[label]!r} has {count} cell; {FEWEST_PICTURES} are needed at least"
            )
    if TARGET not in known.values():
        raise UsageError(f"{path}: no cell is an fNRBC by every reader's word; nothing can be learned from it")


def _split(cells: list[Labelled], stated: bool, simulated: bool) -> list[Labelled]:
    if stated:
        return cells
    parts = balanced_parts([cell.group for cell in cells], [cell.label for cell in cells])
    if simulated:
        parts = {group: "training" if part == "heldout" else part for group, part in parts.items()}
    return [dataclasses.replace(cell, part=parts[cell.group]) for cell in cells]
