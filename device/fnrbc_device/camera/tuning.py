"""What is set on a camera before it starts: every automatic mode is off, since it would move the threshold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings of any camera; what one does not have it leaves out."""

    fps: float = 30.0
    width_px: int | None = None
    height_px: int | None = None
    """None for what the camera has."""
    exposure_us: float | None = None
    """None to leave what is set, automatics off. 100 us or less keep a hand's motion below a pixel."""
    gain: float | None = None
    """In the camera's own unit."""
