"""What the journal knows, read back: events, joins and frames of a session, and what they add up to."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fnrbc_device.counting.cell import View
from fnrbc_device.counting.recount import recount, standing
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.journal.images import colour, grey
from fnrbc_device.journal.schema import EVENT_COLUMNS, event_of
from fnrbc_device.journal.sqlite_errors import journal_error
from fnrbc_device.records import CountEvent, Image, Join, Pose, Rejection, SessionState, Tally
from fnrbc_device.vision.keyframes import Keyframe


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """A frame as the journal knows it."""

    index: int
    pose: Pose | None
    reason: Rejection | None
    """None if it was used."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedKeyframe:
    """A picture that registration held on to, and the frame in whose transaction it stands."""

    keyframe: Keyframe
    frame: int
    frame_shape: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Pictures that a frame brought and the record keeps."""

    views: Mapping[int, Sequence[View]] = field(default_factory=dict)
    """Of the candidates, near misses and the sample of others that were counted, best first; by the cell's number."""
    keyframes: Sequence[Keyframe] = ()
    """What registration holds on to from this frame on."""
    frame_shape: tuple[int, int] = (0, 0)
    """(rows, cols) px of the frames that the plates were made of."""
    mosaics: Sequence[Mosaic] = ()
    """How the islands of an ended session looked."""


NOTHING_KEPT: Final = Kept()

_ASKED: Final[Mapping[str, SessionState]] = {"pause": "paused", "resume": "running", "stop": "stopping"}
"""What a session does that was asked to."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A session that was cut off."""

    session: str
    started_utc: str
    meta: str
    """JSON of what its counts rest on."""
    last_frame: int
    """-1 before the first."""
    last_utc: str
    """When its last transaction was written."""
    newest_utc: str
    """The latest time that stands anywhere in the audit: a clock that says less was set back."""


class JournalQueries:
    """Reads the journal; one thread's.

    Parameters
    ----------
    connection
        Of the thread that opened it.
    path
        For the words of an error.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._files = (path, path.with_name(path.name + "-wal"))

    def events(self, session_id: str) -> list[CountEvent]:
        """Every step of a session's count, in order."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {EVENT_COLUMNS} FROM events WHERE session = ? ORDER BY seq", (session_id,)
            ).fetchall()
        return [event_of(row) for row in rows]

    def joins(self, session_id: str) -> list[Join]:
        """The islands of a session that were joined, in order."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT island, into_island, row_px, col_px FROM joins WHERE session = ? ORDER BY frame, island",
                (session_id,),
            ).fetchall()
        return [Join(*row) for row in rows]

    def tally(self, session_id: str) -> Tally:
        """Count a session again from its recorded events, joins and frames alone.

        The area and the cells still open are not in the record, and stay 0.
        """
        ended = {join.island for join in self.joins(session_id)}
        with self._reading():
            frames = self._connection.execute(
                "SELECT used, reason, island FROM frames WHERE session = ?", (session_id,)
            ).fetchall()
        return replace(
            recount(self.events(session_id)),
            frames=len(frames),
            frames_used=sum(used for used, _, _ in frames),
            frames_rejected=dict(Counter(reason for used, reason, _ in frames if not used)),
            islands=len({island for used, _, island in frames if used and island is not None} - ended),
        )

    def verdict_counts(self, session_id: str) -> dict[str, int]:
        """How many cells of a session stand counted as each class, ``indeterminate`` among them."""
        return dict(Counter(verdict.class_name for verdict in standing(self.events(session_id)).values()))

    def unfinished(self) -> list[str]:
        """Sessions that were begun and never ended, oldest first: the last start was cut off in them."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT session FROM sessions WHERE ended_utc IS NULL ORDER BY started_utc"
            ).fetchall()
        return [session for (session,) in rows]

    def cut_off(self) -> list[Unfinished]:
        """Sessions that were begun and never ended, oldest first, with how far they came."""
        return [self._unfinished(session) for session in self.unfinished()]

    def knows(self, session_id: str) -> bool:
        """Whether a session of this name was ever begun and is kept."""
        with self._reading():
            found = self._connection.execute("SELECT 1 FROM sessions WHERE session = ?", (session_id,))
            return found.fetchone() is not None

    def state_asked_for(self, session_id: str) -> SessionState:
        """What a session that has not ended was last asked to do, at the microscope or from elsewhere."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT kind, payload FROM audit LEFT JOIN outbox ON outbox.seq = audit.last_seq"
                " WHERE audit.session = ? AND kind IN ('paused', 'unpaused', 'command') ORDER BY link DESC",
                (session_id,),
            )
            verbs = (_verb(kind, payload) for kind, payload in rows)
            return next((_ASKED[verb] for verb in verbs if verb in _ASKED), "running")

    def oldest_to_let_go(self) -> tuple[str, str] | None:
        """Oldest session and when it ended; None where it is not ended, or not acknowledged message by message."""
        with self._reading():
            row = self._connection.execute(
                "SELECT audit.session, ended_utc FROM audit JOIN sessions USING (session) ORDER BY link LIMIT 1"
            ).fetchone()
            if row is None or row[1] is None:
                return None
            (waiting,) = self._connection.execute(
                "SELECT count(*) FROM outbox WHERE state <> 'acked' AND seq <="
                " (SELECT max(last_seq) FROM audit WHERE session = ?)",
                (row[0],),
            ).fetchone()
        return None if waiting else (row[0], row[1])

    @property
    def files(self) -> tuple[Path, Path]:
        """The database and its write-ahead file, which grow."""
        return self._files

    @property
    def size_mb(self) -> float:
        """What the record takes, without the pages that are free in its file."""
        with self._reading():
            pages, free, size = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return float((pages - free) * size / 1e6)

    def frames(self, session_id: str, after: int = -1) -> list[RecordedFrame]:
        """Frames of a session with a higher index, in order."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT frame, island, row_px, col_px, reason FROM frames WHERE session = ? AND frame > ?"
                " ORDER BY frame",
                (session_id, after),
            ).fetchall()
        return [
            RecordedFrame(frame, None if island is None else Pose(island, row_px, col_px), reason)
            for frame, island, row_px, col_px, reason in rows
        ]

    def last_frame(self, session_id: str) -> int:
        """Index of the last frame of a session on record; -1 before the first."""
        with self._reading():
            row = self._connection.execute(
                "SELECT coalesce(max(frame), -1) FROM frames WHERE session = ?", (session_id,)
            ).fetchone()
        return int(row[0])

    def events_by_frame(self, session_id: str, after: int = -1) -> dict[int, list[CountEvent]]:
        """Events that frames with a higher index brought."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT frame, {EVENT_COLUMNS} FROM events WHERE session = ? AND frame > ? ORDER BY seq",
                (session_id, after),
            ).fetchall()
        found: dict[int, list[CountEvent]] = {}
        for frame, *row in rows:
            found.setdefault(frame, []).append(event_of(tuple(row)))
        return found

    def joins_by_frame(self, session_id: str, after: int = -1) -> dict[int, list[Join]]:
        """Joins that frames with a higher index proved."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT frame, island, into_island, row_px, col_px FROM joins WHERE session = ? AND frame > ?"
                " ORDER BY frame, island",
                (session_id, after),
            ).fetchall()
        found: dict[int, list[Join]] = {}
        for frame, *row in rows:
            found.setdefault(frame, []).append(Join(*row))
        return found

    def keyframes(self, session_id: str) -> list[RecordedKeyframe]:
        """Pictures that registration held on to, of an unfinished session, in order."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT frame, frame_rows, frame_cols, number, placed, island, row_px, col_px, picture, factor,"
                " pixel_um FROM plates WHERE session = ? ORDER BY number",
                (session_id,),
            ).fetchall()
        return [
            RecordedKeyframe(Keyframe(number, placed, Pose(*pose), grey(picture), factor, um), frame, (height, width))
            for frame, height, width, number, placed, *pose, picture, factor, um in rows
        ]

    def views(self, session_id: str, cells: Iterable[int]) -> dict[int, list[Image]]:
        """Views that are kept of some cells, best first; a cell of which none is kept is left out."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT cell, picture FROM events JOIN crops USING (seq) WHERE session = ?"
                " AND cell IN (SELECT value FROM json_each(?)) ORDER BY seq, view",
                (session_id, json.dumps(list(cells))),
            ).fetchall()
        found: dict[int, list[Image]] = {}
        for cell, picture in rows:
            found.setdefault(cell, []).append(colour(picture))
        return found

    def _unfinished(self, session_id: str) -> Unfinished:
        with self._reading():
            started, meta, last_frame, last_utc, newest_utc = self._connection.execute(
                "SELECT started_utc, meta,"
                " (SELECT coalesce(max(frame), -1) FROM frames WHERE frames.session = sessions.session),"
                " (SELECT max(at_utc) FROM audit WHERE audit.session = sessions.session),"
                " (SELECT max(at_utc) FROM audit)"
                " FROM sessions WHERE session = ?",
                (session_id,),
            ).fetchone()
        return Unfinished(session_id, started, meta, last_frame, last_utc or started, newest_utc or started)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise journal_error(self._path, error) from error


def _verb(kind: str, payload: str | None) -> str:
    """What a link of the audit asked of a running session; nothing where it was refused."""
    if kind != "command":
        return {"paused": "pause", "unpaused": "resume"}[kind]
    told = json.loads(payload or "{}")
    return str(told["verb"]) if told.get("outcome") == "accepted" else ""
