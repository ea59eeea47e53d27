"""A real hand on real glass: our placement against that of other software, and who is right where they differ."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from figures import placed, spread
from fnrbc_device.model.bundle import load_bundle
from pictures import save
from recording import Recording, record
from scenes import OUT, Scene, frames_of, hand_pan

LOOKED_AT: Final = 4
"""Steps that are looked into: those on which the two differ most."""
LEAST_DIFFERENCE_PX: Final = 0.5
BANDS: Final = 8
"""Level stripes whose own shift is measured: a sensor that reads row after row shears what moves, and then no single
placement fits the whole frame."""


def judged(pictures: bool) -> list[dict[str, Any]]:
    """Place the pan's frames and compare."""
    scene = hand_pan()
    order = np.arange(len(scene.corners_rc))
    recording = record(frames_of(scene), order, scene.pixel_size_um, load_bundle(None))
    laid = placed(recording, scene)
    return [
        {
            "name": scene.name,
            "frames": len(order),
            "placed": len(laid.steps),
            "islands": len(laid.shifts),
            "not_used": {reason: recording.reasons.count(reason) for reason in sorted(set(recording.reasons) - {""})},
            **spread("pose", laid.errors_px),
            "worst_frame": int(laid.steps[laid.errors_px.argmax()]),
            "differences": _differences(recording, scene, pictures),
        }
    ]


def _differences(recording: Recording, scene: Scene, pictures: bool) -> list[dict[str, Any]]:
    """The steps on which the two differ most, with how well the overlap agrees under either placement."""
    ours, theirs = np.diff(recording.poses_rc, axis=0), np.diff(scene.corners_rc, axis=0)
    apart = np.nan_to_num(np.hypot(*(ours - theirs).T))
    lines = []
    for step in np.argsort(-apart)[:LOOKED_AT]:
        if apart[step] < LEAST_DIFFERENCE_PX:
            break
        before, after = (_grey(scene, int(step) + k) for k in (0, 1))
        own, other = (_laid(before, after, shift[step]) for shift in (ours, theirs))
        lines.append(
            {
                "step": f"{step}-{step + 1}",
                "apart_px": round(float(apart[step]), 2),
                "ours_xy": np.round(ours[step][::-1], 2).tolist(),
                "theirs_xy": np.round(theirs[step][::-1], 2).tolist(),
                "correlation_ours": round(_correlation(*own), 4),
                "correlation_theirs": round(_correlation(*other), 4),
                "left_over_x_ours": _left_over(*own),
                "left_over_x_theirs": _left_over(*other),
            }
        )
        if pictures:
            save(_side_by_side(own, other), OUT / f"handpan-{step}-{step + 1}.png")
    return lines


def _grey(scene: Scene, number: int) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(scene.picture(number), cv2.COLOR_RGB2GRAY), np.float32)


def _laid(
    before: NDArray[np.float32], after: NDArray[np.float32], shift_rc: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The parts of two frames that show the same place if the window moved by the shift, sub-pixel."""
    height, width = before.shape
    back = np.array([[1.0, 0.0, shift_rc[1]], [0.0, 1.0, shift_rc[0]]])
    moved = cv2.warpAffine(before, back, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    row, col = np.ceil(np.abs(shift_rc)).astype(int) + 1
    rows = slice(1, height - row) if shift_rc[0] >= 0 else slice(row, height - 1)
    cols = slice(1, width - col) if shift_rc[1] >= 0 else slice(col, width - 1)
    return np.asarray(moved, np.float32)[rows, cols], after[rows, cols]


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _left_over(first: NDArray[np.float32], second: NDArray[np.float32]) -> list[float]:
    """What shift along x is left in each stripe, from top to bottom, px."""
    height = first.shape[0] // BANDS
    window = cv2.createHanningWindow((first.shape[1], height), cv2.CV_32F)
    stripes = [np.s_[at * height : (at + 1) * height] for at in range(BANDS)]
    return [round(cv2.phaseCorrelate(first[one], second[one], window)[0][0], 1) for one in stripes]


def _side_by_side(own: tuple[NDArray[np.float32], ...], other: tuple[NDArray[np.float32], ...]) -> NDArray[np.uint8]:
    """Ours left, theirs right: the earlier frame in red, the later in green and blue; where they agree it is grey."""
    overlays = [np.dstack([first, second, second]) for first, second in (own, other)]
    height = min(overlay.shape[0] for overlay in overlays)
    return np.hstack([overlay[:height] for overlay in overlays]).clip(0, 255).astype(np.uint8)
