"""Pans whose every frame and cell is known: composed of real cells, or simulated."""

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.camera.simulated.microscope import WHOLE_MARGIN_PX, SimulatedMicroscope
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Frame, Image

PROJECT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = PROJECT.parent / "shared"
CELLS: Final = SHARED / "data" / "pbc"
COMPOSER: Final = SHARED / "tools" / "compose_slide.py"
HAND_PAN: Final = SHARED / "data" / "hand_pan"
OUT: Final = PROJECT / "out" / "bench"
"""Ignored by git: composed slides are kept here from one run to the next, and so are pictures."""

COMPOSED_UM: Final = 0.105
"""Size of a composed slide's pixels: that of the real cells it is made of."""
COMPOSED_REACH_PX: Final = 70.0
"""A composed cell counts as shown whole with this much around its centre, as the composer's truth has it."""
SHARP_BLUR_PX: Final = 3.0
SHARP_DEFOCUS_PX: Final = 1.0
NOMINAL_FPS: Final = 30.0
COMPOSE_TIMEOUT_S: Final = 1800.0
PATHS: Final = ("hand", "raster", "revisit", "jump")
DIRT: Final = ("--dust", "12", "--vignette", "0.2", "--drift", "0.1", "--defocus", "0.1")


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A pan and the truth about it."""

    name: str
    pixel_size_um: float
    frame_shape: tuple[int, int]
    """(rows, cols) px."""
    corners_rc: NDArray[np.float64]
    """(frames, 2) px on the slide: each frame's top-left corner."""
    sharp: NDArray[np.bool_]
    """(frames,) at most 3 px of motion blur and 1 px of defocus."""
    cells_rc: NDArray[np.float64]
    """(cells, 2) px on the slide: the nucleated cells."""
    boxes_rc: NDArray[np.float64]
    """(cells, 4) px on the slide, top left bottom right: what a frame must hold to show the cell whole."""
    classes: tuple[str, ...]
    """Of each cell."""
    picture: Callable[[int], Image]
    """The image of a frame; of a simulated one with fresh noise on each call."""

    def times_sharp(self, frames: NDArray[np.int_] | None = None) -> NDArray[np.int_]:
        """(cells,) in how many of these frames (None: all, each once) every cell lay whole and sharp."""
        order = np.arange(len(self.corners_rc)) if frames is None else frames
        corners = self.corners_rc[order[self.sharp[order]]]
        far = corners + np.array(self.frame_shape) - 1
        counts = np.zeros(len(self.cells_rc), int)
        for index, box in enumerate(self.boxes_rc):
            counts[index] = int(((box[:2] >= corners) & (box[2:] <= far)).all(axis=1).sum())
        return counts


def frames_of(scene: Scene, order: Iterable[int] | None = None, fps: float = NOMINAL_FPS) -> Iterator[Frame]:
    """The scene's frames as a camera would deliver them.

    Parameters
    ----------
    scene
        The pan.
    order
        Numbers of the true frames, repeated and left out at will; None for all, each once.
    fps
        Frames a second, > 0.
    """
    for index, number in enumerate(range(len(scene.corners_rc)) if order is None else order):
        yield Frame(index, index / fps, scene.picture(int(number)), f"{scene.name} {number}")


def composed(path: str, seed: int, grid: int, *, dirty: bool) -> Scene:
    """A slide of real cells from the shared composer; composed once, then taken from ``out/``.

    Parameters
    ----------
    path
        ``hand``, ``raster``, ``revisit`` or ``jump``.
    seed
        Of cells, path and faults.
    grid
        Cells along each side.
    dirty
        With dust, vignetting, drift of the light and of the focus.

    Raises
    ------
    UsageError
        The real cells or the composer are not at hand.
    """
    if not (COMPOSER.exists() and CELLS.exists()):
        raise UsageError(f"real cells are not at {CELLS}; put them there, or run the simulated benches")
    options = ["--path", path, "--seed", str(seed), "--grid", str(grid), *(DIRT if dirty else ())]
    if path == "hand":
        options += ["--trajectory", str(HAND_PAN / "poses.csv")]
    digest = hashlib.sha256(COMPOSER.read_bytes() + json.dumps(options).encode()).hexdigest()[:10]
    folder = OUT / "slides" / f"{path}-{seed}-{grid}{'-dirty' if dirty else ''}-{digest}"
    # The composer writes truth.csv last: a slide without it was interrupted.
    if not (folder / "truth.csv").exists():
        command = [sys.executable, str(COMPOSER), "--crops", str(CELLS), "--out", str(folder), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=COMPOSE_TIMEOUT_S)
    return read_composed(folder)


def read_composed(folder: Path) -> Scene:
    """A slide that the composer wrote, as a scene."""
    cells = [row for row in _rows(folder / "truth.csv") if row["class"] != "platelet"]
    poses = _rows(folder / "poses.csv")
    files = sorted((folder / "frames").glob("*.jpg"))
    centres = _columns(cells, "y_px", "x_px")
    sharp = (_columns(poses, "blur_px")[:, 0] <= SHARP_BLUR_PX) & (
        _columns(poses, "defocus_px")[:, 0] <= SHARP_DEFOCUS_PX
    )
    reader = PictureReader()
    height, width = reader.read(files[0]).shape[:2]
    reach = COMPOSED_REACH_PX
    return Scene(
        name=folder.name,
        pixel_size_um=COMPOSED_UM,
        frame_shape=(height, width),
        corners_rc=_columns(poses, "y_px", "x_px"),
        sharp=sharp,
        cells_rc=centres,
        # The composer asks for as much as the reach to the frame's far border, one pixel beyond the last one.
        boxes_rc=np.hstack([centres - reach, centres + reach - 1]),
        classes=tuple(row["class"] for row in cells),
        picture=lambda number: reader.read(files[number]),
    )


def simulated(microscope: SimulatedMicroscope) -> Scene:
    """A simulated microscope, as a scene."""
    truth = microscope.slide.truth
    boxes = np.array([cell.box_rc for cell in truth], float).reshape(-1, 4)
    return Scene(
        name=microscope.name,
        pixel_size_um=microscope.slide.pixel_size_um,
        frame_shape=microscope.frame_shape,
        corners_rc=microscope.path,
        sharp=microscope.sharp(),
        cells_rc=np.array([(cell.row_px, cell.col_px) for cell in truth], float).reshape(-1, 2),
        boxes_rc=boxes + np.array([-WHOLE_MARGIN_PX, -WHOLE_MARGIN_PX, WHOLE_MARGIN_PX, WHOLE_MARGIN_PX]),
        classes=tuple(cell.class_name for cell in truth),
        picture=microscope.image,
    )


def hand_pan() -> Scene:
    """The real hand-moved pan: 77 frames of plant tissue, placed by other software; it has no cells.

    Raises
    ------
    UsageError
        The frames are not at hand.
    """
    files = sorted((HAND_PAN / "frames").glob("*.jpg"))
    if not files:
        raise UsageError(f"the hand-moved pan is not at {HAND_PAN}; put it there, or run another bench")
    corners = _columns(_rows(HAND_PAN / "poses.csv"), "y_px", "x_px")
    reader = PictureReader()
    return Scene(
        name="hand_pan",
        pixel_size_um=0.125,  # nobody recorded it; it sets the working scale only
        frame_shape=(960, 1280),
        corners_rc=corners,
        sharp=np.ones(len(corners), bool),
        cells_rc=np.zeros((0, 2)),
        boxes_rc=np.zeros((0, 4)),
        classes=(),
        picture=lambda number: reader.read(files[number]),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _columns(rows: list[dict[str, str]], *names: str) -> NDArray[np.float64]:
    return np.array([[float(row[name]) for name in names] for row in rows]).reshape(-1, len(names))
