"""What an analyser has learned, as one file: so that a session that was cut off can go on where it stopped.

Only working memory: the record is the journal. A checkpoint that is missing, damaged, changed or of another layout is
left aside, and what it held is learned again. It is a plain ``.npz``: arrays of numbers, and a head of JSON among them.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import fnrbc_device
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.daemon.codecs import Room, UnfitError, Whole, require_names
from fnrbc_device.daemon.snapshot import fill_analyser, pack_analyser
from fnrbc_device.host import npz
from fnrbc_device.host.atomic_file import make_private

FORMAT: Final = "fnrbc snapshot 1"
"""Raised when a value of the same name comes to mean something else."""

MOST_BYTES: Final = 512 * 2**20
"""Of a checkpoint. Of 100,000 cells, which no slide holds, it takes 30 MB."""

HEAD: Final = "head"
_NAMES: Final = ("format", "software", "frame", "analyser")

Keyframes = Mapping[int, NDArray[np.uint8]]

_log = logging.getLogger(__name__)


class CheckpointFile:
    """The checkpoint of one session.

    Parameters
    ----------
    folder
        The device's state folder.
    session
        Name of the session.
    """

    def __init__(self, folder: Path, session: str) -> None:
        self._path = folder / f"{session}.checkpoint"

    def write(self, analyser: Analyser, frame: int) -> None:
        """Put the state after a frame in place of the one before.

        Not brought to the disk at once: that would hold the counting for longer than all the rest, and what a loss of
        power takes of it is made up for from the journal.

        Raises
        ------
        OSError
            The disk refuses.
        """
        content = snapshot(analyser, frame)
        part = self._path.with_suffix(".part")
        try:
            make_private(part)
            part.write_bytes(content)
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def read(self, fresh: Callable[[], Analyser], keyframes: Keyframes) -> tuple[Analyser, int] | None:
        """Read the analyser and the frame it had come to; None where there is none that can be used.

        Parameters
        ----------
        fresh
            Makes an analyser that has seen nothing.
        keyframes
            Pictures that registration holds on to and the journal keeps, by the number of the keyframe.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            return restored(content, fresh, keyframes)
        except FileNotFoundError:
            return None
        # Whatever a file can do to the one who reads it, it only costs what can be learned again.
        except (OSError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
            _log.warning("the checkpoint %s is left aside: %s", self._path.name, error)
            return None

    def remove(self) -> None:
        """Remove it: the session is over."""
        self._path.unlink(missing_ok=True)


def snapshot(analyser: Analyser, frame: int) -> bytes:
    """Write what an analyser has learned up to a frame."""
    room = Room()
    head = {
        "format": FORMAT,
        "software": fnrbc_device.__version__,
        "frame": frame,
        "analyser": pack_analyser(analyser, room),
    }
    return npz.packed({HEAD: np.frombuffer(json.dumps(head).encode(), np.uint8), **room.arrays})


def restored(content: bytes, fresh: Callable[[], Analyser], keyframes: Keyframes) -> tuple[Analyser, int]:
    """Make the analyser again, and say the frame it had come to.

    Raises
    ------
    ValueError
        It is no snapshot, of another layout, or says what cannot be.
    """
    arrays = npz.unpacked(content, MOST_BYTES)
    head = _head(arrays.pop(HEAD, None))
    room = Room(arrays, keyframes)
    analyser = fresh()
    fill_analyser(analyser, head["analyser"], room)
    return analyser, Whole(least=-1).unpack(head["frame"], room, "frame")


def _head(array: NDArray[Any] | None) -> dict[str, Any]:
    head = None if array is None or array.dtype != np.uint8 else json.loads(array.tobytes())
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UnfitError(f"it is not of the format {FORMAT!r}")
    require_names(head, dict.fromkeys(_NAMES), "head")
    return head
