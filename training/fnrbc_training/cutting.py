"""From folders of labelled pictures to crops, by the device's own segmentation and cropping.

A dataset is a folder with one folder a class and a ``dataset.toml`` beside them, which gives the pixel size,
the stain, the source with its licence, and what each class counts as: ``fnrbc``, ``leukocyte`` or ``other``.
The label is the centre cell's. Other cells in a picture are nobody's, and are not used.
"""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.bundle import first_error
from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Detection, Image
from fnrbc_device.vision.preprocessing import crop
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_training.dataset import BLOCKS, CLASSES, COLUMNS, CropSet, Source, part_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DESCRIPTION: Final = "dataset.toml"

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})

CENTRE_UM: Final = 4.0
"""A cell further from the picture's centre is another one: half of a small leukocyte's diameter."""

RING_SHARE: Final = 0.06
"""Width of the outer ring over the picture's side, for the background-only baseline."""

FEWEST_PICTURES: Final = 2
"""A class of one picture cannot be learned and judged."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many, of how many."""


class Description(BaseModel):
    """What a ``dataset.toml`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: Annotated[float, Field(ge=0.02, le=2.0)]
    """Of the pictures, um. Beyond these bounds no microscope counts cells."""
    stain: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    classes: Annotated[dict[str, Literal["fnrbc", "leukocyte", "other"]], Field(min_length=1)]


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """One picture on its way into the set."""

    crop: Image | None
    """None where no cell lay in the centre."""
    original: str
    name: str
    block: int
    digest: int
    ring: NDArray[np.float32]


def cut(folders: list[Path], simulated: list[Path], progress: Progress) -> CropSet:
    """Cut datasets into one set of crops.

    Parameters
    ----------
    folders
        Datasets of real cells.
    simulated
        Datasets of painted cells: never held out for the figures.
    progress
        Told about every picture.

    Raises
    ------
    UsageError
        A folder, its description or a class is missing or contradicts another.
    UnreadablePictureError
        A file is no picture, or was cut off.
    """
    known: dict[int, tuple[str, str]] = {}
    parts = [_cut_one(folder, folder in simulated, known, progress) for folder in (*folders, *simulated)]
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in COLUMNS}
    return CropSet(**columns, sources=tuple(s for p in parts for s in p.sources))


def describe(folder: Path) -> Description:
    """Read a dataset's description.

    Raises
    ------
    UsageError
        It is missing, no TOML, or lacks something such as the pixel size.
    """
    path = folder / DESCRIPTION
    try:
        return Description.model_validate(tomllib.loads(path.read_text()))
    except OSError:
        raise UsageError(f"there is no {path}; it must give pixel_size_um, stain, source and [classes]") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML ({error}); mend it") from None
    except ValidationError as error:
        raise UsageError(f"{path}: {first_error(error)}; mend it") from None


def central(detections: list[Detection], image: Image, pixel_size_um: float) -> Detection | None:
    """Choose the detection in the picture's centre, None if there is none within ``CENTRE_UM``."""
    middle_rc = np.array(image.shape[:2]) / 2 - 0.5
    nearest = min(detections, key=lambda d: float(np.hypot(*(np.array(d.centre_rc) - middle_rc))), default=None)
    if nearest is None:
        return None
    off_um = float(np.hypot(*(np.array(nearest.centre_rc) - middle_rc))) * pixel_size_um
    return nearest if off_um <= CENTRE_UM else None


def _cut_one(folder: Path, simulated: bool, known: dict[int, tuple[str, str]], progress: Progress) -> CropSet:
    about = describe(folder)
    rows: list[_Row] = []
    reader = PictureReader()
    duplicates, pictures = 0, _pictures(folder, about)
    for done, (original, block, path) in enumerate(pictures):
        progress(f"cutting {folder.name}", done + 1, len(pictures))
        name = f"{folder.name}/{original}/{path.name}"
        row = _row(reader.read(path), original, block, name, about.pixel_size_um)
        if _is_new(row, about.classes[original], known):
            rows.append(row)
        else:
            duplicates += 1
    missed = Counter(dict.fromkeys(about.classes, 0))
    missed.update(row.original for row in rows if row.crop is None)
    found = [row for row in rows if row.crop is not None]
    if not found:
        raise UsageError(f"no cell was found in any picture of {folder}; is pixel_size_um {about.pixel_size_um} right?")
    source = Source(
        folder.name, about.source, about.stain, about.pixel_size_um, simulated,
        len(pictures), duplicates, dict(missed),
    )  # fmt: skip
    return _collected(found, about, source)


def _collected(rows: list[_Row], about: Description, source: Source) -> CropSet:
    return CropSet(
        crops=np.stack([row.crop for row in rows if row.crop is not None]),
        labels=np.array([CLASSES.index(about.classes[row.original]) for row in rows], np.int64),
        originals=np.array([row.original for row in rows]),
        names=np.array([row.name for row in rows]),
        groups=np.array([f"{source.name}/{row.original}/{row.block:02d}" for row in rows]),
        parts=np.array([part_of(row.block, source.simulated) for row in rows]),
        digests=np.array([row.digest for row in rows], np.uint64),
        rings=np.stack([row.ring for row in rows]),
        simulated=np.full(len(rows), source.simulated),
        sources=(source,),
    )


def _pictures(folder: Path, about: Description) -> list[tuple[str, int, Path]]:
    """Class, block and path of every picture."""
    return [
        (name, index * BLOCKS // len(paths), path)
        for name in sorted(about.classes)
        for paths in [list(_of_class(folder / name))]
        for index, path in enumerate(paths)
    ]


def _of_class(folder: Path) -> Iterator[Path]:
    """Yield a class' pictures in the order of their file numbers."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}, which {DESCRIPTION} names; make it or take its line out")
    found = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=_file_number)
    if len(found) < FEWEST_PICTURES:
        raise UsageError(
            f"class folder {folder} holds {len(found)} pictures; {FEWEST_PICTURES} are needed at least, "
            f"or take its line out of {DESCRIPTION}"
        )
    yield from found


def _file_number(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)


def _row(image: Image, original: str, block: int, name: str, pixel_size_um: float) -> _Row:
    field = Segmenter(pixel_size_um).segment(image)
    cell = central(field.detections, image, pixel_size_um)
    patch = None if cell is None else crop(image, cell, pixel_size_um, field.background_rgb)
    return _Row(patch, original, name, block, digest_of(image), _ring(image))


def digest_of(image: Image) -> int:
    """Name a picture by its pixels: first 8 bytes of their sha256."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:8], "big")


def _ring(image: Image) -> NDArray[np.float32]:
    """(6,) mean and deviation of R, G and B, 0..1, on the picture's outer ring."""
    width = max(1, round(RING_SHARE * min(image.shape[:2])))
    outer = np.ones(image.shape[:2], bool)
    outer[width:-width, width:-width] = False
    pixels = image[outer].astype(np.float32) / 255
    return np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)])


def _is_new(row: _Row, counts_as: str, known: dict[int, tuple[str, str]]) -> bool:
    """Remember a picture; False for one that was there already, refused if it had another label."""
    name, label = known.setdefault(row.digest, (row.name, counts_as))
    if label != counts_as:
        raise UsageError(f"{row.name} ({counts_as}) and {name} ({label}) are one picture; take one out")
    return name == row.name
