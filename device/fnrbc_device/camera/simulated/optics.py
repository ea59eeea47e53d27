"""What stands between a slide and a frame: exposure, focus, light, dust, vignetting and sensor noise."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image

FOCUS_MEMORY: Final = 0.97
"""Share of the focus error that is still there a frame later."""
LEAST_DEFOCUS_PX: Final = 0.3
"""Blurring by less changes no pixel by more than the noise."""
LEAST_TAP: Final = 0.05
"""Weights below this share of the largest are left out of the exposure's kernel; each costs 0.25 ms a frame."""
NOISE_PLACES: Final = 65536
"""Places where a frame's noise may begin in each of two fields: 4e9 pairs."""
LIGHT_PERIOD_FRAMES: Final = 1200
"""The lamp swings once in 40 s at 30 frames/s."""


@dataclass(frozen=True, slots=True)
class Optics:
    """Each fault of a real camera, and how strong; 0 switches it off."""

    exposure: float = 0.06
    """Exposure as a share of the frame interval, 0..1: how far motion smears."""
    noise: float = 2.0
    """Standard deviation of the sensor's noise, grey levels, 0..20."""
    vignette: float = 0.08
    """Share of the light that is missing half a frame's width away from the centre, 0..0.5."""
    dust: int = 6
    """Specks that stay where they are on the sensor."""
    focus_drift_px: float = 0.06
    """How much the focus strays from one frame to the next, px; it wanders about four times as far."""
    light_drift: float = 0.03
    """How much the lamp swings, as a share of its light, 0..0.5."""

    @classmethod
    def perfect(cls) -> "Optics":
        """No fault at all."""
        return cls(exposure=0.0, noise=0.0, vignette=0.0, dust=0, focus_drift_px=0.0, light_drift=0.0)


class Sensor:
    """Turns a window on a slide into a frame. Used by one thread.

    Parameters
    ----------
    optics
        The faults.
    frame_shape
        (rows, cols) px.
    rng
        Where dust lies, and the noise.
    """

    def __init__(self, optics: Optics, frame_shape: tuple[int, int], rng: np.random.Generator) -> None:
        self._shape = frame_shape
        self._shade = _shade(optics, frame_shape, rng)
        self._rng = rng
        self._scratch: dict[str, Image] = {}
        self._noise_table, offset = _noise_table(optics.noise)
        self._offset = np.full((*frame_shape, 3), offset, np.uint8)
        size = self._offset.size + NOISE_PLACES if optics.noise > 0 else 0
        self._noise = [np.frombuffer(rng.bytes(size), np.uint8) for _ in range(2)]

    def expose(
        self,
        slide: Image,
        corner_rc: NDArray[np.float64],
        motion_rc: NDArray[np.float64],
        defocus_px: float,
        light: float,
    ) -> Image:
        """Take one frame.

        Parameters
        ----------
        slide
            (H, W, 3) uint8 RGB.
        corner_rc
            The window's top-left corner in the middle of the exposure, sub-pixel, within the slide.
        motion_rc
            How far the window moves during the exposure, px.
        defocus_px
            Standard deviation of the blur, px, >= 0.
        light
            Gain of the lamp, about 1.

        Returns
        -------
        Image
            (rows, cols, 3) uint8 RGB.
        """
        frame = self._window(slide, corner_rc, motion_rc)
        if defocus_px > LEAST_DEFOCUS_PX:
            frame = _as_image(cv2.GaussianBlur(frame, (0, 0), defocus_px, self._room("blurred", self._shape)))
        frame = self._lit(frame, light)
        # Whatever lies in a room is overwritten by the next frame: what leaves here is a picture of its own.
        return self._with_noise(frame) if self._noise[0].size else frame.copy()

    def pass_over(self, frames: int) -> None:
        """Leave out frames; those that follow have the noise that they would have had."""
        for _ in range(frames if self._noise[0].size else 0):
            self._noise_places()

    def _noise_places(self) -> NDArray[np.int64]:
        return self._rng.integers(0, NOISE_PLACES, 2)

    def _window(self, slide: Image, corner_rc: NDArray[np.float64], motion_rc: NDArray[np.float64]) -> Image:
        """Average the window over the motion: one small kernel does sub-pixel shift and blur at once."""
        kernel, first = _kernel(corner_rc, motion_rc)
        # The kernel reaches down and right of its first pixel: so much more is taken, and cut off again.
        rows, cols = self._shape[0] + kernel.shape[0] - 1, self._shape[1] + kernel.shape[1] - 1
        inside = _cut(slide, int(first[0]), int(first[1]), (rows, cols))
        if kernel.size > 1:
            inside = _as_image(cv2.filter2D(inside, -1, kernel, self._room("window", (rows, cols)), (0, 0)))
        return inside[: self._shape[0], : self._shape[1]]

    def _lit(self, frame: Image, light: float) -> Image:
        room = self._room("lit", self._shape)
        if self._shade is not None:
            return _as_image(cv2.multiply(frame, self._shade, room, light / 255.0))
        return frame if light == 1.0 else _as_image(cv2.convertScaleAbs(frame, room, light))

    def _with_noise(self, frame: Image) -> Image:
        # Two fields of random bytes, each from a place of its own, through a table of the normal distribution: a
        # tenth of the cost of normal deviates. One field alone would be a pattern that registration can lock on.
        places = self._noise_places()
        first, second = (
            field[place : place + frame.size].reshape(frame.shape)
            for field, place in zip(self._noise, places, strict=True)
        )
        levels = cv2.bitwise_xor(first, second, self._room("levels", self._shape))
        deviates = cv2.LUT(levels, self._noise_table, self._room("deviates", self._shape))
        lowered = cv2.subtract(frame, self._offset, self._room("lowered", self._shape))
        return _as_image(cv2.add(lowered, deviates))

    def _room(self, name: str, shape: tuple[int, int]) -> Image:
        """(rows, cols, 3) room to work in, kept from frame to frame: fresh memory costs as much as the work."""
        size = shape[0] * shape[1] * 3
        if name not in self._scratch or self._scratch[name].size < size:
            self._scratch[name] = np.empty(size, np.uint8)
        return self._scratch[name][:size].reshape(*shape, 3)


def focus_track(optics: Optics, frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(frames,) signed focus error, px: a random walk that is drawn back to focus."""
    track = np.zeros(frames)
    error = 0.0
    for index, step in enumerate(rng.normal(0.0, optics.focus_drift_px, frames)):
        error = FOCUS_MEMORY * error + float(step)
        track[index] = error
    return track


def light_track(optics: Optics, frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(frames,) gain of the lamp, about 1: a slow swing."""
    turns = np.arange(frames) / LIGHT_PERIOD_FRAMES + rng.random()
    gain: NDArray[np.float64] = 1.0 + optics.light_drift * np.sin(2 * np.pi * turns)
    return gain


def _kernel(
    corner_rc: NDArray[np.float64], motion_rc: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    """Weights of the pixels that one pixel of the frame averages, and the offset of the first of them."""
    length = float(np.hypot(*motion_rc))
    steps = np.linspace(-0.5, 0.5, 1 + 4 * int(np.ceil(length))) if length > 0 else np.zeros(1)
    places = corner_rc + steps[:, None] * motion_rc
    low = np.floor(places.min(0)).astype(int)
    size = np.floor(places.max(0)).astype(int) - low + 2
    kernel = np.zeros(size, np.float64)
    whole = np.floor(places).astype(int)
    part = places - whole
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[:, 0]) * np.abs(1 - right - part[:, 1])
            np.add.at(kernel, (whole[:, 0] - low[0] + down, whole[:, 1] - low[1] + right), weight)
    kernel /= kernel.sum()
    kernel[kernel < LEAST_TAP * kernel.max()] = 0.0
    used = np.argwhere(kernel > 0)
    top, end = used.min(0), used.max(0) + 1
    trimmed = kernel[top[0] : end[0], top[1] : end[1]]
    return (trimmed / trimmed.sum()).astype(np.float32), low + top


def _cut(slide: Image, row: int, col: int, shape: tuple[int, int]) -> Image:
    """Cut a window; where it hangs over the slide's edge, by the width of a kernel, the edge goes on."""
    bottom, right = row + shape[0], col + shape[1]
    inside = slide[max(row, 0) : bottom, max(col, 0) : right]
    if inside.shape[:2] == shape:
        return inside
    above, below = max(-row, 0), max(bottom - slide.shape[0], 0)
    left, beside = max(-col, 0), max(right - slide.shape[1], 0)
    return _as_image(cv2.copyMakeBorder(inside, above, below, left, beside, cv2.BORDER_REPLICATE))


def _shade(optics: Optics, shape: tuple[int, int], rng: np.random.Generator) -> Image | None:
    """(rows, cols, 3) share of the light, 0..255, that vignetting and dust let through; None for all."""
    if optics.vignette == 0 and optics.dust == 0:
        return None
    height, width = shape
    row, col = np.ogrid[0:height, 0:width]
    radius2 = ((col - width / 2) ** 2 + (row - height / 2) ** 2) / (width / 2) ** 2
    shade = (1.0 - optics.vignette * radius2).astype(np.float32)
    for _ in range(optics.dust):
        middle_row, middle_col = rng.uniform(0, height), rng.uniform(0, width)
        radius, depth = rng.uniform(3, 22), rng.uniform(0.15, 0.6)
        beyond = (np.hypot(row - middle_row, col - middle_col) - radius) / 1.5
        shade -= (depth / (1.0 + np.exp(np.minimum(beyond, 50.0)))).astype(np.float32)
    grey = np.rint(255.0 * np.clip(shade, 0.1, 1.0)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _noise_table(sigma: float) -> tuple[Image, int]:
    """Tabulate what each random byte adds to a pixel (256 normal deviates), and the mean to take off."""
    normal = NormalDist()
    deviates = np.array([normal.inv_cdf((level + 0.5) / 256) for level in range(256)])
    # 256 levels lack the far tails; the factor gives back what they add to the standard deviation.
    deviates *= sigma / deviates.std()
    offset = int(np.ceil(deviates.max()))
    return np.rint(deviates + offset).astype(np.uint8), offset


def _as_image(array: NDArray[np.generic]) -> Image:
    """Tell the type checker what OpenCV's stubs do not: 8 bits in, 8 bits out."""
    return array.astype(np.uint8, copy=False)
