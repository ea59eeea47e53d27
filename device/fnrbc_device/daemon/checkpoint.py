"""What an analyser has learned, as one file: so that a session that was cut off can go on where it stopped.

Only working memory: the record is the journal. A checkpoint that is missing, damaged or of another software is left
aside, and what it held is learned again.
"""

import copyreg
import hashlib
import importlib
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import fnrbc_device
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.ledger import Cell, View
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import CountEvent, Verdict

OWN: Final = "fnrbc_device."

LIBRARIES: Final = {
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "deque"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}
"""All that a checkpoint may name beside the device's own classes: a file that somebody changed runs no code."""


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """What a checkpoint leaves out because it is kept elsewhere."""

    classifier: Classifier
    manifest: Manifest
    keyframes: Mapping[int, NDArray[np.uint8]]
    """Pictures that registration holds on to, by the number of the plate."""


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
        content = _packed(analyser)
        part = self._path.with_suffix(".part")
        try:
            part.write_bytes(_head(frame, content) + content)
            part.replace(self._path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def read(self, outside: Outside) -> tuple[Analyser, int] | None:
        """Read the analyser and the frame it had come to; None where there is none that can be used."""
        try:
            head, _, content = self._path.read_bytes().partition(b"\n")
            frame = int(head.rsplit(b" ", 1)[1])
            if head + b"\n" != _head(frame, content):
                return None
            return _unpacked(content, outside), frame
        # Whatever a file can do to the one who reads it, it only costs what can be learned again.
        except (OSError, ValueError, IndexError, KeyError, EOFError, AttributeError, TypeError, pickle.UnpicklingError):
            return None

    def remove(self) -> None:
        """Remove it: the session is over."""
        self._path.unlink(missing_ok=True)


def _head(frame: int, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    return f"fnrbc checkpoint {fnrbc_device.__version__} {digest} {frame}\n".encode()


def _packed(analyser: Analyser) -> bytes:
    room = io.BytesIO()
    _Packer(room, analyser).dump(analyser)
    return room.getvalue()


def _unpacked(content: bytes, outside: Outside) -> Analyser:
    analyser = _Unpacker(io.BytesIO(content), outside).load()
    if not isinstance(analyser, Analyser):
        raise pickle.UnpicklingError("no analyser")
    return analyser


def _as_call(kind: type[Any]) -> Callable[[Any], tuple[type[Any], tuple[Any, ...]]]:
    values = attrgetter(*(field.name for field in fields(kind)))
    return lambda record: (kind, values(record))


class _Packer(pickle.Pickler):
    """Leaves out what is kept elsewhere or made again more cheaply than written."""

    def __init__(self, file: io.BytesIO, analyser: Analyser) -> None:
        super().__init__(file, protocol=5)
        # A session has thousands of these; dataclasses' own way of packing them takes three times as long.
        self.dispatch_table = {
            **copyreg.dispatch_table,
            **{kind: _as_call(kind) for kind in (Cell, CountEvent, Verdict, View)},
        }
        self._named: dict[int, tuple[str, int]] = {
            id(analyser.classifier): ("classifier", 0),
            id(analyser.manifest): ("manifest", 0),
            id(analyser.clock): ("clock", 0),
            id(analyser.slide_map): ("map", 0),
            id(analyser.counter.pictures): ("pictures", 0),
            **{id(keyframe.grey): ("plate", keyframe.number) for keyframe in analyser.registration.keyframes},
        }

    def persistent_id(self, obj: Any) -> tuple[str, int] | None:
        return None if obj is None else self._named.get(id(obj))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, outside: Outside) -> None:
        super().__init__(file)
        self._outside = outside

    def persistent_load(self, pid: Any) -> Any:
        kind, key = pid
        if kind == "plate":
            return self._outside.keyframes[key]
        outside = self._outside
        here = {"classifier": outside.classifier, "manifest": outside.manifest, "clock": perf_counter, "map": None}
        return {} if kind == "pictures" else here[kind]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in LIBRARIES:
            return super().find_class(module, name)
        found = getattr(importlib.import_module(module), name) if module.startswith(OWN) else None
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"{module}.{name} does not belong in a checkpoint")
        return found
