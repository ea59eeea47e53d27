"""Whatever ``fnrbc count`` is given, counted: a slide file tile by tile, anything else frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fnrbc_device.camera.pixel_size import require_known_pixel_size
from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.stage_places import place_by_stage
from fnrbc_device.commands.count import count
from fnrbc_device.commands.count_slide import count_job
from fnrbc_device.commands.counted import Counted, Progress, compared
from fnrbc_device.commands.counted_files import require_apart
from fnrbc_device.errors import UsageError
from fnrbc_device.inference.centre_network import require_network
from fnrbc_device.inference.proof_apart import prove_apart
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.records import SeeingMethod, SessionKind
from fnrbc_device.reporting.difference import read_earlier
from fnrbc_device.slides.job import SlideJob, prepare
from fnrbc_device.slides.opening import is_slide
from fnrbc_device.vision.pixelsize import require_pixel_size

# The configuration is heavy, and a count into the record alone needs it.
if TYPE_CHECKING:
    from fnrbc_device.config import Config

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to have counted, and how."""

    source: Path
    out: Path
    bundle: Path | None
    pixel_size_um: float | None
    compare: Path | None
    kind: SessionKind
    allow_left_out: float
    exchange_red_blue: bool
    method: SeeingMethod
    stage_axes: str = ""
    """How a motorised stage's axes lie in the picture, where somebody states it."""
    specimen: str = ""
    """As written on the slide; with ``device`` alone."""
    everything: bool = False
    """Whether each frame is looked at, not only those that show something new."""


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """What came of it."""

    counted: Counted
    name: str
    """Of the source, for people."""
    bundle: Bundle
    pixel_um: float


def count_source(
    asked: Asked, progress_of: Callable[[int | None], Progress], note: Tell, warn: Tell, device: "Config | None" = None
) -> Done:
    """Count it.

    Parameters
    ----------
    asked
        What and how.
    progress_of
        Makes what is called with the frames or tiles done, from how many there are.
    note, warn
        Called with what a person should know of how frames are read, and with what makes the count doubtful.
    device
        Whose record the count goes into; None for no record.

    Raises
    ------
    FnrbcError
        In one sentence.
    """
    if asked.pixel_size_um is not None:
        require_pixel_size(asked.pixel_size_um)
    if asked.compare is not None:
        require_apart(asked.out, asked.compare)
    if is_slide(asked.source):
        return _slide(asked, progress_of, device)
    return _frames(asked, progress_of, note, warn, device)


def _slide(asked: Asked, progress_of: Callable[[int | None], Progress], device: "Config | None") -> Done:
    job = prepare(asked.source, asked.pixel_size_um, asked.method, exchange_red_blue=asked.exchange_red_blue)
    earlier = read_earlier(asked.compare, job.tiles) if asked.compare is not None else None
    bundle = _bundle(asked, device)
    counted = _counted_slide(asked, job, bundle, progress_of(job.tiles), device)
    return Done(compared(counted, earlier) if earlier else counted, str(asked.source), bundle, job.pixel_um)


def _counted_slide(asked: Asked, job: SlideJob, bundle: Bundle, progress: Progress, device: "Config | None") -> Counted:
    if device is None:
        return count_job(job, bundle, progress=progress, kind=asked.kind, allow_left_out=asked.allow_left_out)
    from fnrbc_device.commands.record_slide import count_into_record

    return count_into_record(
        device, job, bundle, kind=asked.kind, specimen=asked.specimen, progress=progress,
        allow_left_out=asked.allow_left_out,
    )  # fmt: skip


def _frames(
    asked: Asked,
    progress_of: Callable[[int | None], Progress],
    note: Tell,
    warn: Tell,
    device: "Config | None",
) -> Done:
    if device is not None:
        raise UsageError("--record takes slide files; frames are counted into the record by fnrbc run, as a replay")
    frames = open_source(asked.source, asked.pixel_size_um, exchange_red_blue=asked.exchange_red_blue)
    pixel_um = require_known_pixel_size(asked.pixel_size_um, frames)
    place_by_stage(frames, pixel_um, asked.stage_axes)
    earlier = read_earlier(asked.compare, frames.frames) if asked.compare is not None else None
    bundle = _bundle(asked, None)
    for words in frames.notes:
        note(words)
    counted = count(
        frames, bundle, pixel_um, still=frames.frames == 1, progress=progress_of(frames.frames), kind=asked.kind,
        method=asked.method, everything=asked.everything, allow_left_out=asked.allow_left_out, warn=warn,
    )  # fmt: skip
    return Done(compared(counted, earlier) if earlier else counted, frames.name, bundle, pixel_um)


def _bundle(asked: Asked, device: "Config | None") -> Bundle:
    """The one that was asked for, else the one in use on the device, else the shipped one."""
    if asked.bundle is None and device is not None:
        from fnrbc_device.daemon.active_bundle import bundle_for

        bundle = load_bundle(bundle_for(device), device.bundle_key)
    else:
        bundle = load_bundle(asked.bundle)
    require_network(bundle, asked.method)
    if asked.bundle is not None:
        prove_apart(bundle)
    return bundle
