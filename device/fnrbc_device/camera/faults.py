"""What is wrong with a camera, told by its pictures alone: a dead one often looks alive."""

import zlib
from collections import deque
from typing import Final

import cv2
import numpy as np

from fnrbc_device.records import Image

CERTAIN_S: Final = 0.8
"""How long a symptom lasts before it is named: with the looks of the daemon, twice a second, within 2 s."""

LEAST_PICTURES: Final = 4
"""And in how many pictures in a row: a slow camera that shows one dark picture is not dark."""

SPARSE: Final = 8
"""Every so many pixels are looked at: 1280x960 in 0.1 ms. The noise of a sensor changes each of them."""

REMEMBERED: Final = 64
"""Pictures that a repetition is looked for in: drivers that loop have a ring of 4 to 32."""

BLACK: Final = 6.0
"""Mean grey of a covered sensor: black levels are 0 to 4 of 255, a lamp at its lowest gives 20."""

WHITE: Final = 253.0
"""Mean grey of a saturated sensor; empty glass that is exposed for is 200 to 245."""

SLOW_SHARE: Final = 0.5
"""Share of the rate that was asked for; below, cells pass with too few views."""

RATE_S: Final = 1.2
"""Over which the rate is measured."""


class CameraFaults:
    """Judges pictures one after the other.

    Parameters
    ----------
    fps
        The rate that was asked for.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._shape: tuple[int, ...] | None = None
        self._before: deque[int] = deque(maxlen=REMEMBERED)
        self._times: deque[float] = deque(maxlen=512)
        self._since: dict[str, tuple[float, int]] = {}

    def see(self, image: Image, at_s: float) -> str:
        """Look at a picture; gives the symptom that is certain by now, or nothing.

        Parameters
        ----------
        image
            As delivered, whatever it is.
        at_s
            Monotonic clock.
        """
        found = self._of_picture(image)
        self._times.append(at_s)
        for name in list(self._since):
            if name not in found:
                del self._since[name]
        for name in found:
            since, pictures = self._since.get(name, (at_s, 0))
            self._since[name] = (since, pictures + 1)
        certain = [name for name in found if self._lasts(name, at_s)]
        if certain:
            return certain[0]
        return "camera_slow" if self._slow(at_s) else ""

    @property
    def suspects(self) -> bool:
        """Whether the last picture showed a symptom, certain or not yet."""
        return bool(self._since)

    def restart(self) -> None:
        """Forget the pictures of the opening before; the size that a session's pictures have stays."""
        self._before.clear()
        self._times.clear()
        self._since.clear()

    def fits(self, image: Image) -> bool:
        """Whether it is an 8-bit colour picture of the size of the first one."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            return False
        if self._shape is None:
            self._shape = image.shape
        return image.shape == self._shape

    def _of_picture(self, image: Image) -> list[str]:
        """Symptoms that one picture shows, gravest first."""
        if not self.fits(image):
            return ["camera_wrong_format"]
        sparse = np.ascontiguousarray(image[::SPARSE, ::SPARSE])
        mean = float(np.mean(cv2.mean(sparse)[:3]))
        print_ = zlib.crc32(sparse.tobytes())
        repeated, same = print_ in self._before, bool(self._before) and self._before[-1] == print_
        self._before.append(print_)
        found = []
        if mean < BLACK:
            found.append("camera_black")
        elif mean > WHITE:
            found.append("camera_white")
        if same:
            found.append("camera_frozen")
        if repeated:
            found.append("camera_repeating")
        return found

    def _lasts(self, name: str, at_s: float) -> bool:
        since, pictures = self._since[name]
        return at_s - since >= CERTAIN_S and pictures >= LEAST_PICTURES

    def _slow(self, at_s: float) -> bool:
        recent = [time for time in self._times if at_s - time <= RATE_S]
        full = bool(self._times) and at_s - self._times[0] > RATE_S
        return full and len(recent) < SLOW_SHARE * self._fps * RATE_S
