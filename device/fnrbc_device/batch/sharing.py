"""A slide shared out over workers: prepared by one, its regions counted by all, put together by one.

What a region comes to depends on the slide and the region alone, so the count is the same bit for bit however many
share it. Parts lie in the batch's work folder until the slide is done; they do not outlive the batch that ordered them.
"""

import pickle
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fnrbc_device.commands.counted import Counted
    from fnrbc_device.model.bundle import Bundle
    from fnrbc_device.records import SessionKind
    from fnrbc_device.slides.job import SlideJob

PARTS_A_THREAD: Final = 4
"""Parts of a slide for each thread there is: enough that none waits long for the last one, few enough that opening the
slide and proving the networks for each costs little."""

_JOB: Final = "job"


@dataclass(frozen=True, slots=True)
class Part:
    """A run of regions of one slide; an empty one stands for putting all of them together."""

    folder: Path
    """Where the parts of this slide lie."""
    regions: range
    of: int
    """Regions of the whole slide."""


def parts_of(folder: Path, regions: int, threads: int) -> list[Part]:
    """Cut a slide into runs of regions, as equal as can be, for so many threads."""
    number = min(regions, PARTS_A_THREAD * max(threads, 1))
    ends = [regions * one // number for one in range(number + 1)]
    return [Part(folder, range(*pair), regions) for pair in pairwise(ends)]


def share_out(job: "SlideJob", work: Path, start_s: float) -> Path:
    """Lay a prepared slide where all workers find it; gives the folder of its parts."""
    folder = work / f"parts-{uuid.uuid4().hex}"
    folder.mkdir()
    _keep(folder, _JOB, time.perf_counter() - start_s, job)
    return folder


def count_part(part: Part, bundle: "Bundle") -> None:
    """Count a run of regions, and lay each beside the others."""
    from fnrbc_device.slides.job import RegionCounter

    _, job = _kept(part.folder, _JOB)
    start_s = time.perf_counter()
    with RegionCounter(job, bundle) as counter:
        for number in part.regions:
            found = counter.count(number)
            _keep(part.folder, str(number), time.perf_counter() - start_s, found)
            start_s = time.perf_counter()


def put_together(part: Part, bundle: "Bundle", kind: "SessionKind", allow_left_out: float) -> "Counted":
    """Make one count of all regions; its time is that of all who worked on it."""
    from fnrbc_device.commands.count_slide import counted_of

    names = [_JOB, *map(str, range(part.of))]
    spent_s = sum(next(_kept(part.folder, name)) for name in names)
    _, job = _kept(part.folder, _JOB)
    regions = (tuple(_kept(part.folder, name))[1] for name in names[1:])
    start_s = time.perf_counter() - spent_s
    return counted_of(job, bundle, regions, start_s=start_s, kind=kind, allow_left_out=allow_left_out)


def _keep(folder: Path, name: str, seconds: float, content: Any) -> None:
    """Lay something where all find it, behind the time that it took."""
    # Whoever else counts the same region writes the same: the last one to come stands.
    written = folder / f"{name}-{uuid.uuid4().hex}"
    with written.open("wb") as file:
        for one in (seconds, content):
            pickle.dump(one, file, pickle.HIGHEST_PROTOCOL)
    written.replace(folder / name)


def _kept(folder: Path, name: str) -> Iterator[Any]:
    """The time that it took, and then what it is, which is read only by who asks for it."""
    # Written by workers of this batch, to whom this one listens anyway.
    with (folder / name).open("rb") as file:
        yield pickle.load(file)
        yield pickle.load(file)
