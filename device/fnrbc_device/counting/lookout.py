"""Decides which frames are looked at: whole or not at all, so that no border but the frame's own cuts a cell.

What is looked at of a slowly moving field is what a camera with fewer frames a second would show; where the hand is
faster, every frame is. Nothing here grows with the session.
"""

import random
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.ground import Ground
from fnrbc_device.records import Join, Pose, final_pose

STEP_SHARE: Final = 1 / 6
"""Of the field, along the way: from one look to the next. Whatever the field, a cell that crosses it is looked at five
times at least; one that is not settled is looked at before it leaves. At 1/5 and 1/4 of the shorter side a leukocyte
was counted at another of its lobes, and the mean fell by another twentieth only; see decision 31."""

KNOWN_STEP_SHARE: Final = 3 / 4
"""The same where a look can say nothing new: so that the places of known cells hold the pose, and what was counted
there is seen again."""

SPAN_UM: Final = 2.0
"""Least way between two looks but those that the clock or a doubt asks for: so far a cell must wander through the field
before it is counted."""

VOTE_EVERY: Final = 2
"""Used frames from a look to the next one that only what is in dispute asks for, at least. Twenty looks in a row, each
with its views and P-net beside it, take longer than a camera of 30 frames a second to the next; see decision 56."""

SLOWER: Final = 0.5
"""Share of the way from frame to frame that a hand keeps at most that is about to halt. It is seen a frame before the
halt, which shows most of the ground: in the frame after it, a hand trembles back."""

SHARPER: Final = 0.1
"""Of the session's sharpest: a frame so much sharper than the last look shows open cells better."""

LEAVING_UM: Final = 5.0
"""A cell whose middle comes so near to the frame's border is about to be cut."""

FIRST_LOOKS: Final = 5
FIRST_EVERY: Final = 2
"""Looks when an island begins, at every second frame at least: a cell is counted on three views, wherever the hand goes
then, and the session's threshold settles. At each frame they would show what the one before showed, and take longer
than a camera of 30 frames a second to the next."""

EVERY: Final = (20, 40)
"""Used frames from one look to the next at most, drawn evenly, so that nothing that comes and goes in the picture falls
into step with it: a second of a resting hand."""

DOUBTFUL: Final = 0.75
"""Correlation of a frame with what it was laid on below which its place is not sure enough to leave it out."""


class Lookout:
    """Chooses the frames of one session that are looked at, in their order.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um, > 0.
    everything
        Every frame is looked at.
    """

    def __init__(self, pixel_size_um: float, *, everything: bool) -> None:
        self._um = pixel_size_um
        self._everything = everything
        self._looked: Pose | None = None
        """Where the last look was taken."""
        self._sharpness = 0.0
        """Of the last look."""
        self._way_um = (0.0, 0.0)
        """From there to the frame before, down and right."""
        self._moved_um = (0.0, 0.0)
        """How far the frame before lay from the one before that, down and right."""
        self._ground = Ground(pixel_size_um)
        self._looks = 0
        self._first = 0
        """Looks since the island began, up to ``FIRST_LOOKS``."""
        self._due = 0
        """Used frames until one is looked at wherever it lies."""
        self.frames_since_look = 0
        """Used frames since one was looked at, that one not included."""

    def chooses(
        self,
        pose: Pose,
        frame_shape: tuple[int, int],
        open_rc: NDArray[np.float64],
        *,
        sharpness: float,
        correlation: float,
        anew: bool,
        disputed: Callable[[], bool],
    ) -> bool:
        """Whether the next used frame is looked at.

        Parameters
        ----------
        pose
            Of the frame.
        frame_shape
            (rows, cols) px.
        open_rc
            (N, 2) px: where it shows cells that are not settled.
        sharpness
            0..1 of the session's sharpest.
        correlation
            With what the frame was laid on, -1..1.
        anew
            What is looked for has changed: the threshold or the stain.
        disputed
            Whether the frame shows what may be no cell, or not two: that most looks decide, each from another place.
        """
        self._due -= 1
        self.frames_since_look += 1
        if anew:
            self._ground.forget()
        looked = self._looked
        if looked is None or looked.island != pose.island:
            return True
        way_px = (float(pose.row_px - looked.row_px), float(pose.col_px - looked.col_px))
        slows = self._slows((way_px[0] * self._um, way_px[1] * self._um))
        if self._everything or anew or self._due <= 0 or correlation < DOUBTFUL:
            return True
        away_um = float(np.hypot(*way_px)) * self._um
        share = float(np.hypot(way_px[0] / frame_shape[0], way_px[1] / frame_shape[1]))
        sharper = len(open_rc) > 0 and sharpness >= self._sharpness + SHARPER
        leave = away_um >= SPAN_UM and _leave(open_rc, np.array(way_px) * STEP_SHARE / share, frame_shape, self._um)
        shows_more = share >= STEP_SHARE or slows or sharper or leave
        if shows_more and (share >= KNOWN_STEP_SHARE or self.may_gain(pose, frame_shape, open_rc, sharpness)):
            return True
        return away_um >= SPAN_UM and self.frames_since_look >= VOTE_EVERY and disputed()

    def may_gain(
        self, pose: Pose, frame_shape: tuple[int, int], open_rc: NDArray[np.float64], sharpness: float
    ) -> bool:
        """Whether a look at a used frame may say anything new: it shows cells that are not settled, or new ground."""
        return len(open_rc) > 0 or self._ground.is_new(pose, frame_shape, sharpness)

    def turned(self, pose: Pose) -> bool:
        """Whether the hand has turned, so that the frame before lies further out than the next one, at this pose."""
        looked = self._looked
        if looked is None or looked.island != pose.island:
            return False
        way_um = ((pose.row_px - looked.row_px) * self._um, (pose.col_px - looked.col_px) * self._um)
        # Two numbers at a time: a call of numpy takes longer than all of this.
        return any(
            abs(before) >= SPAN_UM and abs(before) > way * _sign(before)
            for before, way in zip(self._way_um, way_um, strict=True)
        )

    def note(self, pose: Pose, sharpness: float) -> None:
        """Take in that a frame was looked at, which lies there."""
        new = self._looked is None or self._looked.island != pose.island
        self._looked, self._sharpness, self._way_um = pose, sharpness, (0.0, 0.0)
        self._looks += 1
        self._ground.note(pose, sharpness)
        self._first = 1 if new else min(self._first + 1, FIRST_LOOKS)
        self.frames_since_look = 0
        # Seeded by their number, so that a resumed session looks at the same frames.
        often = random.Random(self._looks).randint(*EVERY)
        self._due = often if self._first >= FIRST_LOOKS else FIRST_EVERY

    def join(self, join: Join) -> None:
        """Take in that an island is part of an older one: what was looked at there was looked at on that."""
        self._looked = self._looked and final_pose(self._looked, (join,))
        self._ground.join(join)

    def _slows(self, way_um: tuple[float, float]) -> bool:
        """Whether the hand, so far from the last look, is about to halt or to turn, or did; takes its way in.

        There it has come as far as it goes that way: nothing shows more of the ground there.
        """
        before_um, moved_before_um = self._way_um, self._moved_um
        self._way_um = way_um
        self._moved_um = (way_um[0] - before_um[0], way_um[1] - before_um[1])
        return any(
            max(abs(before), abs(way)) >= SPAN_UM
            and moved * _sign(way) <= max(SLOWER * _sign(way) * moved_before, 0.0)
            for way, before, moved, moved_before in zip(
                way_um, before_um, self._moved_um, moved_before_um, strict=True
            )
        )


def _leave(
    open_rc: NDArray[np.float64], step_px: NDArray[np.float64], frame_shape: tuple[int, int], pixel_um: float
) -> bool:
    """Whether a cell would be cut or gone a step further on."""
    ahead, border = open_rc - step_px, LEAVING_UM / pixel_um
    return bool(((ahead < border) | (ahead > np.array(frame_shape) - border)).any())


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)
