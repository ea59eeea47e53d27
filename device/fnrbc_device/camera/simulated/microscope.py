"""A microscope without glass or metal: a simulated camera over a slide that a simulated hand pans."""

import time
from collections.abc import Callable
from threading import Event
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.hand import Track, hand_path
from fnrbc_device.camera.simulated.optics import Optics, Sensor, focus_track, light_track
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Frame, Pose

FRAME_SHAPE: Final = (960, 1280)
NOMINAL_FPS: Final = 30.0
"""What the frames' times say where nothing paces them."""
SHARP_BLUR_PX: Final = 3.0
SHARP_DEFOCUS_PX: Final = 1.0
WHOLE_MARGIN_PX: Final = 8.0
"""A cell counts as shown whole when this much around its outline is in the frame."""
LONGEST_WAIT_S: Final = 2.0
"""No read blocks longer, whatever the pace."""


class SimulatedMicroscope:
    """A camera over a slide that a hand pans. Tells the truth about every frame.

    Parameters
    ----------
    slide
        What lies under the objective.
    path
        (N, 2) row, col of the window's top-left corner, one a frame; None for one pass of ``hand_path``.
    seed
        Of the hand, the dust and the noise.
    frame_shape
        (rows, cols) px.
    fps
        Pace, frames a second, 0.5 or more; None for as fast as asked.
    optics
        The faults of lens and sensor.
    clock
        Monotonic, seconds.

    Raises
    ------
    UsageError
        The path leaves the slide, the slide is smaller than a frame, or the pace is out of range.
    """

    def __init__(
        self,
        slide: SimulatedSlide,
        path: Track | None = None,
        *,
        seed: int = 0,
        frame_shape: tuple[int, int] = FRAME_SHAPE,
        fps: float | None = None,
        optics: Optics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if fps is not None and not fps >= 1.0 / LONGEST_WAIT_S:
            raise UsageError(f"{fps} frames/s is below {1.0 / LONGEST_WAIT_S}; give a faster pace")
        self.name = f"simulated microscope, slide {slide.seed} ({slide.look}), hand {seed}"
        self.pixel_size_um: float | None = slide.pixel_size_um
        self.slide = slide
        self.path = np.array(hand_path(slide.image.shape, frame_shape, seed) if path is None else path, float)
        self.frame_shape = frame_shape
        self.waits = fps is None
        """Without a pace its frames wait for the reader."""
        self._optics = Optics() if optics is None else optics
        _check_path(self.path, slide.image.shape, frame_shape)
        rng = np.random.default_rng((seed, 1))
        self._sensor = Sensor(self._optics, frame_shape, rng)
        self._focus = focus_track(self._optics, len(self.path), rng)
        self._light = light_track(self._optics, len(self.path), rng)
        self._motion = np.diff(self.path, axis=0, prepend=self.path[:1]) * self._optics.exposure
        self._fps, self._clock, self._closed = fps, clock, Event()
        self._next, self._due_s = 0, clock()

    def __len__(self) -> int:
        """Give the number of frames on the path."""
        return len(self.path)

    def read(self) -> Frame | None:
        """Next frame, at its time; None when the hand has come to the end of its path, or after ``close``."""
        if self._closed.is_set() or self._next >= len(self.path):
            return None
        index, image = self._next, self.image(self._next)
        captured_at_s = self._wait_for_turn()  # with the picture at hand, as a camera says when it hands one over
        self._next += 1
        return Frame(index=index, captured_at_s=captured_at_s, image=image)

    def skip_to(self, index: int) -> None:
        """Make the frame of that index, which was not read yet, the next one."""
        self._sensor.pass_over(max(0, min(index, len(self.path)) - self._next))
        self._next = max(index, self._next)

    def close(self) -> None:
        """Stop; a read that waits for its turn returns at once."""
        self._closed.set()

    def image(self, index: int) -> NDArray[np.uint8]:
        """(rows, cols, 3) uint8 RGB, read-only: the picture of one frame, with fresh noise on each call."""
        image = self._sensor.expose(
            self.slide.image,
            self.path[index],
            self._motion[index],
            self.defocus_px(index),
            float(self._light[index]),
        )
        image.setflags(write=False)
        return image

    def pose(self, index: int) -> Pose:
        """Where the frame's top-left corner really lies on the slide."""
        return Pose(0, float(self.path[index, 0]), float(self.path[index, 1]))

    def blur_px(self, index: int) -> float:
        """How far the picture smears during the exposure, px."""
        return float(np.hypot(*self._motion[index]))

    def defocus_px(self, index: int) -> float:
        """How far out of focus: standard deviation of the blur, px."""
        return abs(float(self._focus[index]))

    def times_seen(self, frames: int | None = None, margin_px: float = WHOLE_MARGIN_PX) -> NDArray[np.int_]:
        """(cells,) in how many of the first ``frames`` frames (None: all) each true cell lay whole."""
        return self._count_whole(self.path[:frames], margin_px)

    def times_sharp(self, frames: int | None = None, margin_px: float = WHOLE_MARGIN_PX) -> NDArray[np.int_]:
        """(cells,) in how many of them it lay whole, with <= 3 px of blur and <= 1 px of defocus."""
        return self._count_whole(self.path[:frames][self.sharp()[:frames]], margin_px)

    def sharp(self) -> NDArray[np.bool_]:
        """(frames,) whether a frame has at most 3 px of blur and 1 px of defocus."""
        blur = np.hypot(*self._motion.T)
        sharp: NDArray[np.bool_] = (blur <= SHARP_BLUR_PX) & (np.abs(self._focus) <= SHARP_DEFOCUS_PX)
        return sharp

    def _count_whole(self, corners: Track, margin_px: float) -> NDArray[np.int_]:
        counts = np.zeros(len(self.slide.truth), int)
        size = np.array(self.frame_shape)
        for index, cell in enumerate(self.slide.truth):
            first, last = np.array(cell.box_rc[:2]) - corners, np.array(cell.box_rc[2:]) - corners
            inside = (first >= margin_px) & (last <= size - 1 - margin_px)
            counts[index] = int(inside.all(1).sum())
        return counts

    def _wait_for_turn(self) -> float:
        """Sleep until the next frame is due, and say when that was. A late reader shifts the pace."""
        if self._fps is None:
            return self._next / NOMINAL_FPS
        now = self._clock()
        self._closed.wait(min(max(self._due_s - now, 0.0), LONGEST_WAIT_S))
        captured_at_s = self._clock()
        self._due_s = max(self._due_s, captured_at_s - 1.0 / self._fps) + 1.0 / self._fps
        return captured_at_s


def _check_path(path: Track, slide_shape: tuple[int, ...], frame_shape: tuple[int, int]) -> None:
    span = np.array(slide_shape[:2]) - np.array(frame_shape)
    if path.ndim != 2 or path.shape[1] != 2:
        raise UsageError(f"a path of shape {path.shape} has no two columns; give (N, 2) row, col")
    if len(path) and (path.min() < 0 or (path > span).any()):
        raise UsageError(
            f"the path reaches row {path[:, 0].max():.0f}, col {path[:, 1].max():.0f}; a window of "
            f"{frame_shape[1]}x{frame_shape[0]} px must stay within 0..{span[0]}, 0..{span[1]}"
        )
