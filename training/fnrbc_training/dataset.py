"""The training's data: crops with their labels, where they came from, and which part of the work each is for.

The parts are kept apart by group. A class' pictures, in the order of their file numbers, are cut into 20
contiguous blocks: neighbours in number come from one smear and one day, and a random split would put them on
both sides. Every fifth block (4, 9, 14, 19) is held out for the figures, blocks 7 and 17 tune the
temperature and the threshold, the rest trains. Simulated cells train and tune, but are no evidence. The groups of
a manifest are given parts of about the same sizes. Near duplicates follow the first of them, whatever their group.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_device.records import Image, Role
from fnrbc_device.vision.preprocessing import PREPROCESSING_ID

Part = Literal["training", "tuning", "heldout"]

CLASSES: Final = ("fnrbc", "leukocyte", "other")
"""In the order of the network's columns."""

ROLES: Final[tuple[Role, ...]] = ("target", "denominator", "ignored")

TARGET: Final = 0
"""Column of the fNRBC."""

DENOMINATOR: Final = 1
"""Column of the leukocytes."""

BLOCKS: Final = 20
"""Contiguous blocks that a class' pictures are cut into."""


@dataclass(frozen=True, slots=True)
class Source:
    """One folder of labelled pictures, and what became of them."""

    name: str
    source: str
    """Who made it, and under which licence."""
    stain: str
    pixel_size_um: float
    simulated: bool
    pictures: int
    duplicates: int
    """Pictures dropped since the same pixels were there already."""
    missed: dict[str, int]
    """Cells that segmentation did not find where they are said to be, by class folder or label."""
    kappas: dict[str, float] = field(default_factory=dict)
    """Cohen's kappa of fNRBC or not, for each two readers of a manifest."""
    missed_digests: dict[str, list[int]] = field(default_factory=dict)
    """The pictures of those in ``missed``, by digest."""
    missed_labels: dict[str, int] = field(default_factory=dict)
    """The column in ``CLASSES`` of each class in ``missed_digests``."""
    missed_learned: list[int] = field(default_factory=list)
    """Those of them that would have trained or tuned, had segmentation found the cell."""


@dataclass(frozen=True, slots=True, eq=False)
class CropSet:
    """Crops and what is known of each, row by row."""

    crops: Image
    """(N, 120, 120, 3) uint8 RGB."""
    labels: NDArray[np.int64]
    """(N,) column in ``CLASSES``."""
    originals: NDArray[np.str_]
    """(N,) class folder, such as ``neutrophil``."""
    names: NDArray[np.str_]
    """(N,) source/class/file."""
    groups: NDArray[np.str_]
    """(N,) source/class/block: what must not be on two sides of a split."""
    parts: NDArray[np.str_]
    """(N,) one of ``Part``."""
    digests: NDArray[np.uint64]
    """(N,) first 8 bytes of the sha256 of the whole picture's pixels."""
    rings: NDArray[np.float32]
    """(N, 6) mean and deviation of each colour on the picture's outer ring: background and nothing else."""
    simulated: NDArray[np.bool_]
    """(N,)"""
    looks: NDArray[np.uint8]
    """(N, 2, 16, 16, 3) the cell with its surroundings, very small, round its nucleus and round the labelled place:
    near duplicates are told by it."""
    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, chosen: NDArray[Any]) -> "CropSet":
        """Keep some rows: a boolean mask or indices."""
        columns = {name: getattr(self, name)[chosen] for name in COLUMNS}
        return CropSet(**columns, sources=self.sources)

    def part(self, part: Part) -> "CropSet":
        """Keep the rows of one part."""
        return self.where(self.parts == part)

    def sha256(self) -> str:
        """Hash the crops with their labels and parts: names what a network learned from."""
        digest = hashlib.sha256(PREPROCESSING_ID.encode())
        for column in (self.crops, self.labels, self.digests):
            digest.update(np.ascontiguousarray(column).tobytes())
        for words in (self.parts, self.originals):
            digest.update("\n".join(words).encode())
        return digest.hexdigest()

    def seen(self) -> NDArray[np.uint64]:
        """(S,) sorted digests of the pictures that are no evidence: trained or tuned on, or missed among those."""
        missed = [digest for source in self.sources for digest in source.missed_learned]
        return np.unique(np.append(self.digests[self.parts != "heldout"], np.array(missed, np.uint64)))

    def laboratories(self) -> NDArray[np.str_]:
        """(N,) the source that each crop is from."""
        return np.array([str(name).split("/")[0] for name in self.names])


COLUMNS: Final = (
    "crops", "labels", "originals", "names", "groups", "parts", "digests", "rings", "simulated", "looks",
)  # fmt: skip


def part_of(block: int, simulated: bool) -> Part:
    """Say what a block is for; see the module's opening."""
    if block % 10 == 7:
        return "tuning"
    return "heldout" if block % 5 == 4 and not simulated else "training"


def save(crops: CropSet, out: Path) -> None:
    """Write a set as one .npz, complete or not at all.

    Raises
    ------
    FnrbcError
        It cannot be written.
    """
    about = {"preprocessing_id": PREPROCESSING_ID, "sources": [asdict(s) for s in crops.sources]}
    columns = {name: getattr(crops, name) for name in COLUMNS}
    partial = out.with_suffix(".partial.npz")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(partial, about=np.array(json.dumps(about)), **columns)
        partial.replace(out)
    except OSError as error:
        raise FnrbcError(f"{out} cannot be written ({error}); free some space or choose another place") from None
    finally:
        with suppress(OSError):  # what could not be made is not there to be taken away
            partial.unlink()


def load(path: Path) -> CropSet:
    """Read a set that ``save`` wrote.

    Raises
    ------
    UsageError
        It is missing, no set, or was cut by another recipe than this software's.
    """
    try:
        # Opened here: numpy leaves a file open that proves to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            columns = {name: archive[name] for name in COLUMNS}
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); make it with fnrbc-train cut") from None
    # numpy would advise to run code out of the file: its words are not passed on.
    except (ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise UsageError(f"{path} is no set of crops, or was cut off; make it with fnrbc-train cut") from None
    if about["preprocessing_id"] != PREPROCESSING_ID:
        raise UsageError(
            f"{path} was cut by the recipe {about['preprocessing_id']!r}, "
            f"this fnrbc cuts by {PREPROCESSING_ID!r}; run fnrbc-train cut again"
        )
    return CropSet(**columns, sources=tuple(Source(**s) for s in about["sources"]))


def require_learnable(crops: CropSet) -> None:
    """Refuse a set that cannot be split honestly.

    Raises
    ------
    UsageError
        The fNRBC or the leukocytes lack crops in some part. What is neither may be absent.
    """
    for name, role in zip(CLASSES, ROLES, strict=True):
        for part in ("training", "tuning", "heldout"):
            if role != "ignored" and not np.any((crops.labels == CLASSES.index(name)) & (crops.parts == part)):
                raise UsageError(
                    f"class {name!r} has no crop for {part}; at least {BLOCKS} pictures of it, or 3 groups in a "
                    "manifest, are needed, so that whole blocks of them can be kept apart"
                )


def require_apart(crops: CropSet, elsewhere: Sequence[CropSet]) -> None:
    """Refuse to measure on what was trained on.

    Raises
    ------
    UsageError
        A set of another laboratory has a source of the same name, or pictures of the training's.
    """
    names = {source.name for source in crops.sources}
    for other in elsewhere:
        shared = sorted(names & {source.name for source in other.sources})
        if shared:
            raise UsageError(f"{shared[0]} is among the data that train; give other laboratories to measure on")
        if np.isin(other.digests, crops.digests).any():
            raise UsageError(
                f"pictures of {other.sources[0].name} are among the data that train; take them out of one of the two"
            )
