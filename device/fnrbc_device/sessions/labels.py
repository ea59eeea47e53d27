"""What people decided on cells, with the pictures of the cells: what a network can be taught by."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from fnrbc_device.counting.recount import ENTERING
from fnrbc_device.errors import JournalError
from fnrbc_device.journal.read_only import reading
from fnrbc_device.records import Image, Role, Verdict
from fnrbc_device.sessions.reviews import Review, basis, reviews, standing_reviews


@dataclass(frozen=True, slots=True, eq=False)
class KeptCell:
    """A cell that stands in the machine's count and whose picture the record keeps."""

    session: str
    cell: int
    verdict: Verdict
    """The machine's."""
    label: Role | None
    """What people say that it counts as; None where nobody decided."""
    near_miss: bool
    """Whether the machine nearly left it to a person."""
    pngs: tuple[bytes, ...]
    """Its views that are kept, best first."""

    @property
    def png(self) -> bytes:
        """Its best view."""
        return self.pngs[0]

    @property
    def crop(self) -> Image:
        """(120, 120, 3) uint8 RGB: its best view.

        Raises
        ------
        JournalError
            The picture is damaged.
        """
        return self._unpacked(self.png)

    @property
    def crops(self) -> Image:
        """(V, 120, 120, 3) uint8 RGB: its views that are kept, best first.

        Raises
        ------
        JournalError
            A picture is damaged.
        """
        return np.stack([self._unpacked(png) for png in self.pngs])

    def _unpacked(self, png: bytes) -> Image:
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise JournalError(
                f"the picture of cell {self.cell} of session {self.session} is damaged; "
                "`fnrbc verify` says where the record is broken"
            )
        return np.ascontiguousarray(picture[..., ::-1], np.uint8)


def of_sessions(journal: Path, sessions: Sequence[str]) -> dict[str, list[KeptCell]]:
    """Read the cells whose pictures are kept, by session.

    Parameters
    ----------
    journal
        The record's file.
    sessions
        Their names; none for all that somebody reviewed.

    Raises
    ------
    ReviewError
        There is no such session.
    JournalError
        There is no such file, or it cannot be read.
    """
    with reading(journal) as connection:
        names = list(sessions) or [
            name for (name,) in connection.execute("SELECT DISTINCT session FROM reviews ORDER BY session")
        ]
        return {name: kept_cells(connection, name) for name in names}


def kept_cells(connection: sqlite3.Connection, session: str) -> list[KeptCell]:
    """Read the cells of a session whose pictures are kept, in the order of their numbers.

    Raises
    ------
    ReviewError
        There is no such session.
    """
    rests_on = basis(connection, session)
    roles = rests_on.classes
    first, second = (standing_reviews(reviews(connection, session, reader)) for reader in (1, 2))
    rows = connection.execute(
        "SELECT cell, class_name, role, probability, target_probability, picture FROM"
        " (SELECT max(seq) AS seq, cell, event, class_name, role, probability, target_probability FROM events"
        "  WHERE session = ? GROUP BY cell) AS newest JOIN crops USING (seq)"
        f" WHERE event IN ({', '.join(repr(one) for one in sorted(ENTERING))}) ORDER BY cell, view",
        (session,),
    )
    found = []
    for (cell, *machine), views in groupby(rows, key=lambda row: row[:-1]):
        verdict, label = Verdict(*machine), agreed(first.get(cell), second.get(cell), roles)
        pngs = tuple(bytes(png) for *_, png in views)
        found.append(KeptCell(session, cell, verdict, label, verdict.is_near_miss(rests_on.threshold), pngs))
    return found


def agreed(first: Review | None, second: Review | None, roles: Mapping[str, Role]) -> Role | None:
    """What the readers say that a cell counts as: the target only if all who read it say so.

    Where they do not agree, one who says that it is something else says what. A rejected cell is none of the classes,
    and so is ignored.
    """
    said = [_said(one, roles) for one in (first, second) if one is not None]
    others = [role for role in said if role != "target"]
    return others[0] if others else "target" if said else None


def _said(review: Review, roles: Mapping[str, Role]) -> Role:
    return roles[review.class_name] if review.class_name else "ignored"
