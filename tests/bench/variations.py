"""One pan told in many ways: rested on, driven backwards, twice, faster, slower, with frames left out."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from figures import WRONG_UM, Placed, close_pairs, figures, matched, placed
from fnrbc_device.camera.simulated.hand import hand_path
from fnrbc_device.camera.simulated.microscope import FRAME_SHAPE, SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.model.bundle import load_bundle
from recording import Recording, record
from scenes import Scene, frames_of, simulated

FAST_FPS: Final = 60
LEFT_OUT_SHARE: Final = 1 / 3

Ints = NDArray[np.int_]


def dwelt(cells: int, times: int, seed: int) -> list[dict[str, Any]]:
    """Count a pan as it is, with every frame repeated (each with fresh noise), backwards, and a second time."""
    scene = _scene(cells, seed, 1)
    order = np.arange(len(scene.corners_rc))
    base = _counted(scene, order)
    rows = [_row("as it is", base, base, scene)]
    for name, one in ((f"dwelt {times}-fold", np.repeat(order, times)), ("backwards", order[::-1])):
        rows.append(_row(name, _counted(_scene(cells, seed, 1), one), base, scene))
    # A scene made anew draws the same noise: the two runs see the same pictures.
    again = _counted(_scene(cells, seed, 1), order)
    identical = again.events == base.events and np.array_equal(again.poses_rc, base.poses_rc, equal_nan=True)
    return [*rows, {**_row("again", again, base, scene), "identical": bool(identical)}]


def at_rates(cells: int, seed: int) -> list[dict[str, Any]]:
    """Count a pan at 60, 30 and 15 frames/s, and at 30 with every third frame left out at random."""
    scene = _scene(cells, seed, FAST_FPS // 30)
    every = np.arange(len(scene.corners_rc))
    rng = np.random.default_rng((seed, 3))
    thirty = every[::2]
    kept = thirty[rng.random(len(thirty)) >= LEFT_OUT_SHARE]
    told = {"60/s": (every, 60.0), "30/s": (thirty, 30.0), "15/s": (every[::4], 15.0), "30/s, third lost": (kept, 30.0)}
    rows = []
    base: Recording | None = None
    for name, (order, fps) in told.items():
        recording = _counted(scene, order, fps=fps)
        base = base or recording
        rows.append(_row(name, recording, base, scene))
    return rows


def _scene(cells: int, seed: int, per_frame: int) -> Scene:
    """A simulated pan with more frames than the hand's own; the exposure in seconds stays."""
    slide = SimulatedSlide.make(seed, "giemsa", cells)
    path = hand_path(slide.image.shape, FRAME_SHAPE, seed)
    fine = np.arange((len(path) - 1) * per_frame + 1) / per_frame
    path = np.column_stack([np.interp(fine, np.arange(len(path)), path[:, axis]) for axis in (0, 1)])
    usual = Optics()
    optics = Optics(exposure=usual.exposure * per_frame, focus_drift_px=usual.focus_drift_px / np.sqrt(per_frame))
    return simulated(SimulatedMicroscope(slide, path, seed=seed, optics=optics))


def _counted(scene: Scene, order: Ints, fps: float = 30.0) -> Recording:
    return record(frames_of(scene, order, fps), order, scene.pixel_size_um, load_bundle(None))


def _row(name: str, recording: Recording, base: Recording, scene: Scene) -> dict[str, Any]:
    laid = placed(recording, scene)
    sharp = scene.times_sharp(recording.order)
    known = figures(recording, scene)
    kept = ("frames", "used", "counted", "doubles", "close_pairs", "missed", "islands", "pose_median_px", "pose_p99_px")
    only, lacking = _differing(recording, laid, base, placed(base, scene), scene)
    return {
        "name": name,
        **{figure: known[figure] for figure in (*kept, "evaluations_per_cell", "views_per_cell")},
        "never_sharp": int((sharp == 0).sum()),
        "sharp_once": int((sharp >= 1).sum()),
        "sharp_thrice": int((sharp >= 3).sum()),
        "fnrbc": recording.tally.fnrbc,
        "indeterminate": recording.tally.indeterminate,
        "not_in_first": only,
        "only_in_first": lacking,
    }


def _differing(recording: Recording, laid: Placed, base: Recording, base_laid: Placed, scene: Scene) -> tuple[int, int]:
    """Cells that only this count has, and that only the first has."""
    mine = matched(recording, scene, laid).places_rc
    first = matched(base, scene, base_laid).places_rc
    pairs = close_pairs(np.vstack([mine, first]), WRONG_UM / scene.pixel_size_um)
    across = pairs[(pairs < len(mine)).sum(axis=1) == 1]
    return len(mine) - len(set(across.min(axis=1))), len(first) - len(set(across.max(axis=1)))
