"""Where a calibration's cells come from: this device's record, or a folder that ``fnrbc reviewed`` wrote."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.errors import UsageError
from fnrbc_device.learning.calibration import LABELS, ReviewedCells
from fnrbc_device.records import Role
from fnrbc_device.sessions.labels import of_sessions
from fnrbc_device.vision.preprocessing import CROP_PX


def from_record(journal: Path, sessions: Sequence[str]) -> ReviewedCells:
    """Take the cells that people named; what the machine alone says teaches nothing here.

    Raises
    ------
    UsageError
        Nobody named a cell.
    JournalError
        A picture is damaged.
    """
    named = [one for cells in of_sessions(journal, sessions).values() for one in cells if one.label is not None]
    if not named:
        raise UsageError(f"nobody has reviewed a cell in {journal}; review candidates and leukocytes first")
    return ReviewedCells(np.stack([one.crop for one in named]), [one.label for one in named if one.label is not None])


def from_folder(table: Path) -> ReviewedCells:
    """Read a ``cells.csv`` as ``fnrbc reviewed`` writes it: the cells that people named, crops of 120 px.

    Raises
    ------
    UsageError
        It is missing, has other columns or labels, or a picture is no crop.
    UnreadablePictureError
        A file is no picture.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row["image"], row["label"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UsageError(f"{table} is no table of reviewed cells ({error!r}); write it with fnrbc reviewed") from None
    named = [(image, label) for image, label in rows if not image.startswith("machine/")]
    unknown = sorted({label for _, label in named if label not in LABELS})
    if unknown or not named:
        raise UsageError(f"{table} names {unknown or 'no cell'}; labels are {', '.join(LABELS)}")
    reader = PictureReader()
    crops = [reader.read(table.parent / image) for image, _ in named]
    other = next((crop.shape for crop in crops if crop.shape != (CROP_PX, CROP_PX, 3)), None)
    if other is not None:
        raise UsageError(f"{table} has a picture of {other}; crops of {CROP_PX} px as fnrbc reviewed writes are needed")
    roles: list[Role] = [LABELS[label] for _, label in named]
    return ReviewedCells(np.stack(crops), roles)
