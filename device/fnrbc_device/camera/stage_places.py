"""Gives the frames of a recording the places that a motorised stage noted, where it noted them for all."""

from pathlib import Path
from typing import Final

from fnrbc_device.camera.folder import Folder
from fnrbc_device.camera.headers import About, UnreadablePictureError
from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.camera.replay import ReplaySource
from fnrbc_device.camera.stage_positions import (
    USUAL,
    Axes,
    neighbours,
    poses_of,
    positions_of,
    require_fitting,
)
from fnrbc_device.records import Image

BY_PICTURES: Final = "none"
"""Stated where the stage's notes are to be left aside: then pictures are registered to each other."""


def place_by_stage(source: ReplaySource, pixel_um: float, stated: str = "") -> None:
    """Give a recording's frames their places, and say so in its notes; leave it as it is where no stage noted any.

    Parameters
    ----------
    source
        Not read from yet.
    pixel_um
        Size of its pixels.
    stated
        The stage's axes as a person states them (``Axes.of``), ``none``, or empty for the usual.

    Raises
    ------
    UsageError
        They are no axes, or overlapping pictures contradict them.
    SourceError
        Two notes of one position contradict each other.
    """
    axes = USUAL if stated in ("", BY_PICTURES) else Axes.of(stated)
    folder = source.folder
    if folder is None or stated == BY_PICTURES:
        return
    positions = positions_of([(path, _frames(about)) for path, about in folder.files])
    if positions is None:
        return
    if folder.shape is not None:
        pairs = neighbours(positions, folder.shape, pixel_um)
        require_fitting(axes, positions, _pictures(folder, pairs), pixel_um)
    source.poses = poses_of(positions, axes, pixel_um)
    source.notes = (
        *source.notes,
        f"places are the stage's ({positions.where}), with its axes as {axes} (right, down in the picture); "
        "--stage-axes says otherwise, --stage-axes=none lays pictures on each other instead",
    )


def _frames(about: About | UnreadablePictureError) -> int:
    return len(about.shapes) if isinstance(about, About) else 1


def _pictures(folder: Folder, pairs: list[tuple[int, int]]) -> list[tuple[int, Image, int, Image]]:
    """Both pictures of each pair; without the pairs that cannot be read."""
    wanted = {number for pair in pairs for number in pair}
    found = _read(folder, wanted)
    return [(one, found[one], other, found[other]) for one, other in pairs if one in found and other in found]


def _read(folder: Folder, wanted: set[int]) -> dict[int, Image]:
    reader, first, found = PictureReader(folder.depth, turned=folder.turned), 0, {}
    for path, about in folder.files:
        frames = _frames(about)
        if wanted & set(range(first, first + frames)):
            for number, image in enumerate(_images(reader, path), first):
                if number in wanted and not isinstance(image, UnreadablePictureError):
                    found[number] = image
        first += frames
    return found


def _images(reader: PictureReader, path: Path) -> list[Image | UnreadablePictureError]:
    try:
        return list(reader.read_all(path))
    except UnreadablePictureError:
        return []

