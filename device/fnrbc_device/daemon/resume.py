"""Goes on with a session that was cut off: the analyser as it stood after the last frame on record.

The checkpoint says what was learned up to some frame. What the record has beyond that is seen again where the source
can show its frames again, and then nothing at all is lost; else it is taken over from the record, and the cells that
were in view uncounted are looked at anew.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fnrbc_device.camera.source import FrameSource, Rereadable
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.merging import merge
from fnrbc_device.counting.recall import Recall
from fnrbc_device.daemon.checkpoint import CheckpointFile
from fnrbc_device.host.clock import iso_utc, moment_of
from fnrbc_device.journal.queries import JournalQueries, RecordedFrame, RecordedKeyframe, Unfinished
from fnrbc_device.records import CountEvent, Join, Pose, SessionMeta, final_pose

MOST_REREAD: Final = 100_000
"""Frames that a source may lie behind the record before it is said not to be the same source."""

RESUME_WITHIN: Final = timedelta(hours=8)
"""A session that was cut off longer ago, a working day, is ended: another slide lies under the objective by then."""

CLOCK_SLACK: Final = timedelta(hours=2)
"""A clock may be set back by so much and be believed: a machine whose clock has no battery starts from the time that
its time service saved last, half an hour ago or so, and people set clocks by an hour. Set back by more, nobody knows
how long ago a session was cut off."""

_log = logging.getLogger(__name__)


def why_not(cut_off: Unfinished, meta: SessionMeta, now: datetime) -> str:
    """Why a session cannot be gone on with; empty where it can.

    Parameters
    ----------
    meta
        What a new session's counts would rest on.
    now
        UTC.
    """
    then = json.loads(cut_off.meta)
    # The pixel size of an objective that somebody chose is the session's own.
    for name in ("bundle", "source") if then.get("objective") else ("bundle", "source", "pixel_size_um"):
        if then.get(name) != asdict(meta)[name]:
            return f"{name} was {then.get(name)} and is {asdict(meta)[name]}"
    newest = moment_of(cut_off.newest_utc)
    if newest - now > CLOCK_SLACK:
        there = f"the record goes on to {cut_off.newest_utc} and the clock says {iso_utc(now)}"
        return f"{there}: how long ago it was cut off is not known"
    if now - moment_of(cut_off.last_utc) > RESUME_WITHIN:
        return f"it was cut off at {cut_off.last_utc}, more than {RESUME_WITHIN} before {iso_utc(now)}"
    return ""


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """A session as the journal knows it beyond some frame."""

    frames: list[RecordedFrame]
    events: dict[int, list[CountEvent]]
    joins: dict[int, list[Join]]
    keyframes: list[RecordedKeyframe]

    @classmethod
    def of(cls, history: JournalQueries, session: str, after: int) -> "Past":
        """Read what was recorded beyond a frame; of the keyframes, all."""
        return cls(
            history.frames(session, after),
            history.events_by_frame(session, after),
            history.joins_by_frame(session, after),
            history.keyframes(session),
        )

    @property
    def last(self) -> int:
        """Index of the last frame on record; -1 where there is none."""
        return self.frames[-1].index if self.frames else -1


class Resume:
    """Brings back the analyser of one session.

    Parameters
    ----------
    history
        The journal.
    session
        One that was begun and not ended.
    folder
        The device's state folder.
    fresh
        Makes an analyser that has seen nothing.
    """

    def __init__(self, history: JournalQueries, session: str, folder: Path, fresh: Callable[[], Analyser]) -> None:
        self._history = history
        self._session = session
        self._file = CheckpointFile(folder, session)
        self._fresh = fresh

    def analyser(self, source: FrameSource, go_on: Callable[[], bool]) -> Analyser:
        """Make the analyser as it stood; the source's next frame is then the one after the last on record.

        Parameters
        ----------
        source
            Newly opened.
        go_on
            Called for each frame that is seen again; False ends it, and the record is taken over instead.
        """
        analyser, frame = self._checkpoint()
        past = Past.of(self._history, self._session, frame)
        if isinstance(source, Rereadable):
            source.skip_to(frame + 1)
            if _seen_again(analyser, past, source, go_on):
                return self._mapped(analyser)
            _log.warning("what the source shows again is not what was recorded of it: the record is taken over")
            source.skip_to(past.last + 1)
            analyser, frame = self._checkpoint()
        _taken_over(analyser, past, frame)
        return self._mapped(analyser)

    def _checkpoint(self) -> tuple[Analyser, int]:
        keyframes = {one.keyframe.number: one.keyframe.grey for one in self._history.keyframes(self._session)}
        read = self._file.read(self._fresh, keyframes)
        if read is None:
            _log.warning("there is no checkpoint to go on from: light, dust and threshold are learned again")
            return self._fresh(), -1
        if read[1] > self._history.last_frame(self._session):
            _log.warning("the checkpoint knows of frames that the record lacks, as after a restored backup: it is left")
            return self._fresh(), -1
        return read

    def _mapped(self, analyser: Analyser) -> Analyser:
        """Draw again which ground was seen; its pictures are gone."""
        frames = self._history.frames(self._session)
        joins = [join for some in self._history.joins_by_frame(self._session).values() for join in some]
        shape = analyser.frame_shape
        if shape is None:
            return analyser
        analyser.set_map()
        assert analyser.slide_map is not None
        for pose in _places(frames, joins):
            analyser.slide_map.cover(pose, shape)
        return analyser


def _places(frames: Iterable[RecordedFrame], joins: list[Join]) -> Iterable[Pose]:
    """Places of used frames on the islands as they are now, each step of the hand once."""
    before: Pose | None = None
    for frame in frames:
        if frame.reason is not None or frame.pose is None:
            continue
        pose = final_pose(frame.pose, joins)
        if before is None or pose.island != before.island or _apart_px(pose, before) > 1.0:
            before = pose
            yield pose


def _apart_px(one: Pose, other: Pose) -> float:
    return max(abs(one.row_px - other.row_px), abs(one.col_px - other.col_px))


def _seen_again(analyser: Analyser, past: Past, source: FrameSource, go_on: Callable[[], bool]) -> bool:
    """Analyse again what was recorded beyond the checkpoint; whether it came out as it stands on record."""
    due = {frame.index: frame for frame in past.frames}
    for _ in range(MOST_REREAD):
        if not due:
            return True
        frame = source.read() if go_on() else None
        if frame is None or frame.index > past.last:
            return False
        recorded = due.pop(frame.index, None)
        if recorded is None:  # the live view passed it over
            continue
        step = analyser.analyse(frame)
        events = past.events.get(frame.index, [])
        if step.events != events or step.reason != recorded.reason or step.pose != recorded.pose:
            return False
    return False


def _taken_over(analyser: Analyser, past: Past, frame: int) -> None:
    """Enter what was recorded beyond the checkpoint, frame by frame."""
    if analyser.frame_shape is None and past.keyframes:
        analyser.set_frame_shape(past.keyframes[0].frame_shape)
    recall = Recall(analyser.ledger, analyser.counter, analyser.pixel_size_um)
    keyframes: dict[int, list[RecordedKeyframe]] = {}
    for keyframe in past.keyframes:
        if keyframe.frame > frame:
            keyframes.setdefault(keyframe.frame, []).append(keyframe)
    for recorded in past.frames:
        analyser.tally_keeper.add_frame(recorded.reason)
        for keyframe in keyframes.get(recorded.index, ()):
            analyser.placing.registration.recall(keyframe.keyframe)
        if recorded.reason is None and recorded.pose is not None:
            analyser.islands.add(recorded.pose.island)
        events = past.events.get(recorded.index, [])
        recall.counted(events)
        for join in past.joins.get(recorded.index, ()):
            analyser.placing.registration.join(join)
            analyser.move_island(join)
            for pair in merge(analyser.ledger, join, analyser.pixel_size_um):
                analyser.counter.let_go(pair.gone)
        recall.taken_back(events)
        for event in events:
            analyser.tally_keeper.add_event(event)
