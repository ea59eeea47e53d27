"""What a count is worth, held against the truth: cells, islands, poses, loops, cost. Pure arithmetic."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.host.stopwatch import STAGES
from fnrbc_device.vision.shift import MIN_OVERLAP
from recording import Recording
from scenes import Scene
from truth import held_against

NEAR_UM: Final = 4.5
"""A counted cell stands for the true one within this distance: half an fNRBC's diameter."""
WIDE_UM: Final = 7.0
"""Some labelled crops hold their cell off the crop's centre: what is counted within this distance was seen."""
WRONG_UM: Final = 3.0
"""A frame further off than this puts its cells beside those already known, and they are counted again."""
WANTED_SHARP: Final = 3
"""Whole, sharp frames from which on a cell must be counted."""
REJOIN_OVERLAP: Final = 0.3
"""Share of a frame that must show ground of an earlier piece for the piece to be joinable: a third of a field of
the usual smear holds six cells, what a constellation needs."""
LOOP_OVERLAP: Final = 0.5
"""Share of a frame that must show the same ground again for a loop to be closed."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Every frame and cell in the islands that are left when all joins are made."""

    steps: Ints
    """(placed,) steps whose frame was placed."""
    islands: Ints
    """(placed,)"""
    poses_rc: Floats
    """(placed, 2) px."""
    true_rc: Floats
    """(placed, 2) px on the slide."""
    shifts: dict[int, Floats]
    """What an island's coordinates are ahead of the slide's, px: the median over its frames."""

    @property
    def errors_px(self) -> Floats:
        """(placed,) how far each frame lies off, each island's best shift taken out."""
        shifts = np.array([self.shifts[island] for island in self.islands]).reshape(-1, 2)
        errors: Floats = np.hypot(*(self.poses_rc - self.true_rc - shifts).T)
        return errors


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """What became of the true cells."""

    wanted: Ints
    """Numbers of the true cells that were shown whole and sharp often enough."""
    missed: Ints
    """Those of them that were not counted within 4.5 um."""
    missed_wide: Ints
    """Those of them that were not counted within 7 um."""
    doubles: Ints
    """(pairs, 2) counted cells that are nearer to each other than two cells can be, whatever they stand for."""
    places_rc: Floats
    """(counted, 2) px on the slide."""
    twice: Ints
    """True cells that two counted ones stand for."""


def placed(recording: Recording, scene: Scene) -> Placed:
    """Lay all placed frames into their final islands."""
    steps = np.flatnonzero(recording.islands >= 0)
    islands, poses = recording.islands[steps].copy(), recording.poses_rc[steps].copy()
    for join in recording.joins:
        # Poses said after the join are in the older island already, for the ended one is never named again.
        mine = islands == join.island
        islands[mine], poses[mine] = join.into, poses[mine] + np.array(join.shift_rc)
    true = scene.corners_rc[recording.order[steps]]
    shifts = {int(one): np.median((poses - true)[islands == one], axis=0) for one in np.unique(islands)}
    return Placed(steps, islands, poses, true, shifts)


def matched(recording: Recording, scene: Scene, laid: Placed) -> Matched:
    """Match counted cells to true ones."""
    shifts = [laid.shifts.get(int(island), np.full(2, np.nan)) for island in recording.cell_islands]
    places = recording.cells_rc - np.array(shifts).reshape(-1, 2)
    wanted = scene.times_sharp(recording.order) >= WANTED_SHARP
    um = scene.pixel_size_um
    near = held_against(scene.cells_rc, wanted, places, um, NEAR_UM)
    wide = held_against(scene.cells_rc, wanted, places, um, WIDE_UM)
    numbers = np.flatnonzero(wanted)
    return Matched(
        wanted=numbers,
        missed=np.array([cell for cell in numbers if cell not in near.nearest], int),
        missed_wide=np.array([cell for cell in numbers if cell not in wide.nearest], int),
        doubles=close_pairs(places, WRONG_UM / um),
        places_rc=places,
        twice=np.array(near.twice, int),
    )


def close_pairs(places_rc: Floats, near_px: float) -> Ints:
    """(pairs, 2) indices of places that lie within a distance of each other."""
    order = np.argsort(places_rc[:, 0], kind="stable")
    rows = places_rc[order, 0]
    pairs = []
    for at, first in enumerate(order):
        beyond = int(np.searchsorted(rows, rows[at] + near_px, side="right"))
        others = order[at + 1 : beyond]
        apart = np.hypot(*(places_rc[others] - places_rc[first]).T)
        pairs += [(int(first), int(other)) for other in others[apart <= near_px]]
    return np.array(pairs, int).reshape(-1, 2)


def overlap(first_rc: Floats, second_rc: Floats, shape: tuple[int, int]) -> Floats:
    """Share of a frame that windows at two places have in common, 0..1; shapes broadcast."""
    apart = np.abs(np.asarray(first_rc) - np.asarray(second_rc)) / np.array(shape)
    shared: Floats = np.clip(1 - apart, 0, None).prod(axis=-1)
    return shared


def pieces(corners_rc: Floats, shape: tuple[int, int]) -> Ints:
    """(frames,) number of the stretch of path that a frame belongs to; a stretch ends where overlap does."""
    breaks = overlap(corners_rc[1:], corners_rc[:-1], shape) < MIN_OVERLAP
    return np.concatenate([[0], np.cumsum(breaks)]).astype(int)


def rejoined(corners_rc: Floats, piece: Ints, shape: tuple[int, int]) -> dict[int, set[int]]:
    """For each piece, the earlier pieces whose ground it shows again far enough to be joined to them."""
    found: dict[int, set[int]] = {}
    for one in range(1, int(piece.max(initial=0)) + 1):
        mine, before = corners_rc[piece == one], corners_rc[piece < one]
        shared = overlap(mine[:, None], before[None], shape).max(axis=0)
        found[one] = {int(other) for other in piece[piece < one][shared >= REJOIN_OVERLAP]}
    return found


def true_islands(corners_rc: Floats, shape: tuple[int, int]) -> tuple[int, int]:
    """Pieces of the path, and how many are left when all that can be joined are."""
    piece = pieces(corners_rc, shape)
    root = list(range(int(piece.max(initial=0)) + 1))
    for one, others in rejoined(corners_rc, piece, shape).items():
        for other in others:
            keep, drop = sorted((root[one], root[other]))
            root = [keep if value == drop else value for value in root]
    return len(root), len(set(root))


def false_islands(laid: Placed, recording: Recording, shape: tuple[int, int]) -> list[int]:
    """Steps that began an island though they overlap the frame placed before them."""
    said = recording.islands[laid.steps]
    shared = overlap(laid.true_rc[1:], laid.true_rc[:-1], shape)
    return [int(step) for step in laid.steps[1:][(said[1:] > said[:-1]) & (shared >= MIN_OVERLAP)]]


def wrong_links(laid: Placed, recording: Recording, pixel_size_um: float) -> list[int]:
    """Steps at which a frame was laid wrong against the one before it, in one island."""
    said = recording.islands[laid.steps]
    gaps = np.hypot(*np.diff(recording.poses_rc[laid.steps] - laid.true_rc, axis=0).T)
    wrong = (said[1:] == said[:-1]) & (gaps > WRONG_UM / pixel_size_um)
    return [int(step) for step in laid.steps[1:][wrong]]


def wrong_joins(recording: Recording, scene: Scene) -> list[int]:
    """Steps that joined two islands in the wrong place."""
    alone = {
        int(one): np.median((recording.poses_rc - scene.corners_rc[recording.order])[recording.islands == one], axis=0)
        for one in np.unique(recording.islands[recording.islands >= 0])
    }
    limit = WRONG_UM / scene.pixel_size_um
    return [
        join.step
        for join in recording.joins
        if np.hypot(*(alone[join.island] + np.array(join.shift_rc) - alone[join.into])) > limit
    ]


def loop_drifts(laid: Placed, shape: tuple[int, int]) -> Floats:
    """(loops,) px by which a frame disagrees with the first sight of its ground, after the hand was away."""
    drifts = []
    for at in range(1, len(laid.steps)):
        shared = overlap(laid.true_rc[:at], laid.true_rc[at], shape)
        same = laid.islands[:at] == laid.islands[at]
        away = np.flatnonzero(shared < MIN_OVERLAP)
        back = np.flatnonzero((shared >= LOOP_OVERLAP) & same)
        if len(away) and len(back) and back[0] < away[-1]:
            best = back[back < away[-1]][shared[back[back < away[-1]]].argmax()]
            gone = (laid.poses_rc[at] - laid.poses_rc[best]) - (laid.true_rc[at] - laid.true_rc[best])
            drifts.append(float(np.hypot(*gone)))
    return np.array(drifts)


def fates(recording: Recording, scene: Scene, laid: Placed, cells: Ints) -> list[dict[str, Any]]:
    """What the count knew of some true cells: a line each for a person to look into."""
    at = {int(step): index for index, step in enumerate(laid.steps)}
    kept = np.array([mark for mark in recording.marks if int(mark[0]) in at]).reshape(-1, 4)
    true = laid.true_rc[[at[int(step)] for step in kept[:, 0]]].reshape(-1, 2) + kept[:, 2:]
    sharp = scene.times_sharp(recording.order)
    near_px = NEAR_UM / scene.pixel_size_um
    lines = []
    for cell in cells:
        near = np.hypot(*(true - scene.cells_rc[cell]).T) <= near_px
        lines.append(
            {
                "cell": int(cell),
                "class": scene.classes[cell],
                "x_px": round(float(scene.cells_rc[cell, 1]), 1),
                "y_px": round(float(scene.cells_rc[cell, 0]), 1),
                "times_sharp": int(sharp[cell]),
                "marked_in_frames": int(near.sum()),
                "as_cells": sorted({int(number) for number in kept[near, 1]}),
            }
        )
    return lines


def figures(recording: Recording, scene: Scene) -> dict[str, Any]:
    """All figures of one count.

    Returns
    -------
    dict
        Flat, one number or short text an entry.
    """
    laid = placed(recording, scene)
    cells = matched(recording, scene, laid)
    shape = scene.frame_shape
    broken, left = true_islands(scene.corners_rc[recording.order], shape)
    loops = loop_drifts(laid, shape)
    counted, wanted = len(recording.numbers), max(len(cells.wanted), 1)
    return {
        "frames": len(recording.order),
        "used": recording.tally.frames_used,
        "counted": counted,
        "wanted": len(cells.wanted),
        "doubles": len(cells.twice),
        "close_pairs": len(cells.doubles),
        "missed": len(cells.missed),
        "missed_pct": round(100 * len(cells.missed) / wanted, 2),
        "missed_7um": len(cells.missed_wide),
        "missed_7um_pct": round(100 * len(cells.missed_wide) / wanted, 2),
        "retracted": sum(event.event == "retracted" for event in recording.events),
        "pieces": broken,
        "islands_true": left,
        "islands": len(laid.shifts),
        "false_islands": len(false_islands(laid, recording, shape)),
        "wrong_links": len(wrong_links(laid, recording, scene.pixel_size_um)),
        "joins": len(recording.joins),
        "wrong_joins": len(wrong_joins(recording, scene)),
        **spread("pose", laid.errors_px),
        "loops": len(loops),
        **spread("loop", loops),
        "evaluations_per_cell": round(recording.evaluations / max(counted, 1), 2),
        "views_per_cell": round(float(np.median(recording.views)), 1) if counted else 0.0,
        **cost(recording),
    }


def spread(name: str, values: Floats) -> dict[str, float]:
    """Median, 99th percentile and largest of some px."""
    if not len(values):
        return {f"{name}_median_px": 0.0, f"{name}_p99_px": 0.0, f"{name}_max_px": 0.0}
    median, high, most = np.percentile(values, (50, 99, 100))
    return {
        f"{name}_median_px": round(float(median), 3),
        f"{name}_p99_px": round(float(high), 3),
        f"{name}_max_px": round(float(most), 3),
    }


def cost(recording: Recording) -> dict[str, float]:
    """Milliseconds of each stage (medians over the used frames), of the floor, and their ratio without classifying."""
    used = np.array([not reason for reason in recording.reasons], bool)
    if not used.any():
        return {}
    medians = np.median(recording.stages_ms[used], axis=0)
    floor = float(np.median(recording.floors_ms))
    stages = {f"{name}_ms": round(float(ms), 2) for name, ms in zip(STAGES, medians, strict=True)}
    return {**stages, "floor_ms": round(floor, 2), "ratio": round(float(medians[:-1].sum()) / floor, 2)}
