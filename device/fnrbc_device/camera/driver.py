"""What the appliance asks of a camera's driver: open it, take pictures, close it. Watching it is another's."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fnrbc_device.records import Image


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture as a driver delivers it."""

    image: Image
    """(H, W, 3) RGB, read-only; empty where it has a fault."""
    captured_at_s: float
    """Monotonic clock."""
    number: int | None = None
    """The camera's own count, without the wrap of its counter; None where it does not count."""
    fault: str = ""
    """What is wrong with it, in one sentence: packets that were lost on the way."""


class Driver(Protocol):
    """An open camera. Used by one thread; any call may hang, which the watch survives."""

    name: str
    """Model and serial number, as the camera says."""
    settings: dict[str, str]
    """Exposure (``exposure_us``), gain, white balance and rate as read back; what a camera does not have is missing."""

    def grab(self, timeout_s: float) -> Picture | None:
        """Newest picture; None if none came in time.

        Raises
        ------
        SourceError
            The camera is gone.
        """

    def close(self) -> None:
        """Let go of the camera."""


OpenDriver = Callable[[], Driver]
"""Opens the same camera each time, by an id that outlives unplugging. Raises ``SourceError`` where it is not there."""


class ExchangedDriver:
    """Another driver, whose camera gives blue for red."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.name = driver.name
        self.settings = driver.settings

    def grab(self, timeout_s: float) -> Picture | None:
        """Newest picture in its right colours; None if none came in time. Raises as the other does."""
        picture = self._driver.grab(timeout_s)
        return picture and replace(picture, image=with_red_for_blue(picture.image))

    def close(self) -> None:
        """Let go of the camera."""
        self._driver.close()


def with_red_for_blue(image: Image) -> Image:
    """Exchange red and blue; (H, W, 3) in and out, read-only."""
    exchanged = np.ascontiguousarray(image[..., ::-1])
    exchanged.setflags(write=False)
    return exchanged
