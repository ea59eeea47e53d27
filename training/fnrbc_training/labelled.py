"""Labelled cells on their way into a set: which picture, where in it, and what the experts say.

A class folder holds pictures of one cell each, in the middle; the folder's name is the label.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.errors import UsageError
from fnrbc_training.dataset import BLOCKS, CLASSES, Part, part_of
from fnrbc_training.description import DESCRIPTION, Description

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})

FEWEST_PICTURES: Final = 2
"""A class of one picture cannot be learned and judged."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One cell that somebody named."""

    path: Path
    name: str
    """As messages and sets call it: source/class/file, or source/file with the place in it."""
    place_rc: tuple[float, float] | None
    """Where in the picture, px; None for the middle."""
    label: int
    """Column in ``CLASSES``."""
    original: str
    """What the dataset calls it."""
    group: str
    part: Part
    stated: bool = False
    """The dataset itself says the part, so that it is refused rather than changed where it leaks."""


def in_class_folders(folder: Path, about: Description, simulated: bool) -> list[Labelled]:
    """List the pictures of class folders, each with the block of file numbers that it is in.

    Raises
    ------
    UsageError
        A class is missing, or has fewer than two pictures.
    """
    if not about.classes:
        raise UsageError(f"{folder / DESCRIPTION}: classes: a class folder at least is needed; mend it")
    return [
        _in_block(folder, name, index * BLOCKS // len(paths), path, about, simulated)
        for name in sorted(about.classes)
        for paths in [list(_of_class(folder / name))]
        for index, path in enumerate(paths)
    ]


def _in_block(folder: Path, name: str, block: int, path: Path, about: Description, simulated: bool) -> Labelled:
    return Labelled(
        path=path,
        name=f"{folder.name}/{name}/{path.name}",
        place_rc=None,
        label=CLASSES.index(about.classes[name]),
        original=name,
        group=f"{folder.name}/{name}/{block:02d}",
        part=part_of(block, simulated),
    )


def _of_class(folder: Path) -> Iterator[Path]:
    """Yield a class' pictures in the order of their file numbers."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}, which {DESCRIPTION} names; make it or take its line out")
    found = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=_file_number)
    if len(found) < FEWEST_PICTURES:
        raise UsageError(
            f"class folder {folder} holds {len(found) or 'no'} picture{'' if len(found) == 1 else 's'}; "
            f"{FEWEST_PICTURES} are needed at least, "
            f"or take its line out of {DESCRIPTION}"
        )
    yield from found


def _file_number(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)
