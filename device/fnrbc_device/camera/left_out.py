"""Keeps account of what was given to be counted and is not in the count."""

from fnrbc_device.camera.source import FrameSource, Recording
from fnrbc_device.records import BadFrame, LeftOut, LeftOutReason, Step


class Account:
    """What of a source came into the count, and what did not.

    Frames that were rejected for what they show (blurred, too dark, panned too fast) are in the count as such; left out
    are those that could not be looked at.

    Parameters
    ----------
    source
        To be read; one that is no recording leaves out nothing by itself.
    """

    def __init__(self, source: FrameSource) -> None:
        recording = source if isinstance(source, Recording) else None
        self._beside = list(recording.left_out) if recording else []
        self._lost: list[LeftOut] = []
        self._frames = 0
        self._expected = (recording.frames if recording else None) or 0
        self.notes = recording.notes if recording else ()
        """What a person should know of how the source is read."""
        self.stated = recording.stated if recording else None
        """What its files say of the pixel size."""

    @property
    def left_out(self) -> list[LeftOut]:
        """What lies beside the frames, by name, then the frames that were lost, in their order."""
        return [*self._beside, *self._lost]

    @property
    def share(self) -> float:
        """Share of the pictures given that is not in the count, 0..1."""
        # A container may name a frame or two more than it shows; only where it breaks off are those lost.
        missing = max(self._expected - self._frames, 0) if self._lost else 0
        beside = sum(one.pictures for one in self._beside)
        given = self._frames + missing + beside
        return (beside + len(self._lost) + missing) / given if given else 0.0

    def see(self, step: Step) -> None:
        """Take in a frame and what became of it."""
        self._frames += 1
        frame = step.frame
        if isinstance(frame, BadFrame):
            reason: LeftOutReason = "wrong_size" if frame.reason == "wrong_size" else "unreadable"
            self._lost.append(LeftOut(frame.name, reason, frame.detail))
        elif step.reason == "failed":
            name = frame.name or f"frame {frame.index}"
            self._lost.append(LeftOut(name, "failed", f"{name} could not be analysed; the log says why"))
