"""Jumps: the hand lets go and lands elsewhere. Noticed, joined again, never joined wrong?"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from figures import REJOIN_OVERLAP, WRONG_UM, false_islands, overlap, pieces, placed, rejoined, wrong_joins
from fnrbc_device.camera.simulated.microscope import FRAME_SHAPE, SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.vision.shift import MIN_OVERLAP
from recording import Recording, record
from scenes import Scene, frames_of, simulated

CELLS: Final = 500
"""On a session's slide: 28 fields at the usual density, so that new ground lasts for half of 40 jumps."""
BACK_SHARE: Final = 0.5
"""Share of the jumps that land on ground seen before."""
SLOW_PX: Final = 40.0
"""Fastest pan between jumps, px a frame: sharp."""
NOTICED_WITHIN: Final = 2
"""Frames after a jump of which one must say that the place is lost, or be placed right."""
TRIES: Final = 200


def judged(sessions: int, jumps: int, frames: int, seed: int) -> list[dict[str, Any]]:
    """Jump over several slides; every other session lands smeared, as a moving slide does, the others sharp."""
    rows = []
    for session in range(sessions):
        slide = SimulatedSlide.make(seed + session, "giemsa" if session % 4 < 2 else "he", CELLS)
        path = jumping_path(slide.image.shape, jumps, frames, seed + session)
        optics = Optics() if session % 2 else Optics(exposure=0.0)
        scene = simulated(SimulatedMicroscope(slide, path, seed=seed + session, optics=optics))
        order = np.arange(len(path))
        recording = record(frames_of(scene), order, scene.pixel_size_um, load_bundle(None))
        rows.append({"name": f"{slide.look} {seed + session}", **jump_figures(recording, scene)})
    return [*rows, _summed(rows)]


def jumping_path(
    slide_shape: tuple[int, ...], jumps: int, frames: int, seed: int, frame_shape: tuple[int, int] = FRAME_SHAPE
) -> NDArray[np.float64]:
    """Pan a little, jump, pan a little: to new ground or back to ground seen before, never within reach.

    Parameters
    ----------
    slide_shape, frame_shape
        (rows, cols) px; further entries are ignored.
    jumps
        How many.
    frames
        Between two jumps.
    seed
        Of the random numbers.

    Returns
    -------
    NDArray
        (N, 2) row, col of the window's corner.
    """
    rng = np.random.default_rng((seed, 7))
    span = np.array(slide_shape[:2], float) - frame_shape
    legs = [_leg(rng.uniform(0, span), span, frames, rng)]
    for _ in range(jumps):
        seen = np.concatenate(legs)
        back = rng.random() < BACK_SHARE
        legs.append(_leg(_landing(seen, back, span, frame_shape, rng), span, frames, rng))
    return np.concatenate(legs)


def jump_figures(recording: Recording, scene: Scene) -> dict[str, Any]:
    """What became of the jumps of one session."""
    shape = scene.frame_shape
    corners = scene.corners_rc[recording.order]
    piece = pieces(corners, shape)
    laid = placed(recording, scene)
    delays = [_delay(recording, scene, int(start)) for start in np.flatnonzero(np.diff(piece)) + 1]
    ends = _final_places(recording, scene, piece)
    limit = WRONG_UM / scene.pixel_size_um
    joinable = joined = wrong = 0
    for one, others in rejoined(corners, piece, shape).items():
        if one not in ends:
            continue
        island, shift = ends[one]
        same = {other for other in range(one) if other in ends and ends[other][0] == island}
        wrong += any(np.hypot(*(ends[other][1] - shift)) > limit for other in same)
        known = others & set(ends)
        joinable += bool(known)
        joined += any(np.hypot(*(ends[other][1] - shift)) <= limit for other in known & same)
    return {
        "frames": len(recording.order),
        "jumps": len(delays),
        "noticed_at_once": sum(delay == 0 for delay in delays),
        f"noticed_within_{NOTICED_WITHIN}": sum(delay is not None and delay < NOTICED_WITHIN for delay in delays),
        "never_noticed": sum(delay is None for delay in delays),
        "joinable": joinable,
        "joined": joined,
        "pieces_laid_wrong": wrong,
        "joins_told": len(recording.joins),
        "wrong_joins_told": len(wrong_joins(recording, scene)),
        "false_islands": len(false_islands(laid, recording, shape)),
        "islands": len(laid.shifts),
        "not_placed_pieces": int(piece.max()) + 1 - len(ends),
    }


def _delay(recording: Recording, scene: Scene, start: int) -> int | None:
    """Frames from a jump to the first that is said lost, begins an island, or lies right; None if none does."""
    before = np.flatnonzero(recording.islands[:start] >= 0)
    if not len(before):
        return 0
    island = recording.islands[before[-1]]
    corners = scene.corners_rc[recording.order]
    offsets = recording.poses_rc - corners
    mine = before[recording.islands[before] == island]
    settled = np.median(offsets[mine], axis=0)
    apart = overlap(corners[start:], corners[start - 1], scene.frame_shape) < MIN_OVERLAP
    for delay in range(int(np.argmin(apart)) or len(apart)):
        step = start + delay
        lies_right = np.hypot(*(offsets[step] - settled)) <= WRONG_UM / scene.pixel_size_um
        if recording.islands[step] != island or lies_right:
            return delay
    return None


def _final_places(
    recording: Recording, scene: Scene, piece: NDArray[np.int_]
) -> dict[int, tuple[int, NDArray[np.float64]]]:
    """For each piece with a placed frame: the island it ended in, and what that is ahead of the slide there."""
    laid = placed(recording, scene)
    found = {}
    for one in np.unique(piece):
        mine = piece[laid.steps] == one
        if mine.any():
            island = int(laid.islands[mine][-1])
            mine &= laid.islands == island
            found[int(one)] = (island, np.median((laid.poses_rc - laid.true_rc)[mine], axis=0))
    return found


def _landing(
    seen: NDArray[np.float64],
    back: bool,
    span: NDArray[np.float64],
    frame_shape: tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Where the hand lands: on seen ground or as far from it as a few throws find, and away from where it was."""
    throws = rng.uniform(0, span, (TRIES, 2))
    if back:
        near = seen[rng.integers(len(seen), size=TRIES)] + rng.uniform(-0.35, 0.35, (TRIES, 2)) * frame_shape
        throws = np.clip(near, 0, span)
    # The pan went on to the last frame: only that one could still be reached.
    throws = throws[overlap(throws, seen[-1], frame_shape) < 0.9 * MIN_OVERLAP]
    shared = overlap(throws[:, None], seen[None], frame_shape).max(axis=1, initial=0.0)
    if not back:
        place: NDArray[np.float64] = throws[shared.argmin()]
        return place
    known = throws[shared >= 1.2 * REJOIN_OVERLAP]
    # At first all ground seen is within reach of the last frame: there is no way back yet.
    return known[0] if len(known) else _landing(seen, False, span, frame_shape, rng)


def _leg(
    start_rc: NDArray[np.float64], span: NDArray[np.float64], frames: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0, SLOW_PX)
    step = speed * np.array([np.sin(angle), np.cos(angle)])
    path = start_rc + np.arange(frames)[:, None] * step + rng.normal(0, 0.4, (frames, 2))
    leg: NDArray[np.float64] = np.clip(path, 0, span)
    return leg


def _summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": "all"} | {name: sum(row[name] for row in rows) for name in rows[0] if name != "name"}
