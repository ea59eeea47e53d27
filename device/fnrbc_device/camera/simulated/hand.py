"""A virtual hand that pans a window over a slide: rows with uneven speed, rests, turns back, tremor."""

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import UsageError

Track = NDArray[np.float64]
"""(N, 2) row, col of the window's top-left corner, px on the slide, one a frame."""

ROW_OVERLAP: Final = 0.28
"""Share of the window's height that neighbouring rows share: more than the largest cell (20 of 120 um)."""
SLOW_PX: Final = (12.0, 46.0)
"""Speed, px a frame, for most of the way: sharp at an exposure of 0.06 of the frame interval."""
FAST_PX: Final = (46.0, 120.0)
FAST_SHARE: Final = 0.2
SLOW_FRAMES: Final = (15, 45)
FAST_FRAMES: Final = (5, 13)
"""How long a speed is kept. A fast stretch ends within a frame's width: few cells are only seen smeared."""
ACCELERATION_PX: Final = 6.0
"""px a frame, each frame. A recorded hand goes from rest to 85 px a frame within about half a second."""
SLOWEST_PX: Final = 4.0
WANDER_PX: Final = 14.0
"""A hand's row is no straight line."""
TREMOR_PX: Final = 0.4
OVERSHOOT_PX: Final = 4.0
"""How far the hand presses beyond the edge, so that tremor leaves no sliver of the slide unseen."""
REST_SHARE: Final = 0.35
"""Share of stops at which the hand rests."""
REST_FRAMES: Final = (30, 75)
PAUSE_FRAMES: Final = 4
"""No hand turns round in no time."""
TURN_BACK_SHARE: Final = 0.45
"""Share of rows in which the hand goes back over ground already seen."""
TURN_BACK_PX: Final = (350.0, 900.0)


def hand_path(
    slide_shape: tuple[int, ...], frame_shape: tuple[int, ...], seed: int, frames: int | None = None
) -> Track:
    """Pan a window over a slide, row by row.

    Parameters
    ----------
    slide_shape, frame_shape
        (rows, cols) px of the slide and of the window; further entries are ignored.
    seed
        Of the random numbers, >= 0.
    frames
        How many frames; where one pass has fewer, the hand pans the slide again, backwards and onwards in
        turn. None for one pass, which shows every pixel of the slide.

    Returns
    -------
    Track
        (N, 2) row, col of the window's top-left corner, sub-pixel; the window never leaves the slide.

    Raises
    ------
    UsageError
        The slide is smaller than the window, or ``frames`` is negative.
    """
    span = np.array(slide_shape[:2], float) - np.array(frame_shape[:2], float)
    if span.min() < 0:
        raise UsageError(
            f"a slide of {slide_shape[1]}x{slide_shape[0]} px is smaller than the window of "
            f"{frame_shape[1]}x{frame_shape[0]} px; make a larger slide or a smaller window"
        )
    if frames is not None and frames < 0:
        raise UsageError(f"{frames} frames is below the limit of 0; ask for 0 or more")
    rng = np.random.default_rng(seed)
    passes = [_one_pass(span, frame_shape, rng)]
    while frames is not None and sum(map(len, passes)) < frames:
        again = _one_pass(span, frame_shape, rng)
        passes.append(again[::-1] if len(passes) % 2 else again)
    path = np.concatenate(passes)[:frames]
    tremor = _smooth_noise(rng, len(path), 2) * TREMOR_PX
    shaken: Track = np.clip(path + tremor, 0.0, span)
    return shaken


def _one_pass(span: Track, frame_shape: tuple[int, ...], rng: np.random.Generator) -> Track:
    """Every row once, with what a hand does in between."""
    stops = _stops(span, frame_shape, rng)
    pieces = [np.repeat(stops[:1], PAUSE_FRAMES, 0)]
    for start, end in pairwise(stops):
        pieces.append(_leg(start, end, rng))
        still = int(rng.integers(*REST_FRAMES)) if rng.random() < REST_SHARE else PAUSE_FRAMES
        pieces.append(np.repeat(end[None], still, 0))
    path = np.concatenate(pieces)
    phase = np.cumsum(rng.uniform(0.002, 0.012, len(path)))
    path[:, 0] += WANDER_PX * np.sin(2 * np.pi * phase)
    return path


def _stops(span: Track, frame_shape: tuple[int, ...], rng: np.random.Generator) -> Track:
    """(N, 2) places where the hand slows down: the rows' ends, and where it turns back."""
    pitch = frame_shape[0] * (1.0 - ROW_OVERLAP) - 2.0 * WANDER_PX
    # Beyond the edge by what wander and tremor take away again; the clip brings it back.
    rows = np.linspace(-WANDER_PX - OVERSHOOT_PX, span[0] + WANDER_PX + OVERSHOOT_PX, _rows(span[0], pitch))
    near, far = -OVERSHOOT_PX, span[1] + OVERSHOOT_PX
    stops: list[tuple[float, float]] = []
    looks_back = int(rng.integers(1, len(rows)))
    for index, row in enumerate(rows):
        start, end = (near, far) if index % 2 == 0 else (far, near)
        stops.append((row, start))
        if rng.random() < TURN_BACK_SHARE:
            stops += _turn_back(row, start, end, rng)
        stops.append((row, end))
        if index == looks_back:
            stops += [(rows[index - 1], start + (end - start) * rng.uniform(0.2, 0.8)), (row, end)]
    return np.array(stops)


def _rows(height_px: float, pitch_px: float) -> int:
    reach = height_px + 2.0 * (WANDER_PX + OVERSHOOT_PX)
    return int(np.ceil(reach / pitch_px)) + 1


def _turn_back(row: float, start: float, end: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Out to somewhere in the row, and back over some of it."""
    out = start + (end - start) * rng.uniform(0.3, 0.9)
    back = out - np.sign(end - start) * min(rng.uniform(*TURN_BACK_PX), abs(out - start))
    return [(row, out), (row, back)]


def _leg(start: Track, end: Track, rng: np.random.Generator) -> Track:
    """(N, 2) from after ``start`` to ``end``: speeds up, keeps changing its mind, slows down."""
    distance = float(np.hypot(*(end - start)))
    if distance == 0.0:
        return np.empty((0, 2))
    along, speed, wish, hold = 0.0, SLOWEST_PX, SLOWEST_PX, 0
    places = []
    while along < distance:
        if hold == 0:
            fast = rng.random() < FAST_SHARE
            wish = rng.uniform(*(FAST_PX if fast else SLOW_PX))
            hold = int(rng.integers(*(FAST_FRAMES if fast else SLOW_FRAMES)))
        hold -= 1
        # No faster than it can still brake for the end.
        limit = max(SLOWEST_PX, float(np.sqrt(2.0 * ACCELERATION_PX * (distance - along))) - ACCELERATION_PX)
        speed += float(np.clip(min(wish, limit) - speed, -ACCELERATION_PX, ACCELERATION_PX))
        along = min(along + max(speed, SLOWEST_PX), distance)
        places.append(along)
    leg: Track = start + np.array(places)[:, None] / distance * (end - start)
    return leg


def _smooth_noise(rng: np.random.Generator, count: int, columns: int) -> Track:
    """(count, columns), standard deviation about 1, steady over two or three frames."""
    raw = rng.standard_normal((count + 2, columns))
    smooth: Track = (raw[2:] + raw[1:-1] + raw[:-2]) / np.sqrt(3.0)
    return smooth
