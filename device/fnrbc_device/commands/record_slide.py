"""Puts a slide's count into the device's record, where it is reviewed and signed as any other session."""

import getpass
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

import fnrbc_device
from fnrbc_device.commands.count_slide import count_job
from fnrbc_device.commands.counted import Counted, Progress
from fnrbc_device.commands.on_record import require_owner
from fnrbc_device.daemon.active_bundle import errors_for
from fnrbc_device.daemon.recorder import Recorder
from fnrbc_device.errors import CommandError, UsageError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.journal.schema import JOURNAL_NAME
from fnrbc_device.journal.specimen import MAX_SPECIMEN, written
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import CountEvent, ErrorCounts, Pose, SessionKind, SessionMeta, Step
from fnrbc_device.slides.assembling import Assembly
from fnrbc_device.slides.job import SlideJob
from fnrbc_device.vision.keyframes import Keyframe

# The configuration is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config

COMMAND: Final = "fnrbc count --record"


class SlideRecord:
    """Writes one slide's steps down as they are made. Used by one thread."""

    def __init__(self, journal: Journal, session: str, job: SlideJob) -> None:
        self.session = session
        """Its name in the record."""
        self._journal = journal
        self._job = job
        self._events: list[CountEvent] = []
        self._last: Kept | None = None
        self._plates = [_ground(job)]

    def saw(self, step: Step, assembly: Assembly) -> None:
        """Record what a tile changed."""
        self._journal.record(step, self._kept(assembly))
        self._plates = []

    def ended(self, events: list[CountEvent], assembly: Assembly) -> None:
        """Note what the end counted."""
        self._events, self._last = events, self._kept(assembly)

    def close(self, counted: Counted) -> None:
        """Close the session: from now on it is reviewed."""
        tally, reasons = counted.analyser.tally(), counted.analyser.border.reasons
        if reasons:
            self._journal.note("provisional", {"reasons": list(reasons)})
        lost = counted.summary["left_out"]
        ending = f"{len(lost)} places of the slide were not seen, the first: {lost[0]['detail']}" if lost else ""
        self._journal.end(
            SystemClock().utc(), tally, counted.summary["complete"], self._events, ending, self._last or Kept()
        )

    def break_off(self, words: str) -> None:
        """End a session that could not be counted to its end, with what is recorded of it."""
        self._journal.end(SystemClock().utc(), self._journal.tally(self.session), False, (), words)

    def _kept(self, assembly: Assembly) -> Kept:
        side = self._job.plan.tile_px
        return Kept(assembly.pictures, self._plates, (side, side))


def count_into_record(
    config: "Config",
    job: SlideJob,
    bundle: Bundle,
    *,
    kind: SessionKind,
    specimen: str = "",
    progress: Progress = lambda done: None,
    allow_left_out: float = 0.0,
) -> Counted:
    """Count a slide as a session of the device.

    Parameters
    ----------
    config
        Of the device: where its record lies, and what its network is known by here.
    job, bundle, kind, progress, allow_left_out
        As in ``count_job``.
    specimen
        As it is written on the slide; may be empty.

    Raises
    ------
    UsageError
        The daemon, or another, works in the record, or the record is somebody else's.
    JournalError
        It cannot be written.
    """
    folder, clock, errors = config.state_dir, SystemClock(), errors_for(config, bundle)
    require_owner(folder, COMMAND)
    meta = _meta(job, bundle, kind, specimen, errors)
    with hold_state_folder(folder, COMMAND), Journal.open(folder / JOURNAL_NAME, config.mqtt.device, clock) as journal:
        session, _ = Recorder(journal, folder, clock, config.record.settings()).begin_record(meta)
        record = SlideRecord(journal, session, job)
        try:
            counted = count_job(
                job, bundle, progress=progress, errors=errors, kind=kind, allow_left_out=allow_left_out,
                saw=record.saw, ended=record.ended,
            )  # fmt: skip
        except BaseException as error:
            record.break_off(f"the count was broken off: {error or type(error).__name__}")
            raise
        record.close(counted)
    return replace(counted, summary={**counted.summary, "session": session})


def _meta(
    job: SlideJob, bundle: Bundle, kind: SessionKind, specimen: str, errors: tuple[ErrorCounts, ...]
) -> SessionMeta:
    try:
        clean = written("specimen", specimen, MAX_SPECIMEN)
    except CommandError as fault:
        raise UsageError(f"--specimen: {fault}") from fault
    return SessionMeta(
        software=f"fnrbc {fnrbc_device.__version__}",
        bundle=bundle.id,
        source=f"slide {job.name}",
        pixel_size_um=job.pixel_um,
        operator=getpass.getuser(),
        specimen=clean,
        objective=job.about.objective,
        kind=kind,
        classes={entry.name: entry.role for entry in bundle.manifest.classes},
        threshold=bundle.manifest.threshold,
        errors=errors,
    )


def _ground(job: SlideJob) -> Keyframe:
    """Says to the record how large tiles are; a slide's own file keeps its pixels."""
    return Keyframe(0, 0, Pose(0, 0.0, 0.0), np.zeros((1, 1), np.uint8), float(job.plan.tile_px), job.pixel_um)
