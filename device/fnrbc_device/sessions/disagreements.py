"""Where two readers decided otherwise on the same cell, and what they settled together."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fnrbc_device.sessions.reviews import Review, reviews, standing_reviews

SETTLED: Final = "settled with the other reader"
"""Note of a decision that was taken with both readers' in view. It stands in the verified count as any other, and not
in the readers' agreement: that is of decisions taken blind."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A cell that two readers called otherwise."""

    cell: int
    first: Review
    second: Review
    settled: Review | None
    """What stands since; None while it is open."""


def disagreements(connection: sqlite3.Connection, session: str) -> list[Disagreement]:
    """Cells on which both readers decided, and not alike; the open ones first, by the cells' numbers."""
    decided = reviews(connection, session, 1)
    first, second = standing_reviews(blind(decided)), standing_reviews(reviews(connection, session, 2))
    now = standing_reviews(decided)
    found = [
        Disagreement(cell, one, second[cell], now[cell] if now[cell].note == SETTLED else None)
        for cell, one in first.items()
        if cell in second and one.class_name != second[cell].class_name
    ]
    return sorted(found, key=lambda one: (one.settled is not None, one.cell))


def blind(decided: Iterable[Review]) -> list[Review]:
    """The decisions of a reader that were taken without the other's in view."""
    return [one for one in decided if one.note != SETTLED]
