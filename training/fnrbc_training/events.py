"""Curves of a training, for TensorBoard to draw.

Written by tensorboardX's own writer, but without its thread and its queue: an epoch has three figures, and a disk
that is full has to stop the training with a sentence, not a thread with a traceback.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fnrbc_device.errors import FnrbcError, UsageError


class Curves(Protocol):
    """Where a training's figures go."""

    def add(self, figures: Mapping[str, float], epoch: int) -> None:
        """Take one epoch's figures by name."""
        ...


class EventFile:
    """One TensorBoard event file; a training that goes on adds another one to the folder.

    Parameters
    ----------
    folder
        Made where it is missing.

    Raises
    ------
    UsageError
        tensorboardX is not installed.
    FnrbcError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX.event_file_writer import EventsWriter
        except ImportError:
            raise UsageError("event files need the package tensorboardX; pip install 'fnrbc[training]'") from None
        self._folder = folder
        with self._said():
            folder.mkdir(parents=True, exist_ok=True)
            # Numbered: two that begin in one second would have one name.
            self._file = EventsWriter(str(folder / "events"), f".{len(list(folder.iterdir()))}")

    def add(self, figures: Mapping[str, float], epoch: int) -> None:
        """Write one epoch's figures, and see them on disk."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        with self._said():
            for name, value in figures.items():
                self._file.write_event(Event(step=epoch, summary=scalar(name, value)))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with self._said():
            self._file.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise FnrbcError(
                f"events in {self._folder} cannot be written ({error}); free some space or leave --events out, "
                "and run fit again, it goes on where it was"
            ) from error
