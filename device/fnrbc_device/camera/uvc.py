"""USB cameras of the video class, through OpenCV and V4L2."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.camera.driver import Picture
from fnrbc_device.camera.tuning import Tuning
from fnrbc_device.errors import SourceError

BY_ID: Final = Path("/dev/v4l/by-id")
"""Names that a camera keeps, whichever port it is plugged into."""

MANUAL: Final = 1.0
"""V4L2_EXPOSURE_MANUAL, as OpenCV from version 4 on hands it through."""

EXPOSURE_UNIT_US: Final = 100.0
"""V4L2 counts exposure in 100 us."""

Capture = Callable[[str], Any]


class UvcDriver:
    """An open camera.

    Parameters
    ----------
    device
        Its name below ``/dev/v4l/by-id``, or a path such as ``/dev/video0``.
    tuning
        What to set before the start.
    capture
        Opens a path as ``cv2.VideoCapture`` does.

    Raises
    ------
    SourceError
        There is no such camera, or it is taken by another program.
    """

    def __init__(self, device: str, tuning: Tuning, capture: Capture | None = None) -> None:
        path = device_path(device)
        self._capture = (capture or _open)(path)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"camera {path} cannot be opened; {_cure(path)}")
        self.name = device
        self.settings = self._tuned(tuning)

    def grab(self, timeout_s: float) -> Picture | None:
        """Newest picture; waits as long as V4L2 does."""
        read, picture = self._capture.read()
        if not read:
            raise SourceError(f"camera {self.name} gives no picture; check its cable")
        image = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        image.setflags(write=False)
        return Picture(image, time.monotonic())

    def close(self) -> None:
        """Let go of the camera."""
        self._capture.release()

    def _tuned(self, tuning: Tuning) -> dict[str, str]:
        """Set and read back, automatics first; what the camera lacks OpenCV ignores, and reads as 0 or -1."""
        exposure = tuning.exposure_us / EXPOSURE_UNIT_US if tuning.exposure_us else None
        wanted = (
            ("width_px", cv2.CAP_PROP_FRAME_WIDTH, tuning.width_px),
            ("height_px", cv2.CAP_PROP_FRAME_HEIGHT, tuning.height_px),
            ("fps", cv2.CAP_PROP_FPS, tuning.fps),
            ("buffers", cv2.CAP_PROP_BUFFERSIZE, 1),
            ("auto_exposure", cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL),
            ("auto_white_balance", cv2.CAP_PROP_AUTO_WB, 0),
            ("exposure_us", cv2.CAP_PROP_EXPOSURE, exposure),
            ("gain", cv2.CAP_PROP_GAIN, tuning.gain),
        )
        for _, number, value in wanted:
            if value is not None:
                self._capture.set(number, value)
        found = {name: self._capture.get(number) for name, number, _ in wanted}
        found["exposure_us"] *= EXPOSURE_UNIT_US
        return {name: f"{value:g}" for name, value in found.items() if value >= 0}


def device_path(device: str) -> str:
    """Path of a camera by its lasting name; one that is a path already stays."""
    return device if device.startswith("/") else str(BY_ID / device)


def _cure(path: str) -> str:
    if not Path(path).exists():
        return f"plug it in, or mend camera.device: there is none of that name, see {BY_ID}"
    if not os.access(path, os.R_OK | os.W_OK):
        return "this user may not use it: add the user to the group video"
    return "end other programs that use it, and see whether it is a camera at all"


def _open(path: str) -> Any:
    return cv2.VideoCapture(path, cv2.CAP_V4L2)
