"""What stands after review: a count of its own beside the machine's, and how far two readers agree."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fnrbc_device.counting.claim import claim
from fnrbc_device.counting.recount import Column, column
from fnrbc_device.intervals import per_hundred
from fnrbc_device.records import Claim, Interval
from fnrbc_device.sessions.disagreements import blind
from fnrbc_device.sessions.reviews import (
    Basis,
    Group,
    Reader,
    basis,
    candidates,
    column_by,
    groups,
    reviews,
    standing_reviews,
)


@dataclass(frozen=True, slots=True)
class VerifiedTally:
    """The verified count of a session. The machine's own stands elsewhere and is not part of it."""

    candidates: int
    """Cells that the machine counted as fNRBC or left indeterminate."""
    reviewed: int
    """Of these, how many have a decision that stands."""
    confirmed: int
    rejected: int
    reclassified: int
    """Cells with a decision of each kind, candidates or not."""
    fnrbc: int
    """Cells that a person calls fNRBC."""
    leukocytes: int
    """Those that a person calls so, and those of the machine that nobody was asked about."""
    leukocytes_by_machine: int
    """Of these, the machine's alone: nobody decided on them."""
    other: int
    """Cells that a person calls otherwise."""
    fnrbc_per_100_leukocytes: Interval | None
    """With its exact 95 % interval; None until every candidate is decided on, since a part of them says too little."""
    claim: Claim | None = None
    """With the misses of the network taken out; None as above, and where nothing is known of the network."""

    @property
    def complete(self) -> bool:
        """Whether every candidate has a decision."""
        return self.reviewed == self.candidates

    @property
    def reviewed_share(self) -> float:
        """Of the candidates, how many have a decision, 0..1; 1 where there is none."""
        return self.reviewed / self.candidates if self.candidates else 1.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two readers agree on the cells that both decided on."""

    cells: int
    agreed: int
    kappa: float | None
    """Cohen's kappa, -1..1; None where chance alone makes them agree: both gave one and the same answer throughout."""


def verified_tally(connection: sqlite3.Connection, session: str, reader: Reader = 1) -> VerifiedTally:
    """Count what stands after review.

    Parameters
    ----------
    connection
        To the journal; nothing is changed.
    reader
        2 for the count by the second reader's decisions, which is never published.

    Raises
    ------
    ReviewError
        There is no such session.
    """
    return tally_of(groups(connection, session, reader), basis(connection, session))


def tally_of(stand: Iterable[Group], judged_by: Basis) -> VerifiedTally:
    """Count what stands after review in all groups of a session.

    Parameters
    ----------
    judged_by
        The session's classes, and what is known of its network.
    """
    people: Counter[Column] = Counter()
    decisions: Counter[str] = Counter()
    asked = reviewed = machine = 0
    for group in stand:
        asked += group.cells * group.verdict.is_candidate
        if group.decision is None:
            machine += group.cells * (column(group.verdict) == "leukocytes")
            continue
        reviewed += group.cells * group.verdict.is_candidate
        decisions[group.decision] += group.cells
        if group.class_name:
            people[column_by(judged_by.classes, group.class_name)] += group.cells
    leukocytes = machine + people["leukocytes"]
    settled = asked == reviewed and leukocytes > 0
    return VerifiedTally(
        candidates=asked,
        reviewed=reviewed,
        confirmed=decisions["confirmed"],
        rejected=decisions["rejected"],
        reclassified=decisions["reclassified"],
        fnrbc=people["fnrbc"],
        leukocytes=leukocytes,
        leukocytes_by_machine=machine,
        other=people["other"],
        fnrbc_per_100_leukocytes=per_hundred(people["fnrbc"], leukocytes) if settled else None,
        claim=_claim(people["fnrbc"], leukocytes, judged_by) if settled else None,
    )


def _claim(fnrbc: int, leukocytes: int, judged_by: Basis) -> Claim | None:
    return claim(fnrbc, leukocytes, judged_by.errors, judged_by.provisional, verified=True)


def agreement(connection: sqlite3.Connection, session: str) -> Agreement | None:
    """How far the two readers agree; None until both have decided on every candidate.

    Raises
    ------
    ReviewError
        There is no such session.
    """
    if not all(verified_tally(connection, session, reader).complete for reader in (1, 2)):
        return None
    cells = [one.cell for one in candidates(connection, session)]
    if not cells:
        return None
    first, second = (standing_reviews(blind(reviews(connection, session, reader))) for reader in (1, 2))
    cells = [cell for cell in cells if cell in first and cell in second]
    if not cells:
        return None
    # A rejected cell has no class: that is a category of its own.
    pairs = [(first[cell].class_name, second[cell].class_name) for cell in cells]
    return Agreement(len(pairs), sum(one == other for one, other in pairs), cohen_kappa(pairs))


def cohen_kappa(pairs: list[tuple[str, str]]) -> float | None:
    """Agreement of two readers beyond what chance would bring [1]_.

    Parameters
    ----------
    pairs
        What the first and the second reader called each cell; at least one.

    Returns
    -------
    float or None
        -1..1; None where both gave one and the same answer throughout, and nothing is left beyond chance.

    References
    ----------
    .. [1] J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20,
       1960, 37-46.
    """
    n = len(pairs)
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    by_chance = sum(first[name] * second[name] for name in first) / n**2
    if by_chance == 1:
        return None
    observed = sum(one == other for one, other in pairs) / n
    return (observed - by_chance) / (1 - by_chance)
