"""``fnrbc count`` of a slide file: tile by tile, here or by others, to the same files as any other count."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.camera.stated_pixel_size import StatedPixelSize
from fnrbc_device.commands.counted import Counted, Progress, summary_of
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.model.error_counts import shipped_errors
from fnrbc_device.records import CountEvent, ErrorCounts, LeftOut, SessionKind, Step
from fnrbc_device.reporting.gallery import Gallery
from fnrbc_device.reporting.poses_csv import Poses
from fnrbc_device.slides.assembling import Assembly
from fnrbc_device.slides.job import RegionCount, RegionCounter, SlideJob, prepare
from fnrbc_device.slides.looking import TileCount
from fnrbc_device.texts import rejection

MOST_NAMED: Final = 200
"""Places that were not seen, named one by one; more of them are one line."""

SawStep = Callable[[Step, Assembly], None]
SawEnd = Callable[[list[CountEvent], Assembly], None]


@dataclass(frozen=True, slots=True)
class SlideAccount:
    """What of a slide is not in the count, and how it was read."""

    left_out: tuple[LeftOut, ...]
    share: float
    """Of the ground that holds something, 0..1."""
    notes: tuple[str, ...]
    stated: StatedPixelSize | None


def count_slide(path: Path, bundle: Bundle, pixel_size_um: float | None = None) -> Counted:
    """Count a slide file here, as ``prepare`` and ``count_job`` do.

    Raises
    ------
    UsageError
        Nobody knows the pixel size, or file and person contradict each other.
    SourceError
        The file is damaged, incomplete, or no slide that is read.
    """
    return count_job(prepare(path, pixel_size_um), bundle)


def count_job(
    job: SlideJob,
    bundle: Bundle,
    *,
    progress: Progress = lambda done: None,
    start_s: float | None = None,
    errors: Sequence[ErrorCounts] = (),
    kind: SessionKind = "sample",
    allow_left_out: float = 0.0,
    saw: SawStep = lambda step, assembly: None,
    ended: SawEnd = lambda events, assembly: None,
) -> Counted:
    """Count a slide that is prepared, in this process; the arguments are those of ``count`` and ``counted_of``."""
    with RegionCounter(job, bundle) as counter:
        regions = (
            RegionCount(number, _told(counter, number, progress), counter.seeing) for number in range(job.regions)
        )
        return counted_of(
            job, bundle, regions, start_s=start_s, errors=errors, kind=kind, allow_left_out=allow_left_out,
            saw=saw, ended=ended,
        )  # fmt: skip


def _told(counter: RegionCounter, region: int, progress: Progress) -> tuple[TileCount, ...]:
    """A region's tiles, each told as soon as it is done."""
    counts = []
    for count in counter.tiles(region):
        counts.append(count)
        progress(count.tile.place + 1)
    return tuple(counts)


def counted_of(
    job: SlideJob,
    bundle: Bundle,
    regions: Iterable[RegionCount],
    *,
    start_s: float | None = None,
    errors: Sequence[ErrorCounts] = (),
    kind: SessionKind = "sample",
    allow_left_out: float = 0.0,
    saw: SawStep = lambda step, assembly: None,
    ended: SawEnd = lambda events, assembly: None,
) -> Counted:
    """Make one count of a slide's regions; all but ``seconds`` and ``fps`` is the same whoever counted them.

    Parameters
    ----------
    regions
        In their order.
    start_s
        When the work began, by ``time.perf_counter``; None for now.
    saw, ended
        Called with each step, and with what the end counted: for who records them.

    Raises
    ------
    ValueError
        A region is not the next one, or some are missing.
    """
    start_s = time.perf_counter() if start_s is None else start_s
    assembly, poses, gallery = Assembly(job, bundle), Poses(), Gallery(bundle.manifest.threshold)
    rejected: list[Step] = []
    came = 0
    for region in regions:
        came += 1
        for step in assembly.enter(region):
            poses.add(step)
            gallery.see(step.events, assembly.pictures)
            rejected += [step] if step.reason is not None and step.reason != "unreadable" else []
            saw(step, assembly)
    if came != job.regions:
        raise ValueError(f"{came} regions came, the slide has {job.regions}; give them all")
    events = assembly.finish()
    gallery.see(events, assembly.pictures)
    ended(events, assembly)
    scale = ScaleWatch()
    scale.estimate = job.learned.estimate
    assembly.border.note("pixel_size_out_of_domain", holds=bool(scale.doubt(job.pixel_um, "the pixel size")))
    assembly.border.note("colours_impossible", holds=job.learned.colour_fault is not None)
    account = _account(job, assembly, rejected)
    known = errors or shipped_errors(bundle.manifest)
    seconds = time.perf_counter() - start_s
    summary = summary_of(assembly, known, scale, account, bundle, seconds, kind, allow_left_out)
    summary["slide"] = _about(job)
    cells = list(assembly.cells())
    return Counted(summary, cells, poses.rows(), assembly, scale, gallery, account, outline=assembly.outline)


def _about(job: SlideJob) -> dict[str, object]:
    """What ``summary.json`` says of the file beside what it says of any count."""
    about = job.about
    return {
        "format": about.kind,
        "rows_px": about.shape[0],
        "cols_px": about.shape[1],
        "objective": about.objective or None,
        "tile_px": job.plan.tile_px,
        "tiles": job.tiles,
        "empty_glass_share": round(job.plan.empty_share, 4),
        "glass_rgb": [round(level, 1) for level in job.learned.glass_rgb],
    }


def _account(job: SlideJob, assembly: Assembly, rejected: Sequence[Step]) -> SlideAccount:
    um2 = job.pixel_um**2
    looked_px = sum(tile.own.height * tile.own.width for tile in job.plan.tiles)
    owns = {tile.number: tile.own for tile in job.plan.tiles}
    lost = [
        LeftOut(f"{job.name} at {hole}", "unreadable", f"{job.name}: {hole} cannot be read, and was not seen")
        for hole in assembly.holes
    ]
    for step in rejected:
        own, reason = owns[step.frame.index], step.reason or "failed"
        words = rejection(reason).words
        detail = f"{job.name}: {own} is {words}; its cells were not counted"
        lost.append(LeftOut(f"{job.name} at {own}", "failed", detail))
    lost_px = sum(hole.height * hole.width for hole in assembly.holes)
    lost_px += sum(owns[step.frame.index].height * owns[step.frame.index].width for step in rejected)
    if len(lost) > MOST_NAMED:
        more = len(lost) - MOST_NAMED
        lost = [*lost[:MOST_NAMED], LeftOut("more", lost[MOST_NAMED].reason, f"and {more} more places", more)]
    return SlideAccount(tuple(lost), lost_px / looked_px if looked_px else 0.0, _notes(job, um2), job.stated)


def _notes(job: SlideJob, um2: float) -> tuple[str, ...]:
    about, plan = job.about, job.plan
    scanned = f", scanned at {about.objective}" if about.objective else ""
    glass = f"{plan.empty_share:.0%} of it ({plan.empty_px * um2 * 1e-6:.2f} mm2) is empty glass and was passed over"
    single = "" if len(about.levels) > 1 else "; it holds no coarser level, so every tile of it was read"
    notes = [
        f"a slide of {about.shape[1]}x{about.shape[0]} px ({about.kind}{scanned}): {glass}{single}",
        "its places are exact: each cell has one view, and none is registered",
    ]
    return (*notes, job.learned.colour_doubt) if job.learned.colour_fault else tuple(notes)
