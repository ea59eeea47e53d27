"""Past pictures of the slide, found by their place: what a frame is laid on when the hand comes back."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Join, Pose
from fnrbc_device.vision.shift import Picture, density_of

MAX_PLATES: Final = 2048
"""Bound on memory: of 1280x960 frames a plate takes 77 kB, all of them 157 MB; they cover some 500 fields. Beyond,
the oldest go: the ledger's cells, which are kept, still hold the map together there."""

COARSE: Final = 2
"""Pixels of a plate a coarse one, with which it is searched: about 1 um, seven of them a red cell. At half as many the
right shifts of blurred frames correlate no better (0.43) than the best wrong ones (0.52)."""

SAME_GROUND: Final = 0.1
"""Plates nearer to each other than this share of a side show the same ground."""


@dataclass(slots=True, eq=False)
class Plate:
    """One placed picture that later ones can be laid on; its place changes when its island is joined to another."""

    number: int
    """Counts the plates of a session."""
    frame: int
    """Counts the frames that were placed."""
    pose: Pose
    grey: NDArray[np.uint8]
    """(h, w) the frame at the correlated scale, its light evened out."""
    factor: float
    """Frame pixels a pixel of ``grey``."""
    pixel_um: float

    def picture(self) -> Picture:
        """As it is correlated, at full scale."""
        return Picture.of(self.grey, self.pixel_um)

    def density(self) -> NDArray[np.float32]:
        """As it is held against another where the shift is known."""
        return density_of(self.grey)

    def coarse(self) -> Picture:
        """As it is searched, ``COARSE`` times smaller."""
        height, width = (max(1, side // COARSE) for side in self.grey.shape)
        whole = self.grey[: height * COARSE, : width * COARSE]
        small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        return Picture.of(np.asarray(small, np.uint8), self.pixel_um * COARSE)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width), frame pixels."""
        return self.grey.shape[0] * self.factor, self.grey.shape[1] * self.factor


class Plates:
    """The plates of a session, at most ``MAX_PLATES``, all of one size."""

    def __init__(self, limit: int = MAX_PLATES) -> None:
        self._limit = limit
        self._plates: dict[int, Plate] = {}
        """By number, oldest first."""
        self._squares: dict[tuple[int, int, int], list[Plate]] = {}
        """By island and place, in squares of a frame's size."""
        self._islands: dict[int, dict[int, Plate]] = {}
        self.added = 0
        """Plates ever added: the number of the next."""

    def __len__(self) -> int:
        return len(self._plates)

    def __iter__(self) -> Iterator[Plate]:
        return iter(self._plates.values())

    def get(self, number: int) -> Plate | None:
        """The plate of a number; None where it went to make room."""
        return self._plates.get(number)

    @property
    def bytes(self) -> int:
        """Memory that the pictures take."""
        return sum(plate.grey.nbytes for plate in self)

    def add(self, pose: Pose, frame: int, grey: NDArray[np.uint8], factor: float, pixel_um: float) -> Plate:
        """Keep a picture; the oldest goes where there are too many."""
        plate = Plate(self.added, frame, pose, grey, factor, pixel_um)
        self.recall(plate)
        return plate

    def recall(self, plate: Plate) -> None:
        """Keep a plate under its own number, which must be higher than those before."""
        self.added = plate.number + 1
        self._plates[plate.number] = plate
        self._enter(plate)
        if len(self._plates) > self._limit:
            self._leave(self._plates.pop(next(iter(self._plates))))

    def move(self, plate: Plate, pose: Pose) -> None:
        """Change a plate's place, whether it is still kept or not."""
        kept = plate.number in self._plates
        if kept:
            self._leave(plate)
        plate.pose = pose
        if kept:
            self._enter(plate)

    def near(self, pose: Pose, within: float) -> list[Plate]:
        """Plates of the pose's island that lie less than a share of a side away each way, nearest first.

        Parameters
        ----------
        pose
            Of a frame.
        within
            0..1.
        """
        if not self._plates:
            return []
        height, width = next(iter(self)).size_px
        found = []
        for row in range(int(pose.row_px // height) - 1, int(pose.row_px // height) + 2):
            for col in range(int(pose.col_px // width) - 1, int(pose.col_px // width) + 2):
                for plate in self._squares.get((pose.island, row, col), ()):
                    down, right = abs(plate.pose.row_px - pose.row_px), abs(plate.pose.col_px - pose.col_px)
                    apart = max(down / height, right / width)
                    if apart < within:
                        found.append((apart, plate.number, plate))
        return [plate for _, _, plate in sorted(found, key=lambda entry: entry[:2])]

    @property
    def islands(self) -> list[int]:
        """Islands that have plates, in the order of their numbers."""
        return sorted(self._islands)

    def of_island(self, island: int) -> list[Plate]:
        """All plates of an island, in the order of their numbers."""
        return [plate for _, plate in sorted(self._islands.get(island, {}).items())]

    def join(self, join: Join) -> None:
        """Move an island's plates into the older one; what is known there already is not kept twice."""
        for plate in self.of_island(join.island):
            pose = join.moved(plate.pose)
            known = self.near(pose, SAME_GROUND)
            self.move(plate, pose)
            if known:
                self._leave(self._plates.pop(plate.number))

    def _enter(self, plate: Plate) -> None:
        self._squares.setdefault(_square(plate), []).append(plate)
        self._islands.setdefault(plate.pose.island, {})[plate.number] = plate

    def _leave(self, plate: Plate) -> None:
        square, island = self._squares[_square(plate)], self._islands[plate.pose.island]
        square.remove(plate)
        del island[plate.number]
        if not square:
            del self._squares[_square(plate)]
        if not island:
            del self._islands[plate.pose.island]


def _square(plate: Plate) -> tuple[int, int, int]:
    height, width = plate.size_px
    return plate.pose.island, int(plate.pose.row_px // height), int(plate.pose.col_px // width)
