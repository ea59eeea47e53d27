"""Where on the slide a frame lies: laid on the keyframe that shows its ground already, or on the last frame.

Frames are compared with a *keyframe*, not each with the one before it, so a resting hand adds no drift. Keyframes are
kept by their place; when the hand comes back over old ground the keyframe there is used again, so drift does not grow
with the length of the way. Frames come with their light evened out: dust and vignetting stand still while cells
move, and would hold the picture.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import ObjectiveError, RegistrationError
from fnrbc_device.records import Join, Pose
from fnrbc_device.vision.keyframes import Keyframe, Keyframes
from fnrbc_device.vision.objective import Objective
from fnrbc_device.vision.reduction import Reduced
from fnrbc_device.vision.relocation import Proposal, Relocation, Sight
from fnrbc_device.vision.shift import Shift, ShiftPicture, expected_shift, find_shift

LONG_SIDE_PX: Final = 360
"""Longest side of the picture that is correlated."""

KEYFRAME_SHIFT: Final = 0.22
"""A frame this share of a side away from the keyframe is laid on another keyframe from then on, or becomes one."""

MIN_CONTRAST: Final = 0.008
"""Least standard deviation of the optical density: empty glass and noise stay below 0.005."""


LEAP: Final = 0.2
"""A frame this share of a side away from the last one has leapt: the hand let go, or is faster than cells can be seen
at. Where few cells are in view any one falls on any other, so a leap needs a proof that a step does not."""

LEAP_SIGMA: Final = 3.0
"""Significance of a leap's overlap. On fields of 2 red cells chance placed 9 jumps in 10 without it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies, and how well that is known."""

    pose: Pose
    correlation: float
    """Of the overlap with the frame it was registered to, -1..1; 1 for the first of an island."""
    moved_px: float
    """Distance to the previous frame, frame pixels; 0 for the first of an island."""
    lost: bool
    """The frame fits nothing before it: a new island begins here."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """The last frame that was placed."""

    picture: ShiftPicture
    grey: NDArray[np.uint8]
    pose: Pose
    number: int
    """Counts the frames that were placed."""
    sharp: bool


class Registration:
    """Places the frames of one session, in their order."""

    def __init__(self) -> None:
        self.keyframes = Keyframes()
        """What later frames can be laid on; read it, never change it."""
        self._relocation = Relocation(self.keyframes)
        self._objective = Objective()
        self._keyframe: tuple[Keyframe, ShiftPicture] | None = None
        self._last: Placed | None = None
        self._clear: Placed | None = None
        """The last sharp frame, where blurred ones came after it: one smeared in a leap lies wrong by its smear."""
        self._islands = 0
        self._frames = 0
        self._factor = 1.0
        self._moved = (0.0, 0.0)
        """The last frame's way from the one before it, down and right, frame pixels."""

    def place(self, reduced: Reduced, *, sharp: bool = True) -> Placement:
        """Place the next frame.

        Parameters
        ----------
        reduced
            Working picture of the frame, its light evened out; every frame of a session has the same size.
        sharp
            False: the frame is placed if it fits, and the next may be laid on it where the keyframe is out of reach;
            but it founds no island and becomes no keyframe: sharp frames would lie wrong by the length of its smear.

        Raises
        ------
        RegistrationError
            The frame shows nothing to hold on to (empty glass), or is blurred and fits nothing. Its place is unknown.
        ObjectiveError
            It fits nothing, and all in it is larger or smaller than before.
        """
        grey, picture = self._pictured(reduced)
        contrast = cv2.norm(picture.density, cv2.NORM_L2) / math.sqrt(picture.density.size)
        if contrast < MIN_CONTRAST:
            raise RegistrationError(
                f"the field's contrast {contrast:.4f} is below {MIN_CONTRAST}: nothing to hold on to; "
                "pan to where cells are"
            )
        placement = self._against_known(picture)
        if placement is None and not sharp:
            raise RegistrationError("the blurred frame fits none before it; pan more slowly")
        if placement is None and self._objective.has_changed(picture.density):
            raise ObjectiveError("the frame fits none before it and has another scale; turn the old objective in again")
        if placement is None:
            placement = self._new_island()
        elif sharp and self._far(placement.pose):
            placement = replace(placement, pose=self._rekeyed(picture, placement.pose))
        self._moved = self._way_to(placement.pose)
        self._frames += 1
        self._clear = None if sharp else self._last if self._last and self._last.sharp else self._clear
        self._last = Placed(picture, grey, placement.pose, self._frames, sharp)
        if sharp and self._keyframe is None:
            self._keyframe = (self._keep(self._last), picture)
            self._objective.learn(picture.density)
        return placement

    def recall(self, keyframe: Keyframe) -> None:
        """Take in a keyframe of the same session's earlier start, and hold on to it."""
        self.keyframes.recall(keyframe)
        picture = keyframe.picture()
        if self._keyframe is None:
            self._objective.learn(picture.density)
        self._keyframe = (keyframe, picture)
        self._last = Placed(picture, keyframe.grey, keyframe.pose, keyframe.frame, sharp=True)
        self._islands = max(self._islands, keyframe.pose.island + 1)
        self._frames = max(self._frames, keyframe.frame)
        self._factor = keyframe.factor

    def correct(self, row_px: float, col_px: float) -> None:
        """Move the last frame's place by what its landmarks say, frame pixels; later frames build on it."""
        last = self._last
        if last is None:
            return
        self._last = replace(last, pose=_shifted(last.pose, row_px, col_px))
        if self._keyframe is not None and self._keyframe[0].pose.island == last.pose.island:
            # What a frame is off by its keyframe is mostly off, too: those that are not looked at stay in place.
            keyframe = self._keyframe[0]
            self.keyframes.move(keyframe, _shifted(keyframe.pose, row_px, col_px))

    def find_join(self) -> Proposal | None:
        """Search older islands for the ground of the younger ones, a little each frame.

        Returns
        -------
        Proposal or None
            Proved by two frames' pictures; its join is made by ``join`` or turned down by ``refuse``.
        """
        last = self._last
        if last is None or not last.sharp:
            return None
        return self._relocation.search(Sight(last.number, last.pose, last.picture.density))

    def join(self, join: Join) -> None:
        """Move an island's keyframes and the last frame into the older island."""
        self.keyframes.join(join)
        self._relocation.joined(join)
        keyframe, last = self._keyframe, self._last
        if keyframe is not None and keyframe[0].pose.island == join.island:  # its keyframe has gone to make room
            self.keyframes.move(keyframe[0], join.moved(keyframe[0].pose))
        self._last, self._clear = _joined(last, join), _joined(self._clear, join)

    def refuse(self, join: Join) -> None:
        """Turn a join down: what proposed it is not looked at again."""
        self._relocation.refused(join)

    @property
    def comparisons(self) -> int:
        """Pairs of keyframes that were compared to find joins."""
        return self._relocation.comparisons

    def _against_known(self, picture: ShiftPicture) -> Placement | None:
        """The placement against the keyframe, else the last sharp frame, else the last one; None if it fits none."""
        last = self._last
        if last is None:
            return None
        known = [] if self._keyframe is None else [(self._keyframe[1], self._keyframe[0].pose)]
        for placed in (self._clear, last):
            if placed is not None and all(one is not placed.picture for one, _ in known):
                known.append((placed.picture, placed.pose))
        for reference, pose in known:
            found = self._expected(reference, pose, picture) or find_shift(reference, picture)
            if found is None:
                continue
            there = self._behind(pose, found.row_px, found.col_px)
            down, right = there.row_px - last.pose.row_px, there.col_px - last.pose.col_px
            if not self._leapt(down, right, picture) or found.sigma(reference, picture) >= LEAP_SIGMA:
                return Placement(there, found.correlation, float(np.hypot(down, right)), lost=False)
        return None

    def _expected(self, reference: ShiftPicture, pose: Pose, picture: ShiftPicture) -> Shift | None:
        """The shift against what lies at a pose, if the hand moves on as it did."""
        last = self._last
        if last is None or last.pose.island != pose.island:
            return None
        row_px = pose.row_px - last.pose.row_px - self._moved[0]
        col_px = pose.col_px - last.pose.col_px - self._moved[1]
        return expected_shift(reference, picture, (row_px / self._factor, col_px / self._factor))

    def _leapt(self, down_px: float, right_px: float, picture: ShiftPicture) -> bool:
        height, width = (side * self._factor for side in picture.density.shape)
        return bool(max(abs(down_px) / height, abs(right_px) / width) > LEAP)

    def _way_to(self, pose: Pose) -> tuple[float, float]:
        """From the last frame's place; none to another island."""
        last = self._last
        if last is None or last.pose.island != pose.island:
            return 0.0, 0.0
        return pose.row_px - last.pose.row_px, pose.col_px - last.pose.col_px

    def _new_island(self) -> Placement:
        """Begin an island; the ground up to where the hand let go is kept, for it may land there again."""
        last = self._last
        if last is not None and last.sharp and self._keyframe is not None and self._keyframe[1] is not last.picture:
            self._keep(last)  # even beside another: two frames must prove a join
        self._keyframe = None
        self._islands += 1
        return Placement(Pose(self._islands - 1, 0.0, 0.0), 1.0, 0.0, lost=self._islands > 1)

    def _rekeyed(self, picture: ShiftPicture, pose: Pose) -> Pose:
        """Choose another keyframe: one that shows this ground already, else this frame; gives its place."""
        self._keyframe = None
        for keyframe in self.keyframes.near(pose, KEYFRAME_SHIFT)[:1]:
            old = keyframe.picture()
            found = find_shift(old, picture)
            if found is not None:
                self._keyframe = (keyframe, old)
                return self._behind(keyframe.pose, found.row_px, found.col_px)
        return pose

    def _behind(self, pose: Pose, row_px: float, col_px: float) -> Pose:
        """Where a frame lies whose content moved by (row, col) correlated pixels since the one at a pose."""
        return Pose(pose.island, pose.row_px - row_px * self._factor, pose.col_px - col_px * self._factor)

    def _keep(self, placed: Placed) -> Keyframe:
        return self.keyframes.add(placed.pose, placed.number, placed.grey, self._factor, placed.picture.pixel_um)

    def _far(self, pose: Pose) -> bool:
        """Whether the keyframe lies too far away, or on another island than the frame."""
        if self._keyframe is None:
            return True
        keyframe = self._keyframe[0]
        height, width = keyframe.size_px
        down, right = abs(pose.row_px - keyframe.pose.row_px), abs(pose.col_px - keyframe.pose.col_px)
        return bool(down > KEYFRAME_SHIFT * height or right > KEYFRAME_SHIFT * width)

    def _pictured(self, reduced: Reduced) -> tuple[NDArray[np.uint8], ShiftPicture]:
        """The frame at the correlated scale."""
        green = reduced.green
        shrink = min(max(1, -(-max(green.shape) // LONG_SIDE_PX)), *green.shape)
        size = (green.shape[1] // shrink, green.shape[0] // shrink)
        whole = green[: size[1] * shrink, : size[0] * shrink]
        grey = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
        self._factor = reduced.factor * shrink
        return grey, ShiftPicture.of(grey, reduced.pixel_um * shrink)


def _joined(placed: Placed | None, join: Join) -> Placed | None:
    """A frame where a join moves it to."""
    if placed is None or placed.pose.island != join.island:
        return placed
    return replace(placed, pose=join.moved(placed.pose))


def _shifted(pose: Pose, row_px: float, col_px: float) -> Pose:
    return Pose(pose.island, pose.row_px + row_px, pose.col_px + col_px)
