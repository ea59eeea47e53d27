"""How fast the hand pans, and how fast it may: it is told before cells pass unseen, not after.

Two things lose cells. A pan may leave them too few frames in view; and the exposure smears them until the gate takes no
frame. No camera at hand tells its exposure truthfully, so the smear (speed times exposure) is read off the picture: the
sharpness that a moving field has left, where it lost it in one direction. What is lost in all is the focus' loss.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final

from fnrbc_device.records import Pose
from fnrbc_device.vision.frame_quality import LEAST_SHARPNESS

NEEDED_VIEWS: Final = 3
"""Whole views that a cell is counted on."""

MARGIN: Final = 2.0
"""The hand is told when a cell that crosses the field gets fewer than this many times the needed views: cells that cut
a corner get half as many, and a hand takes some frames to slow down."""

LARGEST_CELL_UM: Final = 20.0
"""What must fit into the field for a view to be whole."""

FAST_SHARE: Final = 0.02
"""A field that moved more than this share of its width since the last frame owes its lack of sharpness to the hand."""

CALM_SHARE: Final = 0.25
"""Below this share of a fast hand's speed the exposure smears by less than the optics blur, whatever it is."""

SMEARED_SHARE: Final = 0.7
"""A moving field with less than this share of the calm field's sharpness is smeared by 0.9 um, of the 1.3 to 1.7 um
from which the gate takes no frame (8 of 12 px on composed hand-moved pans, 9 of 14 px on simulated ones)."""

LEAST_LEFT: Final = LEAST_SHARPNESS + 0.05
"""Where the calm field is out of focus itself, the hand is told from this sharpness on: just above the gate's."""

LEAST_LOSS: Final = 0.1
"""Share of the sharpness that counts as lost at least, where the calm field is hardly sharper than the moving one."""

MOST_LEFT: Final = 0.9
"""A field that is smeared too far asks for a slower hand, by however little it is."""

INTERVALS: Final = 15
"""Frames over which the interval between frames is taken: a single late one changes no median."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The hand, as one frame shows it."""

    um_s: float = 0.0
    """0 where it is not known."""
    limit_um_s: float | None = None
    """From here on cells get too few frames, or, where this one is smeared, are smeared too far; None before two
    frames came."""
    hurried: bool = False
    """Cells will be lost if the hand goes on like this."""


class PanSpeed:
    """Follows the hand of one session.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um.
    """

    def __init__(self, pixel_size_um: float) -> None:
        self._um = pixel_size_um
        self._before_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=INTERVALS)
        self._last: tuple[Pose, float] | None = None
        self._calm_sharpness = 1.0
        """When the hand last was calm: what a moving field has less was lost by the motion, not by the focus."""

    def follow(
        self, captured_at_s: float, frame_shape: tuple[int, ...], pose: Pose | None, sharpness: float, smeared: bool
    ) -> Speed:
        """Take the next analysed frame in, whether it is used or not.

        Parameters
        ----------
        captured_at_s
            Monotonic clock.
        frame_shape
            (rows, cols, ...) px.
        pose
            None where the frame could not be placed, or is so blurred that its place says nothing of the hand.
        sharpness
            0..1 of the session's sharpest.
        smeared
            Its blur has a direction.
        """
        if self._before_s is not None and captured_at_s > self._before_s:
            self._intervals_s.append(captured_at_s - self._before_s)
        self._before_s = captured_at_s
        limit = self._limit_um_s(frame_shape)
        speed = None if pose is None else self._speed_um_s(pose, captured_at_s)
        if speed is None or limit is None:
            return Speed(0.0, limit)
        left = self._left(speed, frame_shape, sharpness)
        if smeared and left < 1:
            limit = min(limit, speed * left)
        return Speed(speed, limit, speed > limit)

    def _left(self, speed: float, frame_shape: tuple[int, ...], sharpness: float) -> float:
        """Share of its speed to which a smeared field must slow down; 1 where it need not.

        What a smear takes of the sharpness goes about with the square of its length, hence of the speed.
        """
        fast_um_s = FAST_SHARE * frame_shape[1] * self._um / median(self._intervals_s)
        if speed < CALM_SHARE * fast_um_s:
            self._calm_sharpness = sharpness
        calm = self._calm_sharpness
        least = max(SMEARED_SHARE * calm, LEAST_LEFT)
        if speed <= fast_um_s or sharpness >= least:
            return 1.0
        may_lose, lost = max(1 - least / calm, LEAST_LOSS), max(1 - sharpness / calm, LEAST_LOSS)
        return float(min(may_lose / lost, MOST_LEFT) ** 0.5)

    def _limit_um_s(self, frame_shape: tuple[int, ...]) -> float | None:
        if not self._intervals_s:
            return None
        side_um = min(frame_shape[:2]) * self._um
        way_um = max(side_um - LARGEST_CELL_UM, side_um / 2)
        return way_um / (MARGIN * NEEDED_VIEWS * median(self._intervals_s))

    def _speed_um_s(self, pose: Pose, captured_at_s: float) -> float | None:
        before, self._last = self._last, (pose, captured_at_s)
        if before is None or before[0].island != pose.island or captured_at_s <= before[1]:
            return None
        down, right = pose.row_px - before[0].row_px, pose.col_px - before[0].col_px
        return float((down**2 + right**2) ** 0.5 * self._um / (captured_at_s - before[1]))
