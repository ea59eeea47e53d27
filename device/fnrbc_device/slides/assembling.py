"""Makes one count of the tiles of a slide: numbers, events, tally, map. The tiles come in their order.

All that depends on more than one tile is decided here, by one thread, so that the count is the same bit for bit
however many looked at tiles.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import Cell, View
from fnrbc_device.counting.counter import KEPT_EVERY, KEPT_FIRST, KEPT_UP_TO
from fnrbc_device.counting.measured_range import Border
from fnrbc_device.counting.tally import TallyKeeper
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import BadFrame, CountEvent, Frame, Image, Pose, SeeingMethod, Step, Tally
from fnrbc_device.slides.job import RegionCount, SlideJob
from fnrbc_device.slides.looking import FoundCell, TileCount
from fnrbc_device.slides.overview import Overview
from fnrbc_device.slides.seams import Seams
from fnrbc_device.slides.slide import Box
from fnrbc_device.vision.session_stain import SessionStain

REASON: Final = "place known"
"""Why a cell was counted: one look at a place that needs no proof."""

NO_PICTURE: Final[Image] = np.zeros((0, 0, 3), np.uint8)
"""What stands for a tile's pixels once its cells are found: those stay in the file."""


@dataclass(frozen=True, slots=True)
class Method:
    """What found the cells."""

    method: SeeingMethod


class Assembly:
    """Takes the regions of one slide in, in their order.

    Parameters
    ----------
    job
        Of the slide.
    bundle
        The model that it was counted with.
    """

    def __init__(self, job: SlideJob, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.job = job
        self.pixel_size_um = job.pixel_um
        self.seeing = Method(job.method)
        self.stain: SessionStain = job.learned.stain
        self.border = Border(manifest.class_names, bundle.appearance, job.pixel_um, manifest.pixel_size_um)
        """Whether the slide lies within what the network was measured on."""
        self.pictures: dict[int, list[View]] = {}
        """Pictures that are worth keeping of the cells that the last step counted, by their numbers."""
        self._outlines: dict[int, bytes] = {}
        self.slide_map = Overview(job.plan, job.pixel_um)
        self.holes: list[Box] = []
        """Ground that the file holds and nobody can read."""
        self._threshold = manifest.threshold
        self._seams = Seams(job.pixel_um)
        self._tally = TallyKeeper()
        self._cells: list[Cell] = []
        self._next_region = 0
        self._area_px = 0

    def enter(self, region: RegionCount) -> Iterable[Step]:
        """Count the tiles of the next region.

        Raises
        ------
        ValueError
            It is not the next one.
        """
        if region.region != self._next_region:
            raise ValueError(f"region {region.region} came where {self._next_region} is the next; give them in order")
        self._next_region += 1
        self.seeing = Method(region.seeing)
        for count in region.counts:
            yield self._step(count)

    def finish(self) -> list[CountEvent]:
        """Count what lies on no tile's ground: cells that were seen from beyond a seam alone."""
        self.pictures = {}
        return [self._event(count, cell) for count, cell in self._seams.left_over()]

    def cells(self) -> Sequence[Cell]:
        """All counted cells, in the order of their numbers."""
        return self._cells

    def outline(self, cell: int) -> NDArray[np.int32]:
        """Outline of a cell's nucleus by its number: (N, 2) px of the slide, (x, y)."""
        return np.frombuffer(self._outlines[cell], np.int32).reshape(-1, 2)

    def tally(self) -> Tally:
        """State the counts so far."""
        area_mm2 = self._area_px * self.pixel_size_um**2 * 1e-6
        return self._tally.tally(1 if self._area_px else 0, area_mm2, 0)

    def _step(self, count: TileCount) -> Step:
        self.pictures = {}
        own, number = count.tile.own, count.tile.number
        pose = Pose(0, float(own.top), float(own.left))
        frame = Frame(number, float(number), NO_PICTURE, f"tile {number}")
        self._tally.add_frame(count.reason)
        self.holes += list(count.holes) if count.reason != "unreadable" else [own]
        if count.reason is not None:
            bad = BadFrame(number, float(number), count.reason, f"tile {number} ({own}) cannot be read", frame.name)
            told = bad if count.reason == "unreadable" else frame
            return Step(told, pose, count.reason, [], [], self.tally(), 0.0, count.sharpness, {})
        self._area_px += own.height * own.width - sum(hole.height * hole.width for hole in count.holes)
        self.slide_map.lay(own, count.small)
        self.border.see_field(self.job.learned.glass_rgb)
        events = [self._event(count, cell) for cell in self._seams.new_in(count)]
        self.border.see_cells(events, self.pictures)
        return Step(frame, pose, None, [], events, self.tally(), 0.0, count.sharpness, {})

    def _event(self, count: TileCount, found: FoundCell) -> CountEvent:
        """Number a cell and count it."""
        number, um = len(self._cells) + 1, self.pixel_size_um
        event = CountEvent(
            "counted", number, found.verdict, 0, found.row_px, found.col_px, found.col_px * um, found.row_px * um,
            found.diameter_um, found.nucleus_ratio, 1, count.tile.number, REASON,
        )  # fmt: skip
        self._tally.add_event(event)
        self._outlines[number] = found.outline_xy.tobytes()
        if found.picture is not None and self._is_kept(number, found):
            self.pictures[number] = [found.picture]
        self._cells.append(_settled(event, count))
        return event

    def _is_kept(self, number: int, found: FoundCell) -> bool:
        """Whether its picture is: of candidates and near misses always, of others as in a pan."""
        verdict = found.verdict
        if verdict.is_candidate or verdict.is_near_miss(self._threshold) or number <= KEPT_FIRST:
            return True
        return number <= KEPT_UP_TO and number % KEPT_EVERY == 0


def _settled(event: CountEvent, count: TileCount) -> Cell:
    return Cell(
        number=event.cell,
        island=0,
        row_px=event.row_px,
        col_px=event.col_px,
        diameter_um=event.diameter_um,
        nucleus_ratio=event.nucleus_ratio,
        reach_px=0.0,
        first_rc=(event.row_px, event.col_px),
        views=1,
        measured=1,
        settled=event,
        last_index=count.tile.number,
    )
