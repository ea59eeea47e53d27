"""The cells of a slide, each once. A cell's identity is its place.

A detection that falls on a known cell is one more view of it; one that falls on none is a new cell. Nothing is
counted here: the ledger says which cells are known, and how often each was seen and missed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import BEST_VIEWS, Cell
from fnrbc_device.counting.landmarks import WANDER_UM, agreement, matched_pairs
from fnrbc_device.records import Detection, Pose

SAME_CELL_UM: Final = 3.0
"""Farthest a detection may lie from the cell it is a view of: less than half the distance of two touching small
lymphocytes' centres (5 um), more than a lobe's flicker (2 um)."""

FRAGMENT_SHARE: Final = 0.5
"""A detection inside a known cell, within this share of its diameter from its centre, is a part of it."""

MARGIN_UM: Final = 1.2
"""A cell is entered, and later missed, only where its nucleus lies this far inside the frame: what is whole from
0.7 um on is certainly seen there. Were cells entered where they cannot be missed, dirt at the border would stay."""

OUTVOTED_SHARE: Final = 2 / 3
"""Of the way to a view by which a cell moves once as many disagree with its place as agree. Where no two of them agree,
it lies in their midst."""

BUCKET_UM: Final = 15.0
"""Side of the spatial index' squares."""

OFTEN_MISSED: Final = 0.5
"""A cell that was missed in more than this share of the looks at its place may be none: it is about to be dropped, or
taken back. At 0.3 a sixth of a raster's looks were at dirt, which the others drop as well."""

SURE_LOOKS: Final = 20
"""Looks at two cells whose nuclei reach into each other, after which it is known whether they are one. The lobes
of one eosinophil were seen apart in eleven frames before they were seen as one."""

POSITION_MEMORY: Final = 30
"""A cell's place is the mean of about this many views that agree: it follows what the map does, and forgets no
landmark."""

SAME_PLACE_UM: Final = 0.25
"""Farthest that views which agree lie from their mean: pose and outline tremble by a fifth of that. An outline that now
and then takes in a neighbour or a lobe lies 0.3 to 1.2 um off, and drew the mean with it: of 290 composed cells 75 lay
more than 0.5 px elsewhere than with every frame looked at, 42 without those outlines; see decision 31."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A detection and the cell it is a view of."""

    detection: Detection
    cell: Cell


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What one frame told the ledger."""

    sightings: list[Sighting]
    missed: list[Cell]
    correction_rc: tuple[float, float]
    """By how much the known cells moved the frame's pose, px."""
    waiting: list[Detection]
    """Detections of no known cell that touch the frame's border, or lie inside a known cell."""


@dataclass(slots=True, eq=False)
class _Around:
    """What is known round one place; holds until the ledger changes."""

    squares: tuple[int, range, range]
    """The island, and the rows and columns of squares."""
    cells: list[Cell]
    """In the order of their numbers."""
    disputes: list[tuple[Cell, ...]] | None = None
    """Cells that are in dispute where a frame shows all of them; None before it was asked for."""


NOTHING_SEEN: Final = Entry([], [], (0.0, 0.0), [])
"""Of a frame that was not looked at."""


class Ledger:
    """Knows the cells of one session, found by their place in constant time.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um.
    frame_shape
        (height, width) of the frames, px.
    """

    def __init__(self, pixel_size_um: float, frame_shape: tuple[int, int]) -> None:
        self._um = pixel_size_um
        self._shape = frame_shape
        self._bucket_px = BUCKET_UM / pixel_size_um
        self._islands: dict[int, dict[tuple[int, int], list[Cell]]] = {}
        """The cells of each island by the square they lie in."""
        self._last_around: _Around | None = None
        """What was asked for last: a frame that was not looked at changes nothing, and the next one shows as much."""
        self.next_number = 1
        """Of the next cell that is seen for the first time."""

    def __len__(self) -> int:
        return sum(len(bucket) for buckets in self._islands.values() for bucket in buckets.values())

    def cells(self) -> Iterator[Cell]:
        """All cells, in the order of their numbers."""
        cells = (cell for island in self._islands for cell in self.of_island(island))
        return iter(sorted(cells, key=lambda cell: cell.number))

    def enter(self, detections: list[Detection], pose: Pose, frame_index: int) -> Entry:
        """Enter the detections of one frame.

        Parameters
        ----------
        detections
            Of one frame, dust taken out.
        pose
            Where registration placed the frame.
        frame_index
            The frame's number, kept with the views.
        """
        known = self._around(pose).cells
        self._last_around = None
        places = np.array([[cell.row_px - pose.row_px, cell.col_px - pose.col_px] for cell in known]).reshape(-1, 2)
        seen = np.array([detection.centre_rc for detection in detections]).reshape(-1, 2)
        radius_px = SAME_CELL_UM / self._um
        # A nucleus that the border cuts has its centroid elsewhere.
        whole = [detection.whole for detection in detections]
        reliable = [cell.views >= 2 for cell in known]
        correction = agreement(seen, places, radius_px, WANDER_UM / self._um, whole, reliable)
        places = places - correction
        pairs = matched_pairs(seen, places, radius_px)
        corrected = Pose(pose.island, pose.row_px + correction[0], pose.col_px + correction[1])
        sightings = [self._again(detections[i], known[j], corrected, frame_index) for i, j in pairs.items()]
        shown = set(pairs.values())
        rest = [index for index in range(len(detections)) if index not in pairs]
        waiting: list[Detection] = []
        for index in rest:
            detection = detections[index]
            around = self._known_around(detection, known, places)
            is_seen = around in shown
            if around is not None:
                shown.add(around)
            if not (detection.whole and self._well_inside(detection.centre_rc, detection.reach_px)):
                waiting.append(detection)
            elif around is None:
                sightings.append(self._new(detection, corrected, frame_index))
            elif not is_seen and self._was_cut(detection, known[around], places[around]):
                sightings.append(self._begun_again(known[around], detection, corrected, frame_index))
            else:
                waiting.append(detection)
        missed = self._missed(known, places, shown)
        return Entry(sightings, missed, (float(correction[0]), float(correction[1])), waiting)

    def recall(self, cell: Cell) -> None:
        """Enter a cell of the same session's earlier start under its own number, which no cell here has."""
        self.next_number = max(self.next_number, cell.number + 1)
        self._last_around = None
        self._bucket(cell).append(cell)

    def knows(self, cell: Cell) -> bool:
        """Whether a cell is in the ledger, and was not forgotten."""
        return cell in self._bucket(cell)

    def forget(self, cell: Cell) -> None:
        """Take out what turned out to be no cell."""
        self._last_around = None
        self._bucket(cell).remove(cell)

    def shows(self, cell: Cell, pose: Pose) -> bool:
        """Whether a frame at this pose shows any of the cell's place."""
        if cell.island != pose.island:
            return False
        row, col = cell.row_px - pose.row_px, cell.col_px - pose.col_px
        return 0 <= row < self._shape[0] and 0 <= col < self._shape[1]

    def of_island(self, island: int) -> list[Cell]:
        """All cells of an island, in the order of their numbers."""
        cells = (cell for bucket in self._islands.get(island, {}).values() for cell in bucket)
        return sorted(cells, key=lambda cell: cell.number)

    def within(self, island: int, box_px: tuple[float, float, float, float]) -> list[Cell]:
        """Cells in the squares that a box (top, left, bottom, right) touches, in the order of their numbers."""
        return self._within(self._squares(island, box_px))

    def lay(self, cell: Cell, pose: Pose) -> None:
        """Give a cell another place, on another island too."""
        self._last_around = None
        self._bucket(cell).remove(cell)
        cell.island, cell.row_px, cell.col_px = pose.island, pose.row_px, pose.col_px
        self._bucket(cell).append(cell)

    def in_view(self, pose: Pose) -> list[Cell]:
        """Cells whose nucleus a frame at this pose shows whole, in the order of their numbers."""
        return [cell for cell in self._around(pose).cells if self._is_in_view(cell, pose)]

    def is_in_dispute(self, pose: Pose) -> bool:
        """Whether a frame at this pose shows what may be no cell, or not two: missed often, or parts of one nucleus."""
        around = self._around(pose)
        if around.disputes is None:
            around.disputes = _disputes(around.cells)
        return any(all(self._is_in_view(cell, pose) for cell in cells) for cells in around.disputes)

    def _around(self, pose: Pose) -> _Around:
        """What lies in the frame or a little beyond."""
        beyond = SAME_CELL_UM / self._um
        top, left = pose.row_px - beyond, pose.col_px - beyond
        bottom, right = pose.row_px + self._shape[0] + beyond, pose.col_px + self._shape[1] + beyond
        squares = self._squares(pose.island, (top, left, bottom, right))
        around = self._last_around
        if around is None or around.squares != squares:
            around = self._last_around = _Around(squares, self._within(squares))
        return around

    def _squares(self, island: int, box_px: tuple[float, float, float, float]) -> tuple[int, range, range]:
        """Rows and columns of squares that a box touches."""
        top, left, bottom, right = (int(side // self._bucket_px) for side in box_px)
        return island, range(top, bottom + 1), range(left, right + 1)

    def _within(self, squares: tuple[int, range, range]) -> list[Cell]:
        """Their cells, in the order of their numbers."""
        island, rows, cols = squares
        buckets = self._islands.get(island, {})
        found = [cell for row in rows for col in cols for cell in buckets.get((row, col), ())]
        return sorted(found, key=lambda cell: cell.number)

    def _is_in_view(self, cell: Cell, pose: Pose) -> bool:
        return self._well_inside((cell.row_px - pose.row_px, cell.col_px - pose.col_px), cell.reach_px)

    def _again(self, detection: Detection, cell: Cell, pose: Pose, frame_index: int) -> Sighting:
        cell.last_index = frame_index
        row, col = detection.centre_rc
        cell.span_px = max(cell.span_px, float(np.hypot(row - cell.first_rc[0], col - cell.first_rc[1])))
        if detection.whole:
            cell.views += 1
            self._move(cell, row + pose.row_px, col + pose.col_px)
        return Sighting(detection, cell)

    def _new(self, detection: Detection, pose: Pose, frame_index: int) -> Sighting:
        row, col = detection.centre_rc
        cell = Cell(
            number=self.next_number,
            island=pose.island,
            row_px=row + pose.row_px,
            col_px=col + pose.col_px,
            diameter_um=detection.nucleus_diameter_um,
            nucleus_ratio=1.0,
            reach_px=detection.reach_px,
            first_rc=(row, col),
            views=1,
            last_index=frame_index,
        )
        self.next_number += 1
        self._bucket(cell).append(cell)
        return Sighting(detection, cell)

    def _begun_again(self, cell: Cell, detection: Detection, pose: Pose, frame_index: int) -> Sighting:
        """Forget what was seen of a cell, which was a part of it, but its number."""
        row, col = detection.centre_rc
        self.lay(cell, Pose(cell.island, row + pose.row_px, col + pose.col_px))
        cell.diameter_um, cell.nucleus_ratio, cell.reach_px = detection.nucleus_diameter_um, 1.0, detection.reach_px
        cell.first_rc, cell.span_px, cell.last_index = (row, col), 0.0, frame_index
        cell.views, cell.agreed, cell.measured = 1, 1, 0
        cell.best.clear()
        return Sighting(detection, cell)

    def _move(self, cell: Cell, row_px: float, col_px: float) -> None:
        """Take a view's place into a cell's: the mean of those that agree, where most do (Boyer and Moore's vote)."""
        down, right = row_px - cell.row_px, col_px - cell.col_px
        if math.hypot(down, right) * self._um <= SAME_PLACE_UM:
            cell.agreed = min(cell.agreed + 1, POSITION_MEMORY)
            share = 1 / cell.agreed
        elif cell.agreed > 1:
            cell.agreed -= 1
            return
        else:
            share = OUTVOTED_SHARE
        self.lay(cell, Pose(cell.island, cell.row_px + share * down, cell.col_px + share * right))

    def _bucket(self, cell: Cell) -> list[Cell]:
        key = (int(cell.row_px // self._bucket_px), int(cell.col_px // self._bucket_px))
        return self._islands.setdefault(cell.island, {}).setdefault(key, [])

    def _missed(self, known: list[Cell], places: NDArray[np.float64], shown: set[int]) -> list[Cell]:
        missed = []
        for index, cell in enumerate(known):
            if index not in shown and self._well_inside(places[index], cell.reach_px):
                cell.misses += 1
                missed.append(cell)
        return missed

    def _well_inside(self, centre_rc: Sequence[float] | NDArray[np.float64], reach_px: float) -> bool:
        """Whether a nucleus at a place of the frame is certainly seen whole."""
        border = reach_px + MARGIN_UM / self._um
        row, col = centre_rc
        return bool(border <= row <= self._shape[0] - border and border <= col <= self._shape[1] - border)

    def _was_cut(self, detection: Detection, cell: Cell, place_rc: NDArray[np.float64]) -> bool:
        """Whether a cell is a part of a detection, the rest of which the frame's border cut when it was first seen.

        So a lobe of a nucleus at the border, seen once, would stand for the nucleus wherever that is seen later.
        """
        if cell.settled is not None or cell.views >= BEST_VIEWS or detection.reach_px <= cell.reach_px:
            return False
        first_rc = np.add(cell.first_rc, np.array(detection.centre_rc) - place_rc)
        return not self._well_inside(first_rc, detection.reach_px)

    def _known_around(self, detection: Detection, known: list[Cell], places: NDArray[np.float64]) -> int | None:
        """The known cell that a detection is a part of, or that is a part of it; the one most often seen.

        It stands for that cell: a nucleus seen now in one piece, now in two, is neither lost nor counted twice.
        """
        if not known:
            return None
        reach = np.array([FRAGMENT_SHARE * cell.diameter_um / self._um for cell in known])
        apart = np.hypot(*(places - np.array(detection.centre_rc)).T)
        around = np.flatnonzero(apart < reach).tolist()
        return max(around, key=lambda index: known[index].views, default=None)


def _disputes(cells: list[Cell]) -> list[tuple[Cell, ...]]:
    """Cells that were missed often, and pairs that reach into each other, one of them not looked at often enough."""
    often = [cell for cell in cells if cell.misses > OFTEN_MISSED * (cell.views + cell.misses)]
    found: list[tuple[Cell, ...]] = [(cell,) for cell in often]
    unsure = [index for index, cell in enumerate(cells) if cell.views + cell.misses < SURE_LOOKS]
    if not unsure:
        return found
    row, col, reach = np.array([(cell.row_px, cell.col_px, cell.reach_px) for cell in cells]).T
    apart = np.hypot(row - row[unsure, None], col - col[unsure, None])
    pairs = np.argwhere(apart < reach + reach[unsure, None]).tolist()
    return found + [(cells[unsure[i]], cells[j]) for i, j in pairs if unsure[i] != j]
