"""From labelled pictures to crops, by the device's own segmentation and cropping.

A dataset is a folder with one folder a class and a ``dataset.toml`` beside them, which gives the pixel size,
the stain, the source with its licence, and what each class counts as: ``fnrbc``, ``leukocyte`` or ``other``; or a
CSV manifest of cells in larger pictures (see ``readers``). Cells that nobody labelled are not used.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.headers import UnreadablePictureError
from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_device.model.bundle import digest_of
from fnrbc_device.records import Detection, Field, Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, PREPROCESSING_ID, crop
from fnrbc_device.vision.reduction import glass_colour, reduce
from fnrbc_device.vision.seeing import CentreModel, Seeing
from fnrbc_device.vision.session_stain import SessionStain
from fnrbc_device.vision.stain import IDENTITY, StainMap
from fnrbc_training.dataset import CLASSES, COLUMNS, DENOMINATOR, TARGET, CropSet, Source
from fnrbc_training.description import Description, describe
from fnrbc_training.labelled import Labelled, in_class_folders
from fnrbc_training.likeness import look_at
from fnrbc_training.readers import in_manifest
from fnrbc_training.single_cells import seen_alone, surely_labelled
from fnrbc_training.splitting import keep_together

CENTRE_UM: Final = 4.0
"""A cell of a field further from the labelled place is another one: half of a small leukocyte's diameter."""

RING_SHARE: Final = 0.06
"""Width of the outer ring over the picture's side, for the background-only baseline."""

SURROUNDINGS_UM: Final = 38.0
"""Side of the square of a field that stands for a cell's picture: that of the single-cell pictures."""

STAIN_PICTURES: Final = 200
"""That vote for a dataset's stain: its medians settle with a tenth of them."""

MOST_DROPPED: Final = 0.1
"""Share of the named cells that may be missing. Of real single-cell pictures less than 1 in 100 is, of each class."""

CELLS: Final = (TARGET, DENOMINATOR)
"""Labels of what has a nucleus."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many, of how many."""

_Known = dict[tuple[int, tuple[float, float] | None], Labelled]
"""Cells by their picture's digest and their place in it."""


class DroppedError(FnrbcError):
    """Of the cells that a dataset names too many are not where it says."""


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One cell on its way into the set."""

    cell: Labelled
    crop: Image
    digest: int
    ring: NDArray[np.float32]
    looks: NDArray[np.uint8]


def cut(datasets: list[Path], simulated: list[Path], progress: Progress, model: CentreModel | None = None) -> CropSet:
    """Cut datasets into one set of crops, near duplicates in one part.

    Parameters
    ----------
    datasets
        Folders or manifests of real cells.
    simulated
        Folders or manifests of painted cells: never held out for the figures.
    progress
        Told about every picture.
    model
        Finds cells together with the threshold, as on the device; without, the threshold does alone.

    Raises
    ------
    UsageError
        A dataset, its description or a class is missing, or a label contradicts another.
    UnreadablePictureError
        A file is no picture, or was cut off.
    """
    known: _Known = {}
    parts = [_cut_one(path, path in simulated, known, progress, model) for path in (*datasets, *simulated)]
    columns = {name: np.concatenate([getattr(p, name) for p, _ in parts]) for name in COLUMNS}
    whole = CropSet(**columns, sources=tuple(s for p, _ in parts for s in p.sources))
    return keep_together(whole, stated=np.concatenate([stated for _, stated in parts]))


def require_most_found(crops: CropSet, most_dropped: float = MOST_DROPPED) -> None:
    """Refuse a set that lacks more than a share of the cells which a dataset names.

    Raises
    ------
    DroppedError
        Of one dataset too many are missing: its pixel size or its places are wrong.
    """
    for source in crops.sources:
        # Nobody looks for what has no nucleus: debris, platelets and red cells need not be found.
        wanted = {name: count for name, count in source.missed.items() if source.missed_labels.get(name) in CELLS}
        beside = sum(source.missed.values()) - sum(wanted.values())
        missed, named = sum(wanted.values()), source.pictures - source.duplicates - beside
        if missed > most_dropped * named:
            raise DroppedError(
                f"{source.name}: no cell was found at {missed} of {named} places, above the limit of "
                f"{most_dropped:.0%}; see whether pixel_size_um {source.pixel_size_um:g} is right, and x and y are px "
                "(um are named x_um and y_um); or accept it with --most-dropped"
            )


def central(detections: list[Detection], place_rc: tuple[float, float], pixel_size_um: float) -> Detection | None:
    """Choose the detection at a place of a field, None if there is none within ``CENTRE_UM``."""

    def off_um(detection: Detection) -> float:
        row, col = detection.centre_rc
        return float(np.hypot(row - place_rc[0], col - place_rc[1])) * pixel_size_um

    nearest = min(detections, key=off_um, default=None)
    return nearest if nearest is not None and off_um(nearest) <= CENTRE_UM else None


def middle_of(image: Image) -> tuple[float, float]:
    """Row and column of a picture's middle, px."""
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2


def _cut_one(
    path: Path, simulated: bool, known: _Known, progress: Progress, model: CentreModel | None
) -> tuple[CropSet, NDArray[np.bool_]]:
    """One dataset's crops, and which of them have a part that the dataset states."""
    about, cells, kappas = _listed(path, simulated)
    rows: list[_Row] = []
    missed: dict[str, list[tuple[int, Labelled]]] = {name: [] for name in about.classes} if path.is_dir() else {}
    new = 0
    for cell, image, field in _seen(path, cells, about, progress, model):
        digest = digest_of(image)
        if not _is_new(cell, digest, known):
            continue
        new += 1
        row = _row(cell, image, field, digest, about.pixel_size_um) if field else _ready(path, cell, image, digest)
        if row is None:
            missed.setdefault(cell.original, []).append((digest, cell))
        else:
            rows.append(row)
    if not rows:
        raise UsageError(f"no cell was found in any picture of {path}; is pixel_size_um {about.pixel_size_um} right?")
    source = Source(
        name=_title(path),
        source=about.source,
        stain=about.stain,
        pixel_size_um=about.pixel_size_um,
        simulated=simulated,
        pictures=len(cells),
        duplicates=len(cells) - new,
        missed={name: len(of) for name, of in missed.items()},
        kappas=kappas,
        missed_digests={name: [digest for digest, _ in of] for name, of in missed.items()},
        missed_labels={name: of[0][1].label for name, of in missed.items() if of},
        missed_learned=[digest for of in missed.values() for digest, cell in of if cell.part != "heldout"],
    )
    return _collected(rows, source), np.array([row.cell.stated for row in rows])


def _listed(path: Path, simulated: bool) -> tuple[Description, list[Labelled], dict[str, float]]:
    if path.suffix.lower() == ".csv":
        about = describe(path.parent)
        return about, *in_manifest(path, about, simulated)
    about = describe(path)
    return about, in_class_folders(path, about, simulated), {}


def _title(path: Path) -> str:
    return path.stem if path.suffix.lower() == ".csv" else path.name


def _seen(
    path: Path, cells: list[Labelled], about: Description, progress: Progress, model: CentreModel | None
) -> Iterator[tuple[Labelled, Image, Field | None]]:
    """Each cell with its picture and what was found there; consecutive cells of one picture share the work.

    In crops that are cut already nothing is looked for.
    """
    if about.crops not in (None, PREPROCESSING_ID):
        raise UsageError(
            f"{path} holds crops cut by the recipe {about.crops!r}, this fnrbc cuts by {PREPROCESSING_ID!r}; "
            "write them again from their sessions with the same fnrbc as trains"
        )
    reader, done = PictureReader(), 0
    stain = IDENTITY if about.crops else _stain_of([cell.path for cell in cells], about.pixel_size_um)
    for (picture, alone), among in itertools.groupby(cells, key=lambda cell: (cell.path, cell.place_rc is None)):
        image = _read(reader, picture)
        field = None if about.crops else _field(image, about.pixel_size_um, stain, alone, model)
        for cell in among:
            done += 1
            progress(f"cutting {_title(path)}", done, len(cells))
            yield cell, image, field


def _field(image: Image, pixel_size_um: float, stain: StainMap, alone: bool, model: CentreModel | None) -> Field:
    """What is in a picture, of one cell alone or of many."""
    reduced = reduce(image, pixel_size_um, stain)
    if alone and model is None:
        return seen_alone(reduced, pixel_size_um)
    return Seeing(pixel_size_um, model).see(image, reduced, stain)


def _stain_of(paths: list[Path], pixel_size_um: float) -> StainMap:
    """A dataset's own stain, as a session learns it: by the majority of its pictures, evenly chosen."""
    pictures = list(dict.fromkeys(paths))
    session, reader = SessionStain(), PictureReader()
    for path in pictures[:: max(1, len(pictures) // STAIN_PICTURES)]:
        image = _read(reader, path)
        session.learn(image, pixel_size_um, glass_colour(image))
    return session.map


def _read(reader: PictureReader, path: Path) -> Image:
    """Read a picture; a refusal also says which folder it is in, for classes may have files of one name."""
    try:
        return reader.read(path)
    except UnreadablePictureError as error:
        raise UnreadablePictureError(f"in {path.parent}: {error}") from error


def _row(cell: Labelled, image: Image, field: Field, digest: int, pixel_size_um: float) -> _Row | None:
    place = cell.place_rc or middle_of(image)
    choose = surely_labelled if cell.place_rc is None else central
    found = choose(field.detections, place, pixel_size_um)
    if found is None:
        return None
    patch = crop(image, found, pixel_size_um, field.background_rgb)
    looks = np.stack([look_at(image, at, pixel_size_um) for at in (found.centre_rc, place)])
    picture = image if cell.place_rc is None else _surroundings(image, place, pixel_size_um)
    return _Row(cell, patch, digest, _ring(picture), looks)


def _ready(path: Path, cell: Labelled, image: Image, digest: int) -> _Row:
    """A crop as the device cut it. It shows no surroundings, which is what a crop is for."""
    if image.shape != (CROP_PX, CROP_PX, 3):
        raise UsageError(f"{cell.name} of {path} is {image.shape} px; a crop is {(CROP_PX, CROP_PX, 3)}: take it out")
    look = look_at(image, middle_of(image), CROP_PIXEL_SIZE_UM)
    return _Row(cell, image, digest, _ring(image), np.stack([look, look]))


def _surroundings(image: Image, place_rc: tuple[float, float], pixel_size_um: float) -> Image:
    half = SURROUNDINGS_UM / 2 / pixel_size_um
    (top, bottom), (left, right) = [(max(0, int(at - half)), int(at + half) + 1) for at in place_rc]
    return image[top:bottom, left:right]


def _collected(rows: list[_Row], source: Source) -> CropSet:
    cells = [row.cell for row in rows]
    return CropSet(
        crops=np.stack([row.crop for row in rows]),
        labels=np.array([cell.label for cell in cells], np.int64),
        originals=np.array([cell.original for cell in cells]),
        names=np.array([cell.name for cell in cells]),
        groups=np.array([cell.group for cell in cells]),
        parts=np.array([cell.part for cell in cells]),
        digests=np.array([row.digest for row in rows], np.uint64),
        rings=np.stack([row.ring for row in rows]),
        simulated=np.full(len(rows), source.simulated),
        looks=np.stack([row.looks for row in rows]),
        sources=(source,),
    )


def _ring(image: Image) -> NDArray[np.float32]:
    """(6,) mean and deviation of R, G and B, 0..1, on the picture's outer ring."""
    width = max(1, round(RING_SHARE * min(image.shape[:2])))
    outer = np.ones(image.shape[:2], bool)
    outer[width:-width, width:-width] = False
    pixels = image[outer].astype(np.float32) / 255
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def _is_new(cell: Labelled, digest: int, known: _Known) -> bool:
    """Remember a cell; False for one that was there already, refused if it had another label."""
    first = known.setdefault((digest, cell.place_rc), cell)
    if first.label != cell.label:
        raise UsageError(
            f"{cell.name} ({CLASSES[cell.label]}) and {first.name} ({CLASSES[first.label]}) are one picture; "
            "take one out"
        )
    return first is cell
