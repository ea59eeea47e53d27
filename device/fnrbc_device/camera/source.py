"""What the appliance asks of a source of frames, whatever stands behind it."""

from typing import Protocol

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
