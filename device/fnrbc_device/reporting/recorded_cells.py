"""The cells of a session's count as a table: what the machine says of each, and beside it what people decided."""

import sqlite3
from typing import Any, Final

from fnrbc_device.counting.cells_csv import cell_row
from fnrbc_device.counting.recount import ENTERING
from fnrbc_device.records import CountEvent, Join, Pose, final_pose
from fnrbc_device.sessions.lookup import joins_of, last_events
from fnrbc_device.sessions.reviews import Review, basis, reviews, standing_reviews

REVIEW_COLUMNS: Final = ("target_probability", "review", "reviewed_class", "reviewer", "reviewed_utc")
"""Beside the columns of ``cells.csv``. ``class`` stays the machine's; ``reviewed_class`` is the first reader's, empty
where nobody decided or the cell was rejected."""


def cell_table(connection: sqlite3.Connection, session: str) -> list[dict[str, Any]]:
    """Every cell that stands in the machine's count, by column name, in order of their numbers.

    Parameters
    ----------
    connection
        To the journal; nothing is changed.
    session
        That is in the record.

    Returns
    -------
    list
        ``CELL_COLUMNS`` and ``REVIEW_COLUMNS``; places are on the islands as they are in the end.
    """
    pixel_size_um = basis(connection, session).pixel_size_um
    joins = joins_of(connection, session)
    decided = standing_reviews(reviews(connection, session))
    events = last_events(connection, session)
    return [
        _machine(event, joins, pixel_size_um) | _people(event, decided.get(event.cell))
        for event in events
        if event.event in ENTERING
    ]


def _machine(event: CountEvent, joins: list[Join], um: float) -> dict[str, Any]:
    place = final_pose(Pose(event.island, event.row_px, event.col_px), joins)
    return cell_row(event, place, event.views, um)


def _people(event: CountEvent, decision: Review | None) -> dict[str, Any]:
    wanted = round(event.verdict.target_probability, 4)
    row: tuple[Any, ...] = (wanted, "unverified", "", "", "")
    if decision is not None:
        row = (wanted, decision.decision, decision.class_name, decision.reviewer, decision.at_utc)
    return dict(zip(REVIEW_COLUMNS, row, strict=True))
