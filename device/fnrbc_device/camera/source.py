"""What the appliance asks of a source of frames, whatever stands behind it."""

from typing import Protocol, runtime_checkable

from fnrbc_device.records import BadFrame, Frame


class FrameSource(Protocol):
    """Delivers frames in order. Used by one thread."""

    name: str
    """For people: the camera's model and serial number, the folder, the simulation's seed."""
    pixel_size_um: float | None
    """Size of a pixel on the slide; None where the source cannot know it."""

    def read(self) -> Frame | BadFrame | None:
        """Next frame; a frame that is owed but broken; None at the end of the source.

        Blocks at most 2 s. A live source paces itself here.
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
