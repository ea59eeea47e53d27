"""Where a motorised stage stood when each picture was taken, as Micro-Manager and OME note it.

Fields with known places need no registration. A stage's numbers say how it moved, not how the picture lies on it: that
is stated (``Axes``), and held against the pictures wherever two of them overlap.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.stated_pixel_size import UNITS_UM
from fnrbc_device.camera.tiff_header import TIFF_STARTS, open_tiff
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.records import Image, Pose

LEAST_MOVED_UM: Final = 20.0
"""Positions that all lie nearer together say that nobody moved the stage by motor: a hand pan notes one place."""

AGREED_UM: Final = 5.0
"""Two notes of one position may differ by as much: stages are read out before and after they come to rest."""

PAIRS: Final = 4
"""Overlapping neighbours along each of the stage's axes that are held against the stated directions."""

MOST_LOOKED: Final = 1500
"""Frames among which they are looked for."""

LEAST_OVERLAP: Final = 0.05
"""Share of a field that two must have in common to tell anything."""

FITS: Final = 0.5
FITS_NOT: Final = 0.5
"""Least correlation of the ground that two fields share where directions are right, and the share of it below which
others are wrong: wrong ones reach 0.3 on fields of the simulated slide, right ones 0.99."""

SEARCH_UM: Final = 8.0
"""How far stages may be off."""

LEAST_STRIP_PX: Final = 8
"""Narrowest strip that two fields share and that tells anything, px of ``SMALL_UM``: a red cell."""

SMALL_UM: Final = 1.0
"""Pixel of the pictures that are held against each other."""

METADATA_NAME: Final = "metadata.txt"
_MICRO_MANAGER_TAG: Final = 51123
_PLANE: Final = re.compile(r"<(?:\w+:)?Plane\b([^>]*)>")
_ATTRIBUTE: Final = re.compile(r'(\w+)\s*=\s*"([^"]*)"')

Position = tuple[float, float]
"""(x, y) um, as the stage counts."""


@dataclass(frozen=True, slots=True)
class Axes:
    """How a stage's x and y lie in the picture: which of them runs to the right, which down, and with which sign."""

    right: str
    down: str
    """``x``, ``-x``, ``y`` or ``-y``; one of each letter."""

    @classmethod
    def of(cls, words: str) -> "Axes":
        """Read what a person states, such as ``x,y`` or ``-x,y``.

        Raises
        ------
        UsageError
            It names no two axes.
        """
        parts = [part.strip().lower().removeprefix("+") for part in words.split(",")]
        if len(parts) != 2 or sorted(part.lstrip("-") for part in parts) != ["x", "y"] or "--" in words:
            raise UsageError(
                f"--stage-axes {words!r} is none of x,y -x,y x,-y -x,-y y,x -y,x y,-x -y,-x; say which of the stage's "
                "axes runs to the right in the picture, and which down"
            )
        return cls(parts[0], parts[1])

    def __str__(self) -> str:
        return f"{self.right},{self.down}"

    def place(self, position: Position) -> tuple[float, float]:
        """(row, col) um of a field whose stage stood there."""
        return _along(self.down, position), _along(self.right, position)


USUAL: Final = Axes("x", "y")
ALL: Final = tuple(
    Axes(right, down)
    for one, other in (("x", "y"), ("y", "x"))
    for right in (one, f"-{one}")
    for down in (other, f"-{other}")
)


@dataclass(frozen=True, slots=True)
class StagePositions:
    """Of a recording, one for each frame."""

    um: tuple[Position, ...]
    where: str
    """Who notes them."""


def positions_of(files: Sequence[tuple[Path, int]]) -> StagePositions | None:
    """Read the stage's positions of a recording; None where they are not noted for every frame, or nothing moved.

    Parameters
    ----------
    files
        Of the recording, in order, with the number of frames in each.

    Raises
    ------
    SourceError
        Two notes of one picture contradict each other.
    """
    beside = _beside(files[0][0].parent) if files else {}
    found: list[Position] = []
    sources: set[str] = set()
    for path, frames in files:
        inside, where = _inside(path)
        noted = beside.get(path.name)
        if noted is not None and inside and not _near(noted, inside[0]):
            raise SourceError(
                f"{METADATA_NAME} says that the stage stood at x {noted[0]:g}, y {noted[1]:g} um for {path.name}, and "
                f"the file itself x {inside[0][0]:g}, y {inside[0][1]:g}; keep the one that is right"
            )
        here = inside if len(inside) == frames else [noted] if noted is not None and frames == 1 else []
        if len(here) != frames:
            return None
        found += here
        sources.add(where if inside else METADATA_NAME)
    if not found or float(np.ptp(np.array(found), axis=0).max()) < LEAST_MOVED_UM:
        return None
    return StagePositions(tuple(found), " and ".join(sorted(sources)))


def poses_of(positions: StagePositions, axes: Axes, pixel_um: float) -> tuple[Pose, ...]:
    """Places of the frames' corners on the slide; the first one's is the origin."""
    places = [axes.place(position) for position in positions.um]
    top, left = places[0]
    return tuple(Pose(0, (row - top) / pixel_um, (col - left) / pixel_um) for row, col in places)


def neighbours(positions: StagePositions, shape: tuple[int, int], pixel_um: float) -> list[tuple[int, int]]:
    """Pairs of frames that may overlap: a few that lie apart along x, and a few along y, spread over the recording."""
    side = (1 - LEAST_OVERLAP) * max(shape) * pixel_um
    places = np.array(positions.um[:MOST_LOOKED])
    apart = np.abs(places[:, None] - places[None])
    near = np.triu((apart.max(axis=2) < side) & (apart.max(axis=2) > LEAST_MOVED_UM / 2))
    chosen: list[tuple[int, int]] = []
    for axis in (0, 1):
        pairs = np.argwhere(near & (apart[..., axis] > 2 * apart[..., 1 - axis]))
        if len(pairs):
            at = np.unique(np.linspace(0, len(pairs) - 1, PAIRS).round().astype(int))
            chosen += [(int(one), int(other)) for one, other in pairs[at]]
    return chosen


def require_fitting(
    axes: Axes, positions: StagePositions, images: Sequence[tuple[int, Image, int, Image]], pixel_um: float
) -> None:
    """Refuse directions that overlapping pictures contradict.

    Parameters
    ----------
    images
        Pairs of frames, with their numbers.

    Raises
    ------
    UsageError
        Other directions fit and the stated ones do not; the message names both.
    """
    if not images:
        return
    fits = {one: _agreement(one, positions, images, pixel_um) for one in ALL}
    best = max(fits, key=lambda one: (fits[one], one == axes))
    if fits[best] >= FITS and fits[axes] < FITS_NOT * fits[best]:
        raise UsageError(
            f"the stage's axes are taken as {axes} (right, down in the picture), but fields that overlap fit only as "
            f"{best} (correlation {fits[axes]:.2f} against {fits[best]:.2f}); give --stage-axes={best}"
        )


def _agreement(
    axes: Axes, positions: StagePositions, images: Sequence[tuple[int, Image, int, Image]], pixel_um: float
) -> float:
    """The worse of both directions' median correlation, -1..1."""
    along: tuple[list[float], list[float]] = ([], [])
    for first, one, second, other in images:
        x, y = (abs(a - b) for a, b in zip(positions.um[first], positions.um[second], strict=True))
        along[int(y > x)].append(_fit(axes, positions, first, one, second, other, pixel_um))
    return min(float(np.median(fits)) for fits in along if fits)


def _fit(
    axes: Axes, positions: StagePositions, first: int, one: Image, second: int, other: Image, pixel_um: float
) -> float:
    """How well two pictures agree on the ground that they share by these directions, -1..1; 0 where they share none."""
    here, there = axes.place(positions.um[first]), axes.place(positions.um[second])
    shrink = max(1, round(SMALL_UM / pixel_um))
    um = pixel_um * shrink
    small = [_small(image, shrink) for image in (one, other)]
    down, right = (round((b - a) / um) for a, b in zip(here, there, strict=True))
    height, width = small[0].shape
    top, left = max(down, 0), max(right, 0)
    bottom, far = min(height, height + down), min(width, width + right)
    narrow = min(bottom - top, far - left)
    if narrow < LEAST_STRIP_PX:
        return 0.0
    reach = min(round(SEARCH_UM / um), narrow // 4)
    inner = small[1][top - down : bottom - down, left - right : far - right]
    inner = inner[reach:-reach, reach:-reach]
    found = cv2.matchTemplate(small[0][top:bottom, left:far], np.ascontiguousarray(inner), cv2.TM_CCOEFF_NORMED)
    return float(np.nan_to_num(found).max())


def _small(image: Image, shrink: int) -> NDArray[np.float32]:
    size = (max(1, image.shape[1] // shrink), max(1, image.shape[0] // shrink))
    return cv2.resize(image[..., 1], size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _along(axis: str, position: Position) -> float:
    value = position["xy".index(axis[-1])]
    return -value if axis.startswith("-") else value


def _near(one: Position, other: Position) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= AGREED_UM


def _beside(folder: Path) -> dict[str, Position]:
    """Positions by file name, of Micro-Manager's ``metadata.txt``."""
    path = folder / METADATA_NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    entries = told.items() if isinstance(told, dict) else ()
    found = {}
    for key, entry in entries:
        position = _micro_manager(entry)
        if position is not None:
            found[Path(str(entry.get("FileName") or key)).name] = position
    return found


def _inside(path: Path) -> tuple[list[Position], str]:
    """Positions that a TIFF notes of its own frames, in their order."""
    try:
        with path.open("rb") as file:
            if not file.read(4).startswith(TIFF_STARTS):
                return [], ""
            with open_tiff(file) as tif:
                pages: list[Any] = list(tif.pages)
                noted = [_micro_manager(_tag(page)) for page in pages]
                if noted and all(noted):
                    return [position for position in noted if position], "Micro-Manager's XPositionUm"
                return (_of_ome(tif.ome_metadata or ""), "OME's PositionX") if tif.is_ome else ([], "")
    except Exception:  # noqa: BLE001  notes that cannot be read are none; the picture's own reader judges the file
        return [], ""


def _tag(page: Any) -> Any:
    tag = page.tags.get(_MICRO_MANAGER_TAG) if hasattr(page, "tags") else None
    return tag.value if tag is not None else None


def _micro_manager(entry: Any) -> Position | None:
    try:
        return float(entry["XPositionUm"]), float(entry["YPositionUm"])
    except (KeyError, TypeError, ValueError):
        return None


def _of_ome(xml: str) -> list[Position]:
    """Of the first channel's planes, in their order; empty where a unit is no length."""
    found = []
    for plane in _PLANE.findall(xml):
        said = dict(_ATTRIBUTE.findall(plane))
        if said.get("TheC", "0") != "0":
            continue
        factors = [UNITS_UM.get(said.get(f"Position{axis}Unit", "reference frame")) for axis in "XY"]
        if factors[0] is None or factors[1] is None or not {"PositionX", "PositionY"} <= said.keys():
            return []
        found.append((float(said["PositionX"]) * factors[0], float(said["PositionY"]) * factors[1]))
    return found
