"""Watches whether a session's colours can be those of a stained slide, and says so at the first frames."""

import logging
from collections.abc import Callable
from typing import Final

import cv2

from fnrbc_device.records import BadFrame, Frame, Rejection
from fnrbc_device.vision.colours import ColourFault, Colours, colours_of, fault_of

FIRST_LOOKS: Final = 3
"""Frames with nuclei before anything is said, where there are so many."""
MOST_LOOKS: Final = 60
"""Frames with nuclei that are judged at most, 0.5 ms each."""
UNMEASURED: Final[frozenset[Rejection]] = frozenset(("repeated", "too_dark", "too_bright"))

_CAUSES: Final[dict[ColourFault, str]] = {
    "camera_without_colours": "the frames have no colours: the camera is a grey one or set to grey; nuclei and red "
    "cells cannot be told apart as the network was taught, use a colour camera",
    "red_and_blue_exchanged": "nuclei lack blue light where every stain takes red: red and blue are exchanged, likely "
    "by the program that saved the frames or the camera's pixel format (BGR for RGB)",
    "colour_cast": "empty glass is far from white ({glass}): the camera's white balance is off or a filter is in the "
    "light; balance it on empty glass",
}

_log = logging.getLogger(__name__)


class ColourWatch:
    """Judges the frames of one session by their majority.

    Parameters
    ----------
    setting
        Where a person says that red and blue are exchanged.
    warn
        Called with the doubt as soon as there is one.
    """

    def __init__(self, setting: str, warn: Callable[[str], None] = lambda words: None) -> None:
        self._setting = setting
        self._warn = warn
        self._warned = False
        self._seen: list[Colours] = []
        self.fault: ColourFault | None = None
        """What is wrong by the frames so far; None while nothing is, or too few were seen."""

    def see(self, frame: Frame | BadFrame, reason: Rejection | None) -> None:
        """Judge the next frame; ``reason`` is why it was not used, None if it was."""
        if isinstance(frame, BadFrame) or reason in UNMEASURED or len(self._seen) >= MOST_LOOKS:
            return
        try:
            colours = colours_of(frame.image)
        except (cv2.error, ArithmeticError, ValueError, IndexError) as error:
            # A doubt may fail; the session that it is about must not.
            _log.warning("frame %d tells no colours: %s", frame.index, error)
            return
        if colours is not None:
            self._seen.append(colours)
            if len(self._seen) >= FIRST_LOOKS:
                self._judge()

    def finish(self) -> None:
        """Judge by what there was: a session of few frames has no more."""
        self._judge()

    def _judge(self) -> None:
        self.fault = fault_of(self._seen)
        if self.fault is not None and not self._warned:
            self._warned = True
            self._warn(self.doubt)

    @property
    def doubt(self) -> str:
        """One sentence where the colours cannot be right, with the likely cause and the cure, else nothing."""
        if self.fault is None:
            return ""
        glass = "red {:.0f}, green {:.0f}, blue {:.0f}".format(*self._seen[-1].glass_rgb)
        cure = f"; set {self._setting}" if self.fault == "red_and_blue_exchanged" else ""
        return f"the colours cannot be right, the count is provisional: {_CAUSES[self.fault].format(glass=glass)}{cure}"
