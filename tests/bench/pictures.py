"""Pictures for a person: where the count and the truth disagree."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from scenes import Scene

CUT_PX: Final = 240
COLUMNS: Final = 8
OWN: Final = (220, 0, 0)
TRUE: Final = (0, 130, 0)


def sheet(scene: Scene, centres_rc: NDArray[np.float64], counted_rc: NDArray[np.float64], path: Path) -> None:
    """Write one picture with a cut round each place: green cross the place asked for, red rings what was counted.

    Parameters
    ----------
    scene
        The pan.
    centres_rc
        (N, 2) px on the slide.
    counted_rc
        (M, 2) px on the slide.
    path
        PNG to write.
    """
    cuts = [_cut(scene, centre, counted_rc) for centre in centres_rc]
    cuts += [np.full((CUT_PX, CUT_PX, 3), 255, np.uint8)] * (-len(cuts) % COLUMNS)
    if cuts:
        rows = [np.hstack(cuts[start : start + COLUMNS]) for start in range(0, len(cuts), COLUMNS)]
        save(np.vstack(rows), path)


def save(picture: Image, path: Path) -> None:
    """Write a PNG, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def _cut(scene: Scene, centre_rc: NDArray[np.float64], counted_rc: NDArray[np.float64]) -> Image:
    """The surroundings of a place in the sharp frame that shows it nearest the middle."""
    middles = scene.corners_rc + np.array(scene.frame_shape) / 2
    apart = np.abs(middles - centre_rc).max(axis=1) + np.where(scene.sharp, 0, 1e6)
    frame = int(apart.argmin())
    picture = cv2.copyMakeBorder(
        scene.picture(frame), CUT_PX, CUT_PX, CUT_PX, CUT_PX, cv2.BORDER_CONSTANT, value=(128, 128, 128)
    )
    row, col = np.rint(centre_rc - scene.corners_rc[frame]).astype(int) + CUT_PX // 2
    cut = picture[max(row, 0) :, max(col, 0) :][:CUT_PX, :CUT_PX].copy()
    cut = cv2.copyMakeBorder(cut, 0, CUT_PX - cut.shape[0], 0, CUT_PX - cut.shape[1], cv2.BORDER_CONSTANT)
    cv2.drawMarker(cut, (CUT_PX // 2, CUT_PX // 2), TRUE, cv2.MARKER_CROSS, 12, 1)
    for place in counted_rc[np.abs(counted_rc - centre_rc).max(axis=1) < CUT_PX / 2]:
        at = np.rint(place - centre_rc + CUT_PX / 2).astype(int)
        cv2.circle(cut, (int(at[1]), int(at[0])), 14, OWN, 2)
    cv2.rectangle(cut, (0, 0), (CUT_PX - 1, CUT_PX - 1), (0, 0, 0), 1)
    return cut.astype(np.uint8, copy=False)
