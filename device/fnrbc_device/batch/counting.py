"""Counts one source, on whichever worker it falls to: outputs and row in a folder of their own, to the last byte."""

import logging
import os
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import fnrbc_device
from fnrbc_device.batch.fingerprint import fingerprint
from fnrbc_device.batch.rows import Basis, Row, State, seal
from fnrbc_device.batch.sharing import Part, count_part, put_together, share_out
from fnrbc_device.batch.sources import Source
from fnrbc_device.errors import FnrbcError, LeftOutError, UsageError
from fnrbc_device.host.console import readable
from fnrbc_device.host.malloc import keep_large_buffers
from fnrbc_device.language import ENGLISH

if TYPE_CHECKING:
    from fnrbc_device.commands.counted import Counted
    from fnrbc_device.model.bundle import Bundle
    from fnrbc_device.slides.job import SlideJob

_log = logging.getLogger(__name__)

LEAST_SHARED: Final = 2
"""Regions from which on a slide is shared out."""


class WorkerMismatchError(FnrbcError):
    """A worker is not like the machine that gives the orders: another fnrbc, another bundle, other files."""


class OutputError(FnrbcError):
    """Results cannot be written; every further source would be lost the same way."""


@dataclass(frozen=True, slots=True)
class Order:
    """All that a worker needs to know to count one source."""

    source: Source
    fingerprint: str
    """As the machine that gives the orders sees it."""
    bundle: Path | None
    """None for the one that is shipped."""
    basis: Basis
    work: Path
    """Where the worker makes a folder for what it writes."""
    part: Part | None = None
    """Of the slide that the source is; None for the whole source."""
    language: str = ENGLISH
    """Of the report."""
    counts: tuple[Path, Path] | None = None
    """Folders of two counts of the source, the earlier one first, where these are to be compared."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a worker says when it is done; the row says the rest."""

    state: State | Literal["other source", "shared", "part"]
    """``other source``: the worker sees other files there, and counted nothing. ``shared``: it prepared a slide for all
    to count. ``part``: it counted a part of one."""
    worker: str
    error: str = ""
    made: Path = Path()
    """The folder that was written."""
    regions: int = 0
    """Of a slide that is shared."""


def count_one(order: Order) -> Outcome:
    """Count a source and write all of it into a folder of its own.

    What is wrong with the source is an outcome; what would be wrong with every source is raised.

    Raises
    ------
    WorkerMismatchError
        This worker runs another fnrbc, or sees another bundle.
    OutputError
        The folder cannot be written.
    """
    one_thread()
    require_like(order.basis, order.bundle, worker_name())
    if fingerprint(order.source.path).digest != order.fingerprint:
        return Outcome("other source", worker_name())
    try:
        return _shared(order) or _whole(order)
    except OSError as fault:
        raise OutputError(_unwritable(order.work, fault.strerror or str(fault))) from fault


def _shared(order: Order) -> Outcome | None:
    """Do a slide's part, or prepare it for all; None where the source is to be finished here."""
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.slides.opening import is_slide

    if order.part is not None and order.part.regions:
        count_part(order.part, load_bundle(order.bundle))
        return Outcome("part", worker_name())
    if order.part is not None or not is_slide(order.source.path):
        return None
    start_s = time.perf_counter()
    try:
        job = _job_of(order)
    except FnrbcError:
        return None  # and it is said once more, where its row is written
    if job.regions < LEAST_SHARED:
        return None
    return Outcome("shared", worker_name(), made=share_out(job, order.work, start_s), regions=job.regions)


def _whole(order: Order) -> Outcome:
    # Never a folder that is there: an order may be given again while a worker that was given up is still at it.
    made = order.work / uuid.uuid4().hex
    made.mkdir()
    row = _counted(order, made)
    seal(made, row)
    return Outcome(row.state, worker_name(), row.error, made)


def require_like(basis: Basis, bundle: Path | None, worker: str) -> None:
    """Refuse to count with another fnrbc or another bundle than was asked for; ``worker`` is who refuses."""
    from fnrbc_device.model.bundle import load_bundle

    if fnrbc_device.__version__ != basis.version:
        raise WorkerMismatchError(
            f"the worker {worker} runs fnrbc {fnrbc_device.__version__}, this machine {basis.version}; install "
            "the same version on both"
        )
    found = load_bundle(bundle).id
    if found != basis.bundle:
        raise WorkerMismatchError(
            f"the worker {worker} has the bundle {found[:16]} at {bundle or 'the place of the shipped one'}, "
            f"this machine {basis.bundle[:16]}; put the same one on both"
        )


def worker_name() -> str:
    """Name this process to people: where it listens, or its number."""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return f"process {os.getpid()}"


def one_thread() -> None:
    """Workers share out the cores; each picture is worked on by one."""
    import cv2

    cv2.setNumThreads(1)
    keep_large_buffers()


def _counted(order: Order, made: Path) -> Row:
    warnings: list[str] = []
    try:
        state, error, summary = _count(order, made, warnings.append)
    except OutputError:
        raise
    except FnrbcError as fault:
        state, error, summary = "failed", str(fault), None
    except MemoryError:
        state, error, summary = "failed", "there is not enough memory for it; run fewer workers on one machine", None
    except Exception as fault:  # noqa: BLE001  whatever it is, it costs this source and no other
        _log.warning("%s: %s", order.source.path, traceback.format_exc())
        state, error, summary = "failed", f"it broke the count ({where(fault)}); keep it, and report that", None
    if state != "failed" and fingerprint(order.source.path).digest != order.fingerprint:
        state, error, summary = "failed", "its files changed while they were counted; run the batch again", None
    if state == "failed":
        _clear(made)
    return row_of(order, state, error, warnings, summary)


def row_of(
    order: Order, state: State, error: str, warnings: Sequence[str] = (), summary: dict[str, Any] | None = None
) -> Row:
    """The row of an order that came to this."""
    return Row(
        source=readable(os.fspath(order.source.path)),
        specimen=order.source.specimen,
        state=state,
        error=readable(error),
        fingerprint=order.fingerprint,
        settings=order.source.settings,
        bundle=order.basis.bundle,
        version=order.basis.version,
        warnings=tuple(map(readable, warnings)),
        summary=summary,
    )


def _count(order: Order, made: Path, warn: Callable[[str], None]) -> tuple[State, str, dict[str, Any] | None]:
    """As ``fnrbc count`` does; gives what it came to, why it is not complete where it is not, and the summary."""
    from fnrbc_device.commands.counted_files import write
    from fnrbc_device.inference.centre_network import require_network
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.slides.opening import is_slide

    bundle = load_bundle(order.bundle)
    require_network(bundle, order.source.settings.seeing)
    counted = (_of_slide if is_slide(order.source.path) else _of_frames)(order, bundle, warn)
    if doubt := counted.scale.doubt(counted.analyser.pixel_size_um, "pixel_size_um"):
        warn(doubt)
    try:
        write(counted, made, str(order.source.path), bundle, order.language)
    except UsageError as fault:
        why = fault.__cause__
        raise OutputError(_unwritable(made, getattr(why, "strerror", None) or str(fault))) from fault
    return _judged(counted.summary)


def _of_frames(order: Order, bundle: "Bundle", warn: Callable[[str], None]) -> "Counted":
    from fnrbc_device.camera.pixel_size import require_known_pixel_size
    from fnrbc_device.camera.replay import open_source
    from fnrbc_device.camera.stage_places import place_by_stage
    from fnrbc_device.commands.count import count

    asked = order.source.settings
    frames = open_source(order.source.path, asked.pixel_size_um, exchange_red_blue=asked.exchange_red_blue)
    pixel_um = require_known_pixel_size(asked.pixel_size_um, frames, "pixel_size_um")
    place_by_stage(frames, pixel_um, asked.stage_axes)
    return count(
        frames, bundle, pixel_um, still=frames.frames == 1, progress=lambda done: None, kind=asked.kind,
        method=asked.seeing, allow_left_out=asked.allow_left_out, warn=warn,
    )  # fmt: skip


def _of_slide(order: Order, bundle: "Bundle", _: Callable[[str], None]) -> "Counted":
    from fnrbc_device.commands.count_slide import count_job

    kind, allowed = order.source.settings.kind, order.source.settings.allow_left_out
    if order.part is not None:
        return put_together(order.part, bundle, kind, allowed)
    return count_job(_job_of(order), bundle, kind=kind, allow_left_out=allowed)


def _job_of(order: Order) -> "SlideJob":
    from fnrbc_device.slides.job import prepare

    asked = order.source.settings
    return prepare(order.source.path, asked.pixel_size_um, asked.seeing, exchange_red_blue=asked.exchange_red_blue)


def _judged(summary: dict[str, Any]) -> tuple[State, str, dict[str, Any] | None]:
    from fnrbc_device.commands.left_out import require_counted, still_open

    try:
        require_counted(summary)
    except LeftOutError as fault:
        return ("incomplete", str(fault), summary) if summary["frames_used"] else ("failed", str(fault), None)
    if summary["complete"]:
        return "complete", "", summary
    return "incomplete", "; ".join(still_open(summary)), summary


def _unwritable(made: Path, reason: str) -> str:
    return (
        f"the worker {worker_name()} cannot write {made} ({reason}); mend that and give the same command again: "
        "it goes on where it was"
    )


def where(fault: Exception) -> str:
    """Say what broke, and where, for whoever is told of it."""
    last = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{type(fault).__name__}: {fault}, {Path(last.filename).name} line {last.lineno}"


def _clear(folder: Path) -> None:
    """Leave nothing of a count that does not stand."""
    shutil.rmtree(folder)
    folder.mkdir()
