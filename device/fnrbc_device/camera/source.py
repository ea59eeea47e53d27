"""What the appliance asks of a source of frames, whatever stands behind it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fnrbc_device.camera.stated_pixel_size import StatedPixelSize
from fnrbc_device.records import BadFrame, Frame, LeftOut


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without good pictures."""

    reason: str
    """From the closed list of health reasons."""
    seconds: float
    after_frame: int
    """-1 before the first."""
    reopened: int
    """How often the camera was opened again meanwhile."""


class FrameSource(Protocol):
    """Delivers frames in order. Used by one thread."""

    name: str
    """For people: the camera's model and serial number, the folder, the simulation's seed."""
    pixel_size_um: float | None
    """Size of a pixel on the slide; None where the source cannot know it."""

    def read(self) -> Frame | BadFrame | None:
        """Next frame; a frame that is owed but broken; None at the end of the source.

        A live source paces itself here. It blocks at most 2 s, but for one under watch: that waits for its camera to
        come back, names its trouble meanwhile, and ends with ``close``.
        """

    def close(self) -> None:
        """Release the camera or the files. Safe to call twice."""


@runtime_checkable
class Rereadable(Protocol):
    """A source whose frames can be had again: a recording, or a simulation."""

    waits: bool
    """Its frames wait for the reader, so none need be dropped."""

    def skip_to(self, index: int) -> None:
        """Make the frame of that index the next one. Only before the first ``read``, or forward."""


@runtime_checkable
class Recording(Protocol):
    """A source that lies on a disk, as a folder or a file."""

    frames: int | None
    """How many frames there will be; None where the file does not say."""
    left_out: tuple[LeftOut, ...]
    """What lies beside the frames and looks like something to count."""
    notes: tuple[str, ...]
    """What a person should know of how they are read."""
    stated: StatedPixelSize | None
    """What the files say of their pixels' size."""


@runtime_checkable
class Watched(Protocol):
    """A live camera that says how it is."""

    trouble: str
    """The health reason that is true now; empty while all is well."""

    @property
    def exposure_ms(self) -> float | None:
        """Exposure as read back from the camera, ms; None where it does not say."""

    def take_gaps(self) -> list[Gap]:
        """Times without good pictures that are over and were not taken yet. From any thread."""
