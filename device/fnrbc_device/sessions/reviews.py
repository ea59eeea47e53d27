"""What people decided on the cells of a session, read beside what the machine counted; neither changes the other."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fnrbc_device.contract.log_records import Judgement
from fnrbc_device.counting.recount import ENTERING, Column, column
from fnrbc_device.errors import ReviewError
from fnrbc_device.journal.audit import provisional
from fnrbc_device.language import english
from fnrbc_device.records import ErrorCounts, Join, Pose, ProvisionalReason, Role, SessionMeta, Verdict, final_pose

Reader = Literal[1, 2]
"""The first reader's decisions make the verified count; the second, blind to the first, shows how far people agree."""

_NEWEST: Final = (
    "SELECT max(seq) AS seq, cell, event, class_name, role, probability, target_probability, island, row_px, col_px,"
    " diameter_um, nucleus_ratio, views FROM events WHERE session = :session GROUP BY cell"
)
"""The machine's last word on each cell: beside ``max`` SQLite gives the other columns of the same row."""

_DECIDED: Final = (
    "SELECT max(seq) AS seq, cell, decision, class_name FROM reviews WHERE session = :session AND second = :second"
    " AND decision <> 'undone' AND seq NOT IN (SELECT undoes FROM reviews WHERE undoes IS NOT NULL) GROUP BY cell"
)
"""What stands decided: the latest decision on a cell that was not undone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cell as the machine counted it, for a person to decide on."""

    cell: int
    verdict: Verdict
    counted: bool
    """False where the machine itself took it back."""
    island: int
    x_um: float
    y_um: float
    """On the island that its own became part of in the end."""
    diameter_um: float
    nucleus_ratio: float
    views: int
    """How many whole, sharp views there were."""
    pictures: int
    """How many of them are kept."""
    around_um: float = 0.0
    """Side of the square round it that is kept as well; 0 where none is."""


@dataclass(frozen=True, slots=True)
class Review:
    """One decision, or one that takes an earlier one back."""

    seq: int
    """Of its record in the log."""
    cell: int
    reviewer: str
    reader: Reader
    decision: Literal[Judgement, "undone"]
    """``confirmed``, ``rejected``, ``reclassified`` or ``undone``."""
    class_name: str
    """What the cell is by it; empty where it is none, or the decision was taken back."""
    undoes: int | None
    """``seq`` of what it takes back."""
    at_utc: str
    note: str
    request: str
    """The asker's own name for it; empty where none was given."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a session's cells are judged by."""

    classes: Mapping[str, Role]
    threshold: float
    bundle: str
    pixel_size_um: float
    errors: tuple[ErrorCounts, ...] = ()
    """What the network was known by; empty in sessions of fnrbc 0.1."""
    provisional: tuple[ProvisionalReason, ...] = ()
    """Why the session lies outside of what the network was measured on; empty where it does not."""

    @property
    def target(self) -> str:
        """Name of the class that is counted as fNRBC."""
        return next(name for name, role in self.classes.items() if role == "target")


def basis(connection: sqlite3.Connection, session: str) -> Basis:
    """Read what a session's cells are judged by.

    Raises
    ------
    ReviewError
        There is no such session.
    """
    row = connection.execute("SELECT meta FROM sessions WHERE session = ?", (session,)).fetchone()
    if row is None:
        raise _unknown(session)
    meta = SessionMeta(**json.loads(row[0]))
    reasons = provisional(connection, session)
    return Basis(meta.classes, meta.threshold, meta.bundle, meta.pixel_size_um, meta.errors, reasons)


def require_open(connection: sqlite3.Connection, session: str) -> None:
    """Refuse what would change a session that is unknown, or signed off.

    Raises
    ------
    ReviewError
        The session is no more to be changed.
    """
    if signed(connection, session) is not None:
        raise ReviewError(
            english(
                "session %(session)s was signed off and stays as it is; withdraw the sign-off to change it",
                session=session,
            )
        )


def signed(connection: sqlite3.Connection, session: str) -> str | None:
    """When a session was signed off; None where it was not.

    Raises
    ------
    ReviewError
        There is no such session.
    """
    row = connection.execute("SELECT signed_utc FROM sessions WHERE session = ?", (session,)).fetchone()
    if row is None:
        raise _unknown(session)
    return None if row[0] is None else str(row[0])


def candidate(connection: sqlite3.Connection, session: str, cell: int) -> Candidate:
    """Read one cell that stands in the machine's count, whatever its class.

    Raises
    ------
    ReviewError
        It does not stand in the count.
    """
    found = [one for one in _cells(connection, session, {cell}) if one.counted]
    if not found:
        raise ReviewError(
            english(
                "cell %(cell)s is not in the count of session %(session)s; decide on one that is shown",
                cell=cell,
                session=session,
            )
        )
    return found[0]


def candidates(connection: sqlite3.Connection, session: str) -> list[Candidate]:
    """Cells that a person is asked about: those of the target class and the indeterminate ones. In no order."""
    return [one for one in shown(connection, session) if one.verdict.is_candidate]


def shown(connection: sqlite3.Connection, session: str, since: int = 0) -> list[Candidate]:
    """Cells that a person may decide on: the candidates, and the near misses that nobody must look at.

    Parameters
    ----------
    since
        ``seq`` after which the machine had something new to say; those it took back since then are among them.

    Returns
    -------
    list
        In no particular order; from the session's begin, without those that were taken back.
    """
    names = None if since == 0 else _touched(connection, session, since)
    found = [] if names is not None and not names else _cells(connection, session, names)
    threshold = basis(connection, session).threshold
    told = [one for one in found if one.counted or since]
    return [one for one in told if one.verdict.is_candidate or one.verdict.is_near_miss(threshold)]


def reviews(connection: sqlite3.Connection, session: str, reader: Reader = 1, since: int = 0) -> list[Review]:
    """Decisions of a reader, in order, those after a ``seq`` alone; what was taken back is among them."""
    rows = connection.execute(
        "SELECT seq, cell, reviewer, second + 1, decision, class_name, undoes, at_utc, note,"
        " coalesce(request, '') FROM reviews"
        " WHERE session = ? AND second = ? AND seq > ? ORDER BY seq",
        (session, reader - 1, since),
    )
    return [Review(*row) for row in rows]


def standing_reviews(decided: Iterable[Review]) -> dict[int, Review]:
    """The decision that stands on each cell, of one reader's decisions in order: the latest not taken back."""
    decided = list(decided)
    undone = {one.undoes for one in decided}
    return {one.cell: one for one in decided if one.decision != "undone" and one.seq not in undone}


def last_seq(connection: sqlite3.Connection) -> int:
    """``seq`` of the last record of the log."""
    return int(connection.execute("SELECT last_seq FROM journal").fetchone()[0])


def crop(connection: sqlite3.Connection, session: str, cell: int, view: int = 0) -> bytes | None:
    """PNG of a view of a cell, (120, 120, 3), 0 for the best; None where it was not kept."""
    row = connection.execute(
        "SELECT picture FROM events JOIN crops USING (seq) WHERE session = ? AND cell = ? AND view = ?"
        " ORDER BY seq DESC LIMIT 1",
        (session, cell, view),
    ).fetchone()
    return bytes(row[0]) if row else None


def around(connection: sqlite3.Connection, session: str, cell: int, view: int = 0) -> bytes | None:
    """JPEG of what lies round a view of a cell, unmasked; None where it was not kept."""
    if not has_table(connection, "surroundings"):
        return None
    row = connection.execute(
        "SELECT picture FROM events JOIN surroundings USING (seq) WHERE session = ? AND cell = ? AND view = ?"
        " ORDER BY seq DESC LIMIT 1",
        (session, cell, view),
    ).fetchone()
    return bytes(row[0]) if row else None


@dataclass(frozen=True, slots=True)
class KeptMosaic:
    """Where the picture of an island lies."""

    island: int
    um_per_px: float
    top_um: float
    left_um: float


def mosaics(connection: sqlite3.Connection, session: str) -> list[KeptMosaic]:
    """How the islands of an ended session looked, where that was kept; without the pictures."""
    if not has_table(connection, "mosaics"):
        return []
    rows = connection.execute(
        "SELECT island, um_per_px, top_um, left_um FROM mosaics WHERE session = ? ORDER BY island", (session,)
    )
    return [KeptMosaic(*row) for row in rows]


def mosaic(connection: sqlite3.Connection, session: str, island: int) -> bytes | None:
    """JPEG of an island as it looked, black where nothing was seen; None where it was not kept."""
    if not has_table(connection, "mosaics"):
        return None
    row = connection.execute(
        "SELECT picture FROM mosaics WHERE session = ? AND island = ?", (session, island)
    ).fetchone()
    return bytes(row[0]) if row else None


def everything(connection: sqlite3.Connection, session: str) -> list[Candidate]:
    """All cells that stand in the machine's count, whatever their class, in the order of their numbers."""
    return sorted((one for one in _cells(connection, session, None) if one.counted), key=lambda one: one.cell)


def places(connection: sqlite3.Connection, session: str) -> list[tuple[int, float, float]]:
    """Island, x and y in um of every cell that stands in the machine's count: what the slide looks like from above."""
    return [(one.island, one.x_um, one.y_um) for one in _cells(connection, session, None) if one.counted]


@dataclass(frozen=True, slots=True)
class Group:
    """Cells of the machine's count that stand alike."""

    verdict: Verdict
    """The machine's; its probabilities are 0, for they differ within a group."""
    decision: str | None
    """None where nothing stands decided."""
    class_name: str | None
    """By that decision; empty where the cell is none."""
    cells: int


def groups(connection: sqlite3.Connection, session: str, reader: Reader = 1) -> list[Group]:
    """How many cells stand alike, by the machine's verdict and a reader's decision."""
    rows = connection.execute(
        f"SELECT newest.class_name, role, decision, decided.class_name, count(*) FROM ({_NEWEST}) AS newest"
        f" LEFT JOIN ({_DECIDED}) AS decided USING (cell) WHERE event IN ('counted', 'confirmed')"
        " GROUP BY newest.class_name, role, decision, decided.class_name",
        {"session": session, "second": reader - 1},
    )
    return [Group(Verdict(name, role, 0.0, 0.0), decision, by, cells) for name, role, decision, by, cells in rows]


def column_by(classes: Mapping[str, Role], class_name: str) -> Column:
    """Where in a tally a cell counts that a person called so."""
    return column(Verdict(class_name, classes[class_name], 1.0, 1.0))


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether a record has a table: one of an older version lacks some, and is read as it is."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,))
    return found.fetchone() is not None


def _unknown(session: str) -> ReviewError:
    return ReviewError(english("session %(session)s is not in the record; choose one that is listed", session=session))


def _touched(connection: sqlite3.Connection, session: str, since: int) -> set[int]:
    rows = connection.execute("SELECT DISTINCT cell FROM events WHERE session = ? AND seq > ?", (session, since))
    return {cell for (cell,) in rows}


def _cells(connection: sqlite3.Connection, session: str, wanted: set[int] | None) -> list[Candidate]:
    """The machine's last word on some cells, or on all."""
    joins = [
        Join(*row)
        for row in connection.execute(
            "SELECT island, into_island, row_px, col_px FROM joins WHERE session = ? ORDER BY frame, island", (session,)
        )
    ]
    um = basis(connection, session).pixel_size_um
    which = "" if wanted is None else f" HAVING cell IN ({', '.join(str(int(cell)) for cell in wanted)})"
    around = "(SELECT coalesce(max(side_um), 0.0) FROM surroundings WHERE surroundings.seq = newest.seq)"
    if not has_table(connection, "surroundings"):
        around = "0.0"
    pictures = "(SELECT count(*) FROM crops WHERE crops.seq = newest.seq)"
    counted = f"SELECT *, {pictures}, {around} FROM ({_NEWEST}{which}) AS newest"
    rows = connection.execute(counted, {"session": session})
    return [_candidate(row, joins, um) for row in rows]


def _candidate(row: tuple[Any, ...], joins: list[Join], um: float) -> Candidate:
    _, cell, event, class_name, role, probability, wanted, island, row_px, col_px, *measures = row
    pose = final_pose(Pose(island, row_px, col_px), joins)
    verdict = Verdict(class_name, role, probability, wanted)
    place = (pose.island, um * pose.col_px, um * pose.row_px)
    return Candidate(cell, verdict, event in ENTERING, *place, *measures)
