"""Which ground was looked at: where each cell was shown whole often enough that another look says nothing new of it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Join, Pose

ENOUGH: Final = 3
"""Looks that showed a place whole, after which a cell there has all the views that are kept."""

REMEMBERED: Final = 256
"""Looks that are remembered, the last ones: what was looked at before them is new again, and memory does not grow."""

INSIDE_UM: Final = 6.0
"""A cell whose middle lies so far inside the frame is shown whole."""

INSIDE_SHARE: Final = 1 / 4
"""Of a side, at most: a frame that holds few cells whole has ground all the same."""

SPACING_UM: Final = 2.0
"""Of the places that are asked about."""

BLURRED: Final = 0.2
"""Of the session's sharpest: a look so much less sharp than a frame showed nothing of what that may show. Frames from
0.55 on are used; those of a moving hand in focus lie at 0.7 to 0.95."""

NEW_SHARE: Final = 0.02
"""Of the field: less new ground than this is no wider than what a resting hand trembles by, 2 um."""


class Ground:
    """Remembers where the last looks of a session lay.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um, > 0.
    """

    def __init__(self, pixel_size_um: float) -> None:
        self._um = pixel_size_um
        self._looks = np.zeros((0, 4))
        """(n, 4) island, row and column, px, and sharpness."""

    def note(self, pose: Pose, sharpness: float) -> None:
        """Take in that a frame of this sharpness, 0..1 of the session's sharpest, was looked at."""
        look = (pose.island, pose.row_px, pose.col_px, sharpness)
        self._looks = np.concatenate([self._looks[-(REMEMBERED - 1) :], [look]])

    def forget(self) -> None:
        """Take all ground for new: what was looked for there was something else."""
        self._looks = self._looks[:0]

    def join(self, join: Join) -> None:
        """Move the looks at an island that was found to be part of an older one to where they lie on that."""
        ended = self._looks[:, :1] == join.island
        shift = np.array([join.into - join.island, join.row_px, join.col_px, 0.0])
        self._looks = self._looks + ended * shift

    def is_new(self, pose: Pose, frame_shape: tuple[int, int], sharpness: float) -> bool:
        """Whether a frame at this pose shows ground that was not looked at often enough.

        Parameters
        ----------
        frame_shape
            (rows, cols) px.
        sharpness
            Of the frame.
        """
        showed = (self._looks[:, 0] == pose.island) & (self._looks[:, 3] > sharpness - BLURRED)
        away = self._looks[showed, 1:3] - (pose.row_px, pose.col_px)
        near = away[(np.abs(away) < frame_shape).all(axis=1)]
        rows, cols = (self._shown(near[:, axis], frame_shape[axis]) for axis in (0, 1))
        return bool((rows.T @ cols < ENOUGH).mean() > NEW_SHARE)

    def _shown(self, away_px: NDArray[np.float64], side_px: int) -> NDArray[np.float32]:
        """(looks, places) 1 where a look so far away shows a place along one side of the frame, else 0."""
        margin = min(INSIDE_UM / self._um, INSIDE_SHARE * side_px)
        places = np.arange(margin, side_px - margin, SPACING_UM / self._um) - away_px[:, None]
        return ((places >= margin) & (places <= side_px - margin)).astype(np.float32)
