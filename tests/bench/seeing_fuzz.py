"""Frames that no microscope shows: nothing may break, run away in time or in memory.

Each frame is looked at in a process of its own whose memory and time are bounded, so that what runs away is a
figure in the table and not the end of the machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.commands.bench import floor_ms
from fnrbc_device.errors import FnrbcError
from fnrbc_device.records import Image
from fnrbc_device.vision.frame_quality import FrameQuality
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.segmentation import Segmenter
from seeing_pictures import Result, Wanted, spread

PIXEL_UM: Final = 0.125
SHAPE: Final = (1209, 1651)
MOST_FLOORS: Final = 10.0
MOST_FRAMES_OF_MEMORY: Final = 20.0
"""Frames' worth of bytes that looking at one may take at its peak."""

LEAST_FLOOR_MS: Final = 0.2
"""A floor counts as no less: on a frame of a few pixels calls cost more than pixels."""

MEMORY_BYTES: Final = 4 * 1024**3
LIMIT_S: Final = 60.0
REPEATS: Final = 3
SLOW_MS: Final = 500.0
"""What took longer is not measured again: it is no noise."""

Made = NDArray[Any]


def _noise(rng: np.random.Generator, shape: tuple[int, int], blur_px: float) -> Made:
    grey = rng.normal(128, 60, shape).astype(np.float32)
    if blur_px:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur_px), np.float32)
        grey = (grey - grey.mean()) / grey.std() * 60 + 128
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _checkerboard(shape: tuple[int, int], side: int) -> Made:
    board = np.indices(shape) // side
    return np.repeat(((board.sum(axis=0) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _gradient(shape: tuple[int, int]) -> Made:
    return np.repeat(np.tile(np.linspace(0, 255, shape[1]).astype(np.uint8), (shape[0], 1))[..., None], 3, axis=2)


def _cells(rng: np.random.Generator, shape: tuple[int, int], inverted: bool, saturated: bool) -> Made:
    """Dark discs on bright glass: what every frame should look like."""
    picture = np.full((*shape, 3), 225, np.uint8)
    for x, y in rng.integers((0, 0), (shape[1], shape[0]), (120, 2)):
        cv2.circle(picture, (int(x), int(y)), 26, (70, 30, 110), -1)
    if saturated:
        picture = np.where(picture > 100, 255, 0).astype(np.uint8)
    if inverted:
        picture = np.invert(picture)
    return picture


def _stripes(shape: tuple[int, int]) -> Made:
    picture = np.full((*shape, 3), 230, np.uint8)
    picture[::6] = picture[1::6] = picture[2::6] = 30
    return picture


def _spiral(shape: tuple[int, int]) -> Made:
    """One winding outline over the whole frame: the longest contour there is."""
    rows, cols = np.indices(shape)
    turn = np.arctan2(rows - shape[0] / 2, cols - shape[1] / 2) / (2 * np.pi)
    spiral = (np.hypot(rows - shape[0] / 2, cols - shape[1] / 2) / 16 + turn) % 1 < 0.5
    return np.repeat(np.where(spiral, 30, 230).astype(np.uint8)[..., None], 3, axis=2)


def _specks(rng: np.random.Generator, shape: tuple[int, int]) -> Made:
    """As many pieces as are large enough to be kept, close enough to be joined."""
    picture = np.full((*shape, 3), 230, np.uint8)
    picture[(np.indices(shape) % 16 < 12).all(axis=0)] = 40
    noisy: NDArray[np.uint8] = picture + rng.integers(0, 10, picture.shape, np.uint8)
    return noisy


FRAMES: Final[dict[str, Callable[[np.random.Generator, tuple[int, int]], Made]]] = {
    "black": lambda rng, shape: np.zeros((*shape, 3), np.uint8),
    "grey": lambda rng, shape: np.full((*shape, 3), 128, np.uint8),
    "white": lambda rng, shape: np.full((*shape, 3), 255, np.uint8),
    "one dark pixel": lambda rng, shape: (
        np.where(np.indices(shape).sum(0)[..., None] == 40, 0, 255).astype(np.uint8).repeat(3, 2)
    ),
    "cells": lambda rng, shape: _cells(rng, shape, False, False),
    "cells inverted": lambda rng, shape: _cells(rng, shape, True, False),
    "cells saturated": lambda rng, shape: _cells(rng, shape, False, True),
    "grey noise": lambda rng, shape: _noise(rng, shape, 0),
    "noise of 2 px": lambda rng, shape: _noise(rng, shape, 2),
    "noise of 8 px": lambda rng, shape: _noise(rng, shape, 8),
    "noise of 30 px": lambda rng, shape: _noise(rng, shape, 30),
    "colour noise": lambda rng, shape: rng.integers(0, 256, (*shape, 3), np.uint8),
    "dark noise": lambda rng, shape: rng.integers(0, 8, (*shape, 3), np.uint8),
    "salt and pepper": lambda rng, shape: (rng.random(shape) < 0.5)[..., None].repeat(3, 2).astype(np.uint8) * 255,
    "checkerboard of 1 px": lambda rng, shape: _checkerboard(shape, 1),
    "checkerboard of 2 px": lambda rng, shape: _checkerboard(shape, 2),
    "checkerboard of 12 px": lambda rng, shape: _checkerboard(shape, 12),
    "checkerboard of 48 px": lambda rng, shape: _checkerboard(shape, 48),
    "gradient": lambda rng, shape: _gradient(shape),
    "stripes": lambda rng, shape: _stripes(shape),
    "spiral": lambda rng, shape: _spiral(shape),
    "specks": lambda rng, shape: _specks(rng, shape),
    "1x1": lambda rng, shape: rng.integers(0, 256, (1, 1, 3), np.uint8),
    "1 row": lambda rng, shape: rng.integers(0, 256, (1, 400, 3), np.uint8),
    "1 column": lambda rng, shape: rng.integers(0, 256, (400, 1, 3), np.uint8),
    "3x5": lambda rng, shape: rng.integers(0, 256, (3, 5, 3), np.uint8),
}
"""What is no picture of cells, or hardly one. What cannot be judged is refused; all else gives a field."""

REFUSED: Final[dict[str, Callable[[np.random.Generator, tuple[int, int]], Made]]] = {
    "float": lambda rng, shape: rng.random((*shape, 3), np.float32),
    "float with NaN": lambda rng, shape: np.full((*shape, 3), np.nan, np.float32),
    "double": lambda rng, shape: np.full((*shape, 3), 128.0),
    "16 bits": lambda rng, shape: np.full((*shape, 3), 30000, np.uint16),
    "no pixel": lambda rng, shape: np.zeros((0, 0, 3), np.uint8),
    "one channel": lambda rng, shape: np.full(shape, 128, np.uint8),
    "four channels": lambda rng, shape: np.full((*shape, 4), 128, np.uint8),
}
"""What is no (H, W, 3) uint8: one of fnrbc's own errors is due, with the cure."""


def measure(data: Path, limit: int | None) -> Result:
    """Look at each frame in a process of its own. ``limit`` is the number of frames of each kind."""
    del data  # this bench makes its own
    shown = {name: _apart(name) for name in spread(list(FRAMES), limit)}
    refused = {name: _apart(name) for name in spread(list(REFUSED), limit)}
    return _result(shown, refused)


def _apart(name: str) -> dict[str, Any]:
    """The figures of one frame, from a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, name], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"outcome": f"no answer within {LIMIT_S:g} s"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"outcome": f"broke: {last[:160]}"}
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def look_at(name: str) -> dict[str, Any]:
    """Look at one frame, here and now: outcome, times of the floor, peak memory in frames."""
    made = {**FRAMES, **REFUSED}[name](np.random.default_rng(0), SHAPE)
    image: Image = np.asarray(made)
    cv2.setNumThreads(1)
    try:
        found = _gate_and_segment(image)
    except FnrbcError as error:
        return {"outcome": f"refused: {error}", "refused": True}
    except Exception as error:  # noqa: BLE001  # which exception it is, is what this bench is there to tell
        return {"outcome": f"{type(error).__name__}: {str(error).strip()[:120]}"}
    took_ms = _ms(lambda: _gate_and_segment(image))
    if took_ms < SLOW_MS:
        took_ms = min(took_ms, *(_ms(lambda: _gate_and_segment(image)) for _ in range(REPEATS)))
    usual_floor = min(floor_ms(image) for _ in range(REPEATS)) if image.dtype == np.uint8 else float("nan")
    tracemalloc.start()
    _gate_and_segment(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "outcome": "seen",
        "found": found,
        "ms": round(took_ms, 2),
        "floor_ms": round(usual_floor, 3),
        "floors": round(took_ms / max(usual_floor, LEAST_FLOOR_MS), 2),
        "peak_frames": round(peak / max(image.nbytes, 1_000_000), 2),
        "peak_mib": round(peak / 2**20, 1),
        "process_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _gate_and_segment(image: Image) -> int:
    reduced = reduce(image, PIXEL_UM)
    FrameQuality().judge(reduced)
    return len(Segmenter(PIXEL_UM).segment_reduced(reduced).detections)


def _ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def _result(shown: dict[str, dict[str, Any]], refused: dict[str, dict[str, Any]]) -> Result:
    table = [f"{'frame':24}{'found':>7}{'ms':>10}{'x floor':>9}{'peak MiB':>10}  outcome"]
    for name, one in (shown | refused).items():
        table.append(
            f"{name:24}{one.get('found', ''):>7}{one.get('ms', ''):>10}{one.get('floors', ''):>9}"
            f"{one.get('peak_mib', ''):>10}  {one['outcome']}"
        )
    broken = [name for name, one in shown.items() if not (one.get("refused") or one["outcome"] == "seen")]
    accepted = [name for name, one in refused.items() if not one.get("refused")]
    figures = {"shown": shown, "to_refuse": refused, "broken": broken, "wrongly_accepted": accepted}
    wanted = [
        Wanted("frames that broke it", len(broken), at_most=0),
        Wanted("most floors", max((one.get("floors", 0.0) for one in shown.values()), default=0), at_most=MOST_FLOORS),
        Wanted(
            "peak memory, in frames",
            max((one.get("peak_frames", 0.0) for one in shown.values()), default=0),
            at_most=MOST_FRAMES_OF_MEMORY,
        ),
        Wanted("no frames, and not refused", len(accepted), at_most=0),
    ]
    return Result("fuzz", figures, table, wanted)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Look at one strange frame within bounds.")
    parser.add_argument("name", choices=[*FRAMES, *REFUSED])
    name = parser.parse_args().name
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(look_at(name)))


if __name__ == "__main__":
    _main()
