"""Compares the pixel size that a person stated with the one estimated from the red cells of the session.

The estimate is offered, in a refusal or a warning; nothing is ever counted with it unless a person states it.
"""

import logging
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import Final

import cv2

from fnrbc_device.camera.source import FrameSource, Recording
from fnrbc_device.camera.stated_pixel_size import CONTRADICTION
from fnrbc_device.errors import FnrbcError, SourceError, UsageError
from fnrbc_device.records import BadFrame, Frame, Rejection
from fnrbc_device.vision.pixelsize import PixelSizeEstimate, RedCellRuler, require_pixel_size

STRIDE_FRAMES: Final = 10
"""Frames from the first look to the second; each later gap is one stride longer. A moving hand brings a new field into
view in about so many, and a session on empty glass costs ever less."""

SUGGESTION_FRAMES: Final = 160
"""Frames read for a suggestion: six looks."""

SUGGESTION_S: Final = 10.0
"""Longest wait for a suggestion: a live camera gives that many frames in half the time."""

UNMEASURED: Final[frozenset[Rejection]] = frozenset(("repeated", "too_dark", "too_bright", "blurred", "too_fast"))
"""Frames rejected for these show no outlines worth measuring; one that only could not be placed does."""


_log = logging.getLogger(__name__)


class ScaleWatch:
    """Measures red cells on a few frames of a session, ever more rarely, until it has enough.

    A look takes 20 ms and more, so it goes on a step with each frame: no frame has to wait for the whole of it.
    """

    def __init__(self) -> None:
        self._ruler = RedCellRuler()
        self._steps: Iterator[None] | None = None
        """What is left of a look that was begun."""
        self._looks = 0
        self._next = 0
        self.estimate: PixelSizeEstimate | None = None
        """None while too few red cells were seen."""

    def see(self, frame: Frame | BadFrame, reason: Rejection | None) -> None:
        """Begin to measure the frame if it is its turn, or go on with the one that was begun.

        Parameters
        ----------
        frame
            Of one session, in order.
        reason
            Why it was not used; None if it was.
        """
        if self._steps is None:
            if isinstance(frame, BadFrame) or reason in UNMEASURED or frame.index < self._next or self._ruler.done:
                return
            self._looks += 1
            self._next = frame.index + STRIDE_FRAMES * self._looks
            self._steps = self._ruler.looking(frame.image)
        self._go_on()

    def finish(self) -> None:
        """Measure what was begun to the end: no frame comes after, or none that is in a hurry."""
        while self._steps is not None:
            self._go_on()

    def _go_on(self) -> None:
        assert self._steps is not None
        try:
            next(self._steps)
            return
        except StopIteration:
            pass
        except (cv2.error, ArithmeticError, ValueError, IndexError) as error:
            # An offer may fail; the session that it is made to must not.
            _log.warning("a frame tells no pixel size: %s", error)
        self._steps = None
        self.estimate = self._ruler.estimate()

    def doubt(self, pixel_size_um: float, setting: str) -> str:
        """One sentence where a pixel size lies outside of what the red cells allow, else nothing.

        Parameters
        ----------
        pixel_size_um
            What is counted with.
        setting
            Where a person states it.
        """
        if self.estimate is None or self.estimate.agrees_with(pixel_size_um):
            return ""
        return (
            f"{setting} is {pixel_size_um:g} um, but red cells suggest {self.estimate}; unless these red cells are "
            f"unusually small or large, check objective and binning and state {self.estimate.value_um:.3g}"
        )


def require_known_pixel_size(
    asked: float | None,
    source: FrameSource,
    setting: str = "--pixel-size-um",
    refusal: type[FnrbcError] = UsageError,
) -> float:
    """The pixel size that was asked for, or the one that the source knows or its files state.

    Parameters
    ----------
    asked
        um, or None.
    source
        Read and closed only where nobody knows: the refusal then says what its red cells suggest.
    setting
        Where a person states it.
    refusal
        Raised where nobody knows, or two who do contradict each other.

    Raises
    ------
    FnrbcError
        ``refusal``: nobody knows the pixel size, or files state another than was asked for.
    UsageError
        It cannot be that of a microscope on cells.
    """
    known = asked if asked is not None else source.pixel_size_um
    if known is None:
        raise refusal(
            f"nothing tells the size of a pixel on the slide; give {setting}, "
            f"the camera's pixel over the magnification (3.45 um / 40 = 0.086){_suggestion(source, setting)}"
        )
    require_pixel_size(known)
    stated = source.stated if isinstance(source, Recording) else None
    if asked is not None and stated is not None and stated.contradicts(asked):
        source.close()
        raise refusal(
            f"{setting} is {asked:g} um, but the files say {stated}, more than {CONTRADICTION:.0%} apart; leave out "
            f"{setting} if the files are right, else save them again without it"
        )
    return known


def _suggestion(source: FrameSource, setting: str) -> str:
    """What the source's first frames suggest, as the end of a sentence; nothing where they suggest nothing."""
    watch = ScaleWatch()
    give_up_s = monotonic() + SUGGESTION_S
    try:
        with closing(source):
            for _ in range(SUGGESTION_FRAMES):
                frame = source.read()
                if frame is None or monotonic() > give_up_s:
                    break
                watch.see(frame, None)
                watch.finish()
    except SourceError:
        return ""
    if watch.estimate is None:
        return ""
    return f"; red cells suggest {watch.estimate}: give {setting} {watch.estimate.value_um:.3g} only if that fits"
