"""Takes down what people decide: each decision, its message and its link of the audit are one transaction."""

import sqlite3
from types import TracebackType
from typing import Any, Final, Literal

from fnrbc_device.contract.log_records import CellRecord, Judgement
from fnrbc_device.contract.topics import LOG_CELL
from fnrbc_device.errors import ReviewError
from fnrbc_device.journal.side_writer import MAX_TEXT, SideWriter
from fnrbc_device.language import N_, english
from fnrbc_device.sessions.reviews import (
    Basis,
    Candidate,
    Reader,
    Review,
    basis,
    candidate,
    require_open,
    reviews,
    standing_reviews,
)

MAX_REQUEST: Final = 64
"""Characters of a request's name; a UUID has 36."""

SHARED_NAME: Final = "microscope"
"""Of whoever sits before the device itself: no name of one person, so that it cannot tell the readers apart."""

Standing = tuple[Literal["unverified", Judgement], str]
"""How a cell stands, and of what class."""


def require_blind(connection: sqlite3.Connection, session: str, reviewer: str, reader: Reader) -> None:
    """Refuse who reads a session twice: two readers are two people.

    Raises
    ------
    ReviewError
        That name has decided as the other reader.
    """
    row = connection.execute(
        "SELECT 1 FROM reviews WHERE session = ? AND reviewer = ? AND second <> ? LIMIT 1",
        (session, reviewer, reader - 1),
    ).fetchone()
    if row and reviewer != SHARED_NAME:
        first = N_("%(name)s is the first reader of session %(session)s; the second must be somebody else")
        second = N_("%(name)s is the second reader of session %(session)s; the first must be somebody else")
        raise ReviewError(english(first if reader == 2 else second, name=reviewer, session=session))


class Decisions(SideWriter):
    """Writes decisions, over a connection of its own, bound to the thread that made it.

    What the machine said stays as it is; a decision stands beside it.
    """

    def decide(
        self,
        session: str,
        cell: int,
        decision: Judgement,
        reviewer: str,
        *,
        class_name: str = "",
        reader: Reader = 1,
        note: str = "",
        request: str = "",
    ) -> int:
        """Take a decision down; returns its ``seq``. The latest on a cell stands, all are kept.

        Parameters
        ----------
        session, cell
            What it is about: running, finished, but not signed off.
        decision
            ``confirmed``: it is of the target class. ``rejected``: it is no cell to count. ``reclassified``: it is of
            ``class_name``; where that is the target class this is taken as ``confirmed``.
        reviewer
            Who decides.
        reader
            1, whose decisions make the verified count, or 2, blind to the first.
        note
            In the reviewer's words. It stays on the device.
        request
            Unique name of what is asked; asked again, it is not done again.

        Raises
        ------
        ReviewError
            The cell is not in the count, the class unknown, the session signed off, or the second reader the first.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            known = self._known(request)
            if known:
                return known
            require_open(self._connection, session)
            require_blind(self._connection, session, reviewer, reader)
            rests_on = basis(self._connection, session)
            found = candidate(self._connection, session, cell)
            decision, called = _settled(rests_on, decision, class_name)
            row = (envelope["seq"], session, cell, reviewer[:MAX_TEXT], reader - 1, decision, called, None)
            self._enter(row, envelope["ts"], note, request)
            standing = (decision, called or found.verdict.class_name)
            return self._say(envelope, found, rests_on, decision, standing, (reviewer, reader))

    def undo(self, session: str, seq: int, reviewer: str, *, reader: Reader = 1, request: str = "") -> int:
        """Take a decision back; returns the ``seq`` of that. What stood before it stands again.

        Parameters
        ----------
        seq
            Of the decision.

        Raises
        ------
        ReviewError
            There is no such decision, it was taken back already, or the session was signed off.
        JournalError
            The disk refuses.
        """
        with self._transaction(session) as envelope:
            known = self._known(request)
            if known:
                return known
            require_open(self._connection, session)
            decided = reviews(self._connection, session, reader)
            taken = _open_decision(decided, session, seq)
            rests_on = basis(self._connection, session)
            found = candidate(self._connection, session, taken.cell)
            row = (envelope["seq"], session, taken.cell, reviewer[:MAX_TEXT], reader - 1, "undone", "", seq)
            self._enter(row, envelope["ts"], "", request)
            before = standing_reviews(one for one in decided if one.seq != seq).get(taken.cell)
            return self._say(envelope, found, rests_on, "undone", _standing(before, found), (reviewer, reader))

    def __enter__(self) -> "Decisions":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _known(self, request: str) -> int:
        """``seq`` of what was asked under this name before, else 0."""
        row = self._connection.execute(
            "SELECT seq FROM reviews WHERE request = ?", (request[:MAX_REQUEST] or None,)
        ).fetchone()
        return int(row[0]) if row else 0

    def _enter(self, row: tuple[Any, ...], at_utc: str, note: str, request: str) -> None:
        self._connection.execute(
            "INSERT INTO reviews (seq, session, cell, reviewer, second, decision, class_name, undoes, at_utc, note,"
            " request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, at_utc, note[:MAX_TEXT], request[:MAX_REQUEST] or None),
        )

    def _say(
        self,
        envelope: dict[str, Any],
        found: Candidate,
        rests_on: Basis,
        event: Literal[Judgement, "undone"],
        standing: Standing,
        who: tuple[str, Reader],
    ) -> int:
        review, class_name = standing
        verdict = found.verdict
        record = CellRecord(
            **envelope,
            cell_id=found.cell,
            event=event,
            class_name=class_name,
            role=rests_on.classes.get(class_name, verdict.role),
            probability=round(verdict.probability, 4),
            target_probability=round(verdict.target_probability, 4),
            x_um=round(found.x_um, 2),
            y_um=round(found.y_um, 2),
            diameter_um=round(found.diameter_um, 2),
            views=found.views,
            island=found.island,
            bundle=rests_on.bundle,
            review=review,
            reason="",
            reviewer=who[0][:MAX_TEXT],
            reader=who[1],
        )
        return self._tell(LOG_CELL, record, "review")


def _settled(rests_on: Basis, decision: Judgement, class_name: str) -> tuple[Judgement, str]:
    """A decision as it is kept, with the class that the cell is of by it."""
    if decision == "rejected":
        return decision, ""
    called = rests_on.target if decision == "confirmed" else class_name
    if called not in rests_on.classes:
        raise ReviewError(f"class {class_name!r} is none of this session's; take one of {', '.join(rests_on.classes)}")
    return ("confirmed" if called == rests_on.target else "reclassified"), called


def _open_decision(decided: list[Review], session: str, seq: int) -> Review:
    undone = {one.undoes for one in decided}
    for one in decided:
        if one.seq == seq and one.decision != "undone" and seq not in undone:
            return one
    raise ReviewError(
        english(
            "decision %(seq)s of session %(session)s does not stand; it was taken back already, or never was",
            seq=seq,
            session=session,
        )
    )


def _standing(before: Review | None, found: Candidate) -> Standing:
    """Review and class of a cell as they stand after an earlier decision, or without one."""
    if before is None or before.decision == "undone":
        return "unverified", found.verdict.class_name
    return before.decision, before.class_name or found.verdict.class_name
