"""One frame's way from the picture to the count.

No files, no threads, no network: the same frames give the same counts, live and replayed.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import Cell
from fnrbc_device.counting.counter import Counter
from fnrbc_device.counting.ledger import NOTHING_SEEN, Entry, Ledger
from fnrbc_device.counting.lookout import Lookout
from fnrbc_device.counting.marks import marks_of
from fnrbc_device.counting.measured_range import Border
from fnrbc_device.counting.merging import agrees, merge
from fnrbc_device.counting.placing import Glance, Placing
from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.counting.tally import TallyKeeper
from fnrbc_device.counting.views import FAILURES, Views
from fnrbc_device.host.stopwatch import Stopwatch
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.inference.second_look import as_counted
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import (
    BadFrame,
    CountEvent,
    Field,
    Frame,
    Join,
    Mark,
    Pose,
    Rejection,
    Step,
    Tally,
    final_pose,
)
from fnrbc_device.vision.dust import Dust
from fnrbc_device.vision.pixelsize import require_pixel_size
from fnrbc_device.vision.reduction import with_stain
from fnrbc_device.vision.seeing import CentreModel, Seeing
from fnrbc_device.vision.session_stain import SessionStain, StainState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Passed:
    """A used frame that was not looked at."""

    frame: Frame
    glance: Glance
    pose: Pose


class Analyser:
    """Counts the frames of one session, in their order.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels on the slide, um, 0.01..1.
    classifier, manifest
        The network and its description, which says whether candidates are looked at twice.
    usual_looks
        (classes, 5, 6) how the crops looked that the network was measured on, as in the bundle; None: not known.
    still
        The session is one picture: nothing moves, so nothing is registered, and no view can be confirmed.
    clock
        What the stages' times are read from, seconds.
    centres
        The network that says where cells are; None for the paper's threshold.
    everything
        Every frame is looked at, not only those that show something new.

    Raises
    ------
    UsageError
        The pixel size cannot be that of a microscope on cells.
    """

    def __init__(
        self,
        pixel_size_um: float,
        classifier: Classifier,
        manifest: Manifest,
        *,
        usual_looks: NDArray[np.float64] | None = None,
        still: bool = False,
        clock: Callable[[], float] = perf_counter,
        centres: CentreModel | None = None,
        everything: bool = False,
    ) -> None:
        require_pixel_size(pixel_size_um)
        self.pixel_size_um = pixel_size_um
        self.classifier = as_counted(classifier, manifest)
        self.manifest = manifest
        self._still = still
        self.clock = clock
        self.placing = Placing(pixel_size_um, still=still)
        self.seeing = Seeing(pixel_size_um, centres)
        self.stain = SessionStain()
        """What the session's nuclei absorb; pictures are brought to the reference by it before cells are looked for."""
        self._known: tuple[StainState, bool] = self._looks_for()
        """What was looked for in the last used frame."""
        self._lookout = Lookout(pixel_size_um, everything=everything or still)
        self._untold: list[CountEvent] = []
        """What the frame at hand changed of the count so far: it is told though the frame fails after."""
        self._made: list[Join] = []
        """The same of islands that it was found to join."""
        self._passed: _Passed | None = None
        """The last used frame, where it was not looked at: it is, if nothing after it shows its ground."""
        self._dust = Dust(pixel_size_um)
        self.tally_keeper = TallyKeeper()
        self.frame_shape: tuple[int, int] | None = None
        """(rows, cols) px; None before the first good frame."""
        self.ledger = Ledger(pixel_size_um, (0, 0))
        """The cells seen so far, counted or not; read it, never change it."""
        self.counter = Counter(self.ledger, self.classifier, manifest, pixel_size_um, self.placing.light)
        self._views = Views(pixel_size_um, self.placing.light)
        self.border = Border(manifest.class_names, usual_looks, pixel_size_um, manifest.pixel_size_um)
        """Whether the session lies within what the network was measured on."""
        self.islands: set[int] = set()
        """Those that are open: with a used frame, and not joined to another."""
        self.slide_map: SlideMap | None = None
        """None before the first good frame."""

    def analyse(self, frame: Frame | BadFrame) -> Step:
        """Take the next frame in.

        Parameters
        ----------
        frame
            Frames of one session have one size; one of another size is rejected.

        Returns
        -------
        Step
            All that the frame changed.
        """
        watch = Stopwatch(self.clock)
        with watch.stage("ledger"):
            self._views.cut()
        if isinstance(frame, BadFrame):
            return self._rejected(frame, frame.reason, watch)
        if not self._fits(frame):
            return self._rejected(frame, "wrong_size", watch)
        try:
            return self._counted(frame, watch)
        except FAILURES as error:
            _log.exception("frame %d failed: %s", frame.index, error)
            return self._rejected(frame, "failed", watch)

    def _counted(self, frame: Frame, watch: Stopwatch) -> Step:
        glance = self.placing.glance(frame, watch)
        if self._still:
            self.stain.learn_still(frame.image, self.pixel_size_um, glance.raw.glass_rgb)
        if glance.reason is not None or glance.pose is None:
            return self._rejected(frame, glance.reason or "tracking_lost", watch, glance)
        if self._shows_less(glance.pose):
            self._look_back(watch)
        pictures = self.counter.pictures if self._untold else {}
        with watch.stage("segmentation"):
            found = self._see(frame, glance) if self._is_looked_at(glance, glance.pose) else None
            # The views of a look are cut in the frame after it.
            busy = found is not None or self._lookout.frames_since_look == 1
            if not self._still:
                self.placing.light.learn(glance.raw, glance.pose)
                self.stain.learn(frame.image, self.pixel_size_um, glance.raw.glass_rgb, glance.pose, busy=busy)
        with watch.stage("ledger"):
            entry, pose = NOTHING_SEEN, glance.pose
            self.islands.add(pose.island)
            if found is not None:
                entry, pose = self._enter(found, glance, pose, frame)
            self._passed = _Passed(frame, glance, pose) if found is None else None
            if self.slide_map is not None:
                self.slide_map.paint(pose, frame.image)
        self._follow(entry, pose, watch, busy=busy)
        self.counter.pictures |= pictures
        with watch.stage("registration"):
            self._join_islands()
        for join in self._made:
            self._join(join)
        self.border.see_field(glance.even.glass_rgb)
        self.border.see_cells(self._untold, self.counter.pictures)
        marks = marks_of(entry, self.ledger, pose, self.pixel_size_um, looked=found is not None)
        return self._used(frame, pose, marks, watch, glance)

    def finish(self) -> list[CountEvent]:
        """End the session: look at the last frame, and settle the cells that are still open."""
        self.cut_views()
        self._look_back(Stopwatch(self.clock))
        before = self.counter.pictures
        self._untold += self.counter.finish()
        self.counter.pictures |= before
        self.border.see_cells(self._untold, self.counter.pictures)
        return self._new_events()

    @property
    def views_wait(self) -> bool:
        """Whether the next frame begins with cutting views."""
        return self._views.waits

    @property
    def may_look_back(self) -> bool:
        """Whether the next frame may show that the last one, whose picture no record holds, is to be looked at."""
        return self._passed is not None and self._may_gain(self._passed)

    def cut_views(self) -> None:
        """Do now what the next frame would begin with: for whoever keeps what is known of the cells."""
        self._views.cut()

    def cells(self) -> Iterator[Cell]:
        """All counted cells, in the order of their numbers."""
        return (cell for cell in self.ledger.cells() if cell.settled is not None)

    def tally(self) -> Tally:
        """State the counts so far."""
        seen = self.slide_map
        area, revisited = (seen.unique_area_mm2, seen.revisit_share) if seen else (0.0, 0.0)
        return self.tally_keeper.tally(len(self.islands), area, self.counter.open, revisited)

    def set_frame_shape(self, shape: tuple[int, int]) -> None:
        """Lay out what depends on the frames' (rows, cols); the first good frame does it, or who knows it before."""
        self.frame_shape = shape
        self.ledger = Ledger(self.pixel_size_um, shape)
        self.counter = Counter(self.ledger, self.classifier, self.manifest, self.pixel_size_um, self.placing.light)
        self.set_map()

    def set_map(self) -> None:
        """Begin an empty map."""
        if self.frame_shape is not None:
            self.slide_map = SlideMap(self.pixel_size_um, self.frame_shape)

    def move_island(self, join: Join) -> None:
        """Note that an island is part of an older one, and where its frames were looked at lies on that."""
        self.islands.discard(join.island)
        self._lookout.join(join)

    def drop(self, frames: int) -> None:
        """Note frames that the live view passed over."""
        self.tally_keeper.dropped += frames

    def _fits(self, frame: Frame) -> bool:
        shape = (frame.image.shape[0], frame.image.shape[1])
        if self.frame_shape is None:
            self.set_frame_shape(shape)
        return shape == self.frame_shape

    def _looks_for(self) -> tuple[StainState, bool]:
        """What is known of what is looked for: of the stain, and of what is dark enough."""
        return self.stain.state, self.seeing.knows

    def _is_looked_at(self, glance: Glance, pose: Pose) -> bool:
        """Whether a used frame is looked at."""
        assert self.frame_shape is not None
        before, self._known = self._known, self._looks_for()
        return self._lookout.chooses(
            pose,
            self.frame_shape,
            self.counter.open_places(pose),
            sharpness=glance.sharpness,
            correlation=glance.correlation,
            anew=self._known != before,
            disputed=lambda: self.ledger.is_in_dispute(pose),
        )

    def _see(self, frame: Frame, glance: Glance) -> Field:
        """Find the cells of a frame."""
        even = self.placing.light.flatten_stain(with_stain(glance.even, frame.image, self.stain.map))
        return self.seeing.see(frame.image, even, self.stain.map, self._lookout.frames_since_look)

    def _shows_less(self, pose: Pose) -> bool:
        """Whether the last used frame, not looked at, shows ground that no look shows: the hand left it, or turned."""
        if self._passed is None:
            return False
        return self._passed.pose.island != pose.island or self._lookout.turned(pose)

    def _may_gain(self, passed: _Passed) -> bool:
        """Whether a look at a frame may say anything new."""
        assert self.frame_shape is not None
        return self._looks_for() != self._known or self._lookout.may_gain(
            passed.pose, self.frame_shape, self.counter.open_places(passed.pose), passed.glance.sharpness
        )

    def _look_back(self, watch: Stopwatch) -> None:
        """Look at the last used frame, if it was not and may say anything new: none after it shows its ground."""
        passed, self._passed = self._passed, None
        if passed is None or not self._may_gain(passed):
            return
        try:
            with watch.stage("segmentation"):
                found = self._see(passed.frame, passed.glance)
            with watch.stage("ledger"):
                entry = self._entered(found, passed.glance, passed.pose, passed.frame)
        except FAILURES as error:
            _log.exception("frame %d failed: %s", passed.frame.index, error)
            return
        with watch.stage("ledger"):
            self._views.cut()
            self._lookout.note(passed.pose, passed.glance.sharpness)
        self._follow(entry, passed.pose, watch, busy=True)

    def _follow(self, entry: Entry, pose: Pose, watch: Stopwatch, *, busy: bool) -> None:
        """Take in what a frame's entry changes of the count."""
        with watch.stage("classify"):
            self._untold += self.counter.follow([one.cell for one in entry.sightings], entry.missed, pose, busy=busy)

    def _new_events(self) -> list[CountEvent]:
        """What changed of the count since it was told last; the tally has it from now on."""
        events, self._untold = self._untold, []
        for event in events:
            self.tally_keeper.add_event(event)
        return events

    def _new_joins(self) -> tuple[Join, ...]:
        """Islands that were found to be one since it was told last."""
        joins, self._made = tuple(self._made), []
        return joins

    def _enter(self, found: Field, glance: Glance, pose: Pose, frame: Frame) -> tuple[Entry, Pose]:
        """Enter what was found; the place by what is known there."""
        entry = self._entered(found, glance, pose, frame)
        row, col = entry.correction_rc
        self.placing.registration.correct(row, col)
        corrected = Pose(pose.island, pose.row_px + row, pose.col_px + col)
        self._lookout.note(corrected, glance.sharpness)
        return entry, corrected

    def _entered(self, found: Field, glance: Glance, pose: Pose, frame: Frame) -> Entry:
        cells = found.detections if self._still else self._dust.without(found.detections, pose)
        entry = self.ledger.enter(cells, pose, frame.index)
        self._views.wait(entry.sightings, found, frame, glance.sharpness)
        return entry

    def _join_islands(self) -> None:
        """Make a join that pictures prove and cells do not contradict."""
        proposal = None if self._still else self.placing.registration.find_join()
        if proposal is None:
            return
        if not agrees(self.ledger, proposal, self.pixel_size_um):
            self.placing.registration.refuse(proposal.join)
            return
        self.placing.registration.join(proposal.join)
        self._made.append(proposal.join)

    def _join(self, join: Join) -> None:
        """Bring the count in line with a join: what was counted twice is taken back."""
        self.move_island(join)
        if self._passed is not None:
            self._passed = replace(self._passed, pose=final_pose(self._passed.pose, (join,)))
        if self.slide_map is not None:
            self.slide_map.join(join)
        self._views.cut()
        self._untold += self.counter.merge(merge(self.ledger, join, self.pixel_size_um))

    def _rejected(
        self, frame: Frame | BadFrame, reason: Rejection, watch: Stopwatch, glance: Glance | None = None
    ) -> Step:
        self.tally_keeper.add_frame(reason)
        pose, told = (glance.pose, glance.told) if glance else (None, {"speed_um_s": 0.0, "sharpness": 1.0})
        events, joins = self._new_events(), self._new_joins()
        return Step(frame, pose, reason, [], events, self.tally(), joins=joins, stages_ms=watch.stages_ms, **told)

    def _used(self, frame: Frame, pose: Pose, marks: list[Mark], watch: Stopwatch, glance: Glance) -> Step:
        self.tally_keeper.add_frame(None)
        events, joins = self._new_events(), self._new_joins()
        told, times = glance.told, watch.stages_ms
        return Step(frame, pose, None, marks, events, self.tally(), joins=joins, stages_ms=times, **told)
