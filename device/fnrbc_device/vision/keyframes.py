"""Past pictures of the slide, found by their place: what a frame is laid on when the hand comes back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Join, Pose
from fnrbc_device.vision.shift import ShiftPicture, density_of

MAX_KEYFRAMES: Final = 2048
"""Bound on memory: of 1280x960 frames a keyframe takes 77 kB, all of them 157 MB; they cover some 500 fields. Beyond,
the oldest go: the ledger's cells, which are kept, still hold the map together there."""

COARSE: Final = 2
"""Pixels of a keyframe a coarse one, with which it is searched: about 1 um, seven of them a red cell. At half as many
the right shifts of blurred frames correlate no better (0.43) than the best wrong ones (0.52)."""

SAME_GROUND: Final = 0.1
"""Keyframes nearer to each other than this share of a side show the same ground."""


@dataclass(slots=True, eq=False)
class Keyframe:
    """One placed picture that later ones can be laid on; its place changes when its island is joined to another."""

    number: int
    """Counts the keyframes of a session."""
    frame: int
    """Counts the frames that were placed."""
    pose: Pose
    grey: NDArray[np.uint8]
    """(h, w) the frame at the correlated scale, its light evened out."""
    factor: float
    """Frame pixels a pixel of ``grey``."""
    pixel_um: float
    leads: bool = False
    """It is compared with others' leading ones before those next to it are."""

    def picture(self) -> ShiftPicture:
        """As it is correlated, at full scale."""
        return ShiftPicture.of(self.grey, self.pixel_um)

    def density(self) -> NDArray[np.float32]:
        """As it is held against another where the shift is known."""
        return density_of(self.grey)

    def coarse(self) -> ShiftPicture:
        """As it is searched, ``COARSE`` times smaller."""
        height, width = (max(1, side // COARSE) for side in self.grey.shape)
        whole = self.grey[: height * COARSE, : width * COARSE]
        small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        return ShiftPicture.of(np.asarray(small, np.uint8), self.pixel_um * COARSE)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width), frame pixels."""
        return self.grey.shape[0] * self.factor, self.grey.shape[1] * self.factor


class Keyframes:
    """The keyframes of a session, at most ``MAX_KEYFRAMES``, all of one size."""

    def __init__(self, limit: int = MAX_KEYFRAMES) -> None:
        self._limit = limit
        self._keyframes: dict[int, Keyframe] = {}
        """By number, oldest first."""
        self._squares: dict[tuple[int, int, int], list[Keyframe]] = {}
        """By island and place, in squares of a frame's size."""
        self._islands: dict[int, dict[int, Keyframe]] = {}
        self.added = 0
        """Keyframes ever added: the number of the next."""

    def __len__(self) -> int:
        return len(self._keyframes)

    def __iter__(self) -> Iterator[Keyframe]:
        return iter(self._keyframes.values())

    def get(self, number: int) -> Keyframe | None:
        """The keyframe of a number; None where it went to make room."""
        return self._keyframes.get(number)

    @property
    def bytes(self) -> int:
        """Memory that the pictures take."""
        return sum(keyframe.grey.nbytes for keyframe in self)

    def add(self, pose: Pose, frame: int, grey: NDArray[np.uint8], factor: float, pixel_um: float) -> Keyframe:
        """Keep a picture; the oldest goes where there are too many."""
        keyframe = Keyframe(self.added, frame, pose, grey, factor, pixel_um)
        self.recall(keyframe)
        return keyframe

    def recall(self, keyframe: Keyframe) -> None:
        """Keep a keyframe under its own number, which must be higher than those before."""
        self.added = keyframe.number + 1
        self._keyframes[keyframe.number] = keyframe
        self._enter(keyframe)
        if len(self._keyframes) > self._limit:
            self._leave(self._keyframes.pop(next(iter(self._keyframes))))

    def move(self, keyframe: Keyframe, pose: Pose) -> None:
        """Change a keyframe's place, whether it is still kept or not."""
        kept = keyframe.number in self._keyframes
        if kept:
            self._leave(keyframe)
        keyframe.pose = pose
        if kept:
            self._enter(keyframe)

    def near(self, pose: Pose, within: float) -> list[Keyframe]:
        """Keyframes of the pose's island that lie less than a share of a side away each way, nearest first.

        Parameters
        ----------
        pose
            Of a frame.
        within
            0..1.
        """
        if not self._keyframes:
            return []
        height, width = next(iter(self)).size_px
        found = []
        for row in range(int(pose.row_px // height) - 1, int(pose.row_px // height) + 2):
            for col in range(int(pose.col_px // width) - 1, int(pose.col_px // width) + 2):
                for keyframe in self._squares.get((pose.island, row, col), ()):
                    down, right = abs(keyframe.pose.row_px - pose.row_px), abs(keyframe.pose.col_px - pose.col_px)
                    apart = max(down / height, right / width)
                    if apart < within:
                        found.append((apart, keyframe.number, keyframe))
        return [keyframe for _, _, keyframe in sorted(found, key=lambda entry: entry[:2])]

    @property
    def islands(self) -> list[int]:
        """Islands that have keyframes, in the order of their numbers."""
        return sorted(self._islands)

    def of_island(self, island: int) -> list[Keyframe]:
        """All keyframes of an island, in the order of their numbers."""
        return [keyframe for _, keyframe in sorted(self._islands.get(island, {}).items())]

    def join(self, join: Join) -> None:
        """Move an island's keyframes into the older one; what is known there already is not kept twice."""
        for keyframe in self.of_island(join.island):
            pose = join.moved(keyframe.pose)
            known = self.near(pose, SAME_GROUND)
            self.move(keyframe, pose)
            if known:
                self._leave(self._keyframes.pop(keyframe.number))

    def _enter(self, keyframe: Keyframe) -> None:
        self._squares.setdefault(_square(keyframe), []).append(keyframe)
        self._islands.setdefault(keyframe.pose.island, {})[keyframe.number] = keyframe

    def _leave(self, keyframe: Keyframe) -> None:
        square, island = self._squares[_square(keyframe)], self._islands[keyframe.pose.island]
        square.remove(keyframe)
        del island[keyframe.number]
        if not square:
            del self._squares[_square(keyframe)]
        if not island:
            del self._islands[keyframe.pose.island]


def _square(keyframe: Keyframe) -> tuple[int, int, int]:
    height, width = keyframe.size_px
    return keyframe.pose.island, int(keyframe.pose.row_px // height), int(keyframe.pose.col_px // width)
