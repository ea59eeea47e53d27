"""A CSV manifest: which cell of which picture, and what each reader said of it.

One line a cell. ``image`` is a file, relative to the CSV; ``x`` and ``y`` (or ``row`` and ``col``) are the cell's
place in it, px from the top left corner, or um as ``x_um`` and ``y_um``. ``group`` (or ``donor``, or ``slide``) keeps
cells together that must not be on two sides of the split, without it each image is a group; ``part`` (training,
tuning or heldout) states the split. Every other column is a reader. ``dataset.toml`` lies beside the CSV.

As in the paper a cell is an fNRBC only if every reader says so. Chance makes readers agree too; Cohen's kappa is
the agreement beyond it.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, get_args

from fnrbc_device.errors import UsageError
from fnrbc_training.dataset import CLASSES, ROLES, Part
from fnrbc_training.description import DESCRIPTION, Description
from fnrbc_training.labelled import FEWEST_PICTURES, Labelled
from fnrbc_training.splitting import balanced_parts
from fnrbc_training.table import GROUPS, KNOWN, PART, PLACES, Row, Table, decimal_of, number_of, read_table

IMAGE: Final = "image"
WORDS: Final = {
    **{name: name for name in CLASSES},
    **dict.fromkeys(("1", "yes", "true", "positive"), "fnrbc"),
    **dict.fromkeys(("0", "no", "false", "negative"), "leukocyte"),
}
"""What readers' words mean where the description does not say it. In the paper all that is no fNRBC is one class."""


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
    table = _table(path)
    rows, columns = table.rows, table.columns
    place, readers = _place(path, table, about.pixel_size_um), _readers(path, columns)
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


def _table(path: Path) -> Table:
    table = read_table(path, IMAGE)
    if not table.rows:
        raise UsageError(f"{path} has no line below its heading; give one line a cell")
    return table


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a table says that a cell is."""

    columns: tuple[str, str]
    """Row, col."""
    decimal: str
    px_each: float
    """Pixels in one unit of the columns."""


def _place(path: Path, table: Table, pixel_size_um: float) -> _Place:
    found = [pair for pair in PLACES if set(pair) <= set(table.columns)]
    if not found:
        raise UsageError(
            f"{path} does not say where in the image a cell is; give the columns x and y, px, or x_um and y_um"
        )
    # Where a table gives both, px need no pixel size.
    columns = min(found, key=_in_um)
    return _Place(columns, decimal_of(table, columns), 1 / pixel_size_um if _in_um(columns) else 1.0)


def _in_um(columns: tuple[str, str]) -> bool:
    return columns[0].endswith("_um")


def _readers(path: Path, columns: list[str]) -> list[str]:
    readers = [name for name in columns if name and name != IMAGE and name not in KNOWN]
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


def _cell(path: Path, line: int, row: Row, place: _Place, vote: list[str]) -> Labelled:
    image, label = _image(path, row[IMAGE]), agreed(vote)
    at = _px(path, line, row, place, 0), _px(path, line, row, place, 1)
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


def _image(path: Path, written: str) -> str:
    """A picture's file relative to the table; backslashes are Windows' slashes unless a file is really named so."""
    if "\\" not in written or (path.parent / written).exists():
        return written
    return written.replace("\\", "/")


def _px(path: Path, line: int, row: Row, place: _Place, axis: int) -> float:
    column = place.columns[axis]
    number = number_of(row[column], place.decimal)
    if number is None or not 0 <= number < float("inf"):
        unit = "um" if _in_um(place.columns) else "px"
        raise UsageError(
            f"{path} line {line}: {column} is {row[column]!r}; give {unit} from the top left corner, 0 or more, "
            "without a sign between thousands"
        )
    return number * place.px_each


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


def _split(cells: list[Labelled], stated: bool, simulated: bool) -> list[Labelled]:
    if stated:
        return cells
    parts = balanced_parts([cell.group for cell in cells], [cell.label for cell in cells])
    if simulated:
        parts = {group: "training" if part == "heldout" else part for group, part in parts.items()}
    return [dataclasses.replace(cell, part=parts[cell.group]) for cell in cells]
