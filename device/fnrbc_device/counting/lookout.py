"""Decides what of a frame is looked at: ground that is new in view, cells not settled, and now and then everything.

The ground in view is laid out in squares; a square is known when it was looked at ``LOOKS`` times from places some way
apart. Ground that leaves the view is forgotten: when the hand comes back it is looked at again, and what was counted
there is seen again, or missed. Nothing here grows with the session.
"""

import random
from collections.abc import Iterable, Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection, Pose
from fnrbc_device.vision.region import Grid, Region

SQUARE_UM: Final = 6.0
"""Side of a square of ground. One is known of when all of it is in view: a cell with so much ground round its centre
always lies in one."""

LOOKS: Final = 2
"""Times that ground is looked at when it comes into view; then whole frames show it again."""

REST_UM: Final = 0.5
"""The hand rests within this distance of the last look: the same picture says the same again."""

STEP_UM: Final = 4.0
"""Way from one look at the same ground to the next, and so between the views of a cell: farther than a cell must wander
through the field before it is counted (``counter.SPAN_UM``)."""

WHOLE_EVERY: Final = (9, 15)
"""Used frames from one look at everything to the next, drawn evenly, so that nothing that comes and goes in the picture
falls into step with it."""

FIRST_WHOLE: Final = 8
"""Frames of a session that are looked at whole, while the threshold settles."""

DOUBTFUL: Final = 0.75
"""Correlation of a frame with what it was laid on below which its place is not sure enough to leave anything out."""

CELL_UM: Final = 5.0
"""Half the side of what is asked for round a cell that is not settled: it may lie a same cell's distance off."""

MOSTLY: Final = 0.5
"""Share of a row's squares from which on it is one strip with its neighbours."""


class Lookout:
    """Chooses what is looked at in the frames of one session, in their order.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um, > 0.
    everything
        Every frame is looked at whole.
    """

    def __init__(self, pixel_size_um: float, *, everything: bool) -> None:
        self._um = pixel_size_um
        self._everything = everything
        self._looks = np.zeros((0, 0), np.uint8)
        """How often each square in view was looked at."""
        self._corner: tuple[int, int] = (0, 0)
        """Number of the first row and column of squares in view, on the slide."""
        self._looked: Pose | None = None
        """Where the last look was taken."""
        self._stepped: Pose | None = None
        """Where known ground and open cells were last looked at."""
        self._due = 0
        """Used frames until everything is looked at."""
        self._wholes = 0
        """Frames looked at whole."""
        self.frames_since_whole = 0
        """Used frames since one was looked at whole, that one not included."""

    def choose(
        self, pose: Pose, grid: Grid, open_rc: NDArray[np.float64], *, correlation: float, anew: bool
    ) -> Region | None:
        """Choose what of the next used frame is looked at; None where nothing need be.

        Parameters
        ----------
        pose
            Of the frame.
        grid
            Its working pixels.
        open_rc
            (N, 2) frame pixels: where cells lie that are not settled.
        correlation
            With what the frame was laid on, -1..1.
        anew
            What is looked for has changed: its threshold is not known yet, or the stain is another.
        """
        self._follow(pose, (grid.shape[0] * grid.factor, grid.shape[1] * grid.factor))
        self._due -= 1
        self.frames_since_whole += 1
        whole = self._everything or anew or self._due <= 0 or correlation < DOUBTFUL or not self._looks.size
        if whole or self._away_um(self._looked, pose) == np.inf:
            return Region.all_of(grid)
        if self._away_um(self._looked, pose) < REST_UM:
            return None
        step = self._away_um(self._stepped, pose) >= STEP_UM
        asked = list(self._ground(pose, self._looks < (LOOKS if step else 1)))
        if step:
            reach = CELL_UM / self._um
            asked += [(row - reach, col - reach, row + reach, col + reach) for row, col in open_rc.tolist()]
        if not asked and not step:
            return None
        return Region.round_about(grid, asked)

    def note(self, region: Region, pose: Pose, cut: Iterable[Detection]) -> None:
        """Take in what was looked at.

        Parameters
        ----------
        region
            What was chosen.
        pose
            Of the frame.
        cut
            What the border of the frame or of the region cuts: the ground there is not known yet.
        """
        if self._away_um(self._stepped, pose) >= STEP_UM:
            self._stepped = pose
        self._looked = pose
        self._looks = np.minimum(self._looks + self._covered(region, pose), LOOKS).astype(np.uint8)
        for detection in cut:
            self._looks[self._under(detection, pose)] = 0
        if region.is_whole:
            self._wholes += 1
            self.frames_since_whole = 0
            # Seeded by their number, so that a resumed session looks at the same frames.
            often = random.Random(self._wholes).randint(*WHOLE_EVERY)
            self._due = often if self._wholes >= FIRST_WHOLE else 1

    def _follow(self, pose: Pose, frame_px: tuple[float, float]) -> None:
        """Bring the squares to what is in view now."""
        side = SQUARE_UM / self._um
        corner = int(np.ceil(pose.row_px / side)), int(np.ceil(pose.col_px / side))
        ends = (pose.row_px + frame_px[0]) // side, (pose.col_px + frame_px[1]) // side
        looks = np.zeros([max(int(end) - start, 0) for start, end in zip(corner, ends, strict=True)], np.uint8)
        if self._looked is not None and self._looked.island == pose.island:
            down, right = corner[0] - self._corner[0], corner[1] - self._corner[1]
            before = self._looks[max(down, 0) :, max(right, 0) :]
            here = looks[max(-down, 0) :, max(-right, 0) :]
            rows, cols = (min(one, other) for one, other in zip(before.shape, here.shape, strict=True))
            here[:rows, :cols] = before[:rows, :cols]
        self._looks, self._corner = looks, corner

    def _ground(self, pose: Pose, asked: NDArray[np.bool_]) -> Iterator[tuple[float, float, float, float]]:
        """Where squares lie in the frame, px, those side by side together."""
        side = SQUARE_UM / self._um
        for top, left, bottom, right in strips(asked):
            rows = ((at + self._corner[0]) * side - pose.row_px for at in (top, bottom))
            cols = ((at + self._corner[1]) * side - pose.col_px for at in (left, right))
            (first, last), (begin, end) = rows, cols
            yield first, begin, last, end

    def _covered(self, region: Region, pose: Pose) -> NDArray[np.bool_]:
        """The squares in view whose middle was looked at."""
        side = SQUARE_UM / self._um
        rows, cols = (
            np.asarray((np.arange(squares) + corner + 0.5) * side - start_px, np.float64)
            for squares, corner, start_px in zip(
                self._looks.shape, self._corner, (pose.row_px, pose.col_px), strict=True
            )
        )
        return region.covers_each(rows, cols)

    def _under(self, detection: Detection, pose: Pose) -> tuple[slice, slice]:
        """The squares that a detection's box touches."""
        side = SQUARE_UM / self._um
        outline = detection.outline_xy
        (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
        rows = [int((at + pose.row_px) // side) - self._corner[0] for at in (top, bottom)]
        cols = [int((at + pose.col_px) // side) - self._corner[1] for at in (left, right)]
        return slice(max(rows[0], 0), max(rows[1] + 1, 0)), slice(max(cols[0], 0), max(cols[1] + 1, 0))

    def _away_um(self, place: Pose | None, pose: Pose) -> float:
        """How far a frame lies from an earlier one; beyond all bounds on another island."""
        if place is None or place.island != pose.island:
            return float(np.inf)
        return float(np.hypot(pose.row_px - place.row_px, pose.col_px - place.col_px)) * self._um


def strips(asked: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Boxes (top, left, bottom, right) that hold all squares asked for: rows and columns of them, then what is left."""
    left = asked.copy()
    found = []
    for axis in (0, 1):
        for start, end in _stretches(left.mean(axis=1 - axis) >= MOSTLY if left.size else np.zeros(0, np.bool_)):
            band = left[start:end] if axis == 0 else left[:, start:end]
            across = np.flatnonzero(band.any(axis=axis))
            near, far = int(across[0]), int(across[-1]) + 1
            found.append((start, near, end, far) if axis == 0 else (near, start, far, end))
            band[...] = False
    _, _, boxes, _ = cv2.connectedComponentsWithStats(left.view(np.uint8))
    return found + [(top, at, top + height, at + width) for at, top, width, height, _ in boxes[1:].tolist()]


def _stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).view(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
