"""What people decided on cells as a measure of the network: right, wrong and left open, by session and by class."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from fnrbc_device.counting.recount import column
from fnrbc_device.errors import ReviewError
from fnrbc_device.intervals import per_hundred, share
from fnrbc_device.journal.details import said
from fnrbc_device.language import N_, english
from fnrbc_device.records import INDETERMINATE, Interval, Role, SessionKind
from fnrbc_device.sessions.controls import machine_count
from fnrbc_device.sessions.reviews import Group, basis, groups, reviews, shown, standing_reviews
from fnrbc_device.sessions.verified_count import verified_tally

Outcome = Literal["called", "open", "otherwise"]
"""What the network made of a cell: it called it fNRBC, left it indeterminate, or called it otherwise."""

NO_CELL: Final = N_("no cell")
"""Stands for what a person rejected."""

UNSEEN: Final = N_("leukocyte, nobody looked")
"""Leukocytes by the machine alone: of those an fNRBC is one in thousands."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Cells that truly are of one class, by what the network made of them."""

    role: Role
    called: int = 0
    open: int = 0
    otherwise: int = 0

    @property
    def cells(self) -> int:
        """All of them."""
        return self.called + self.open + self.otherwise

    @property
    def right(self) -> Interval:
        """Share that the network called rightly, with the exact 95 % interval; what it left open is not right."""
        return share(self.called if self.role == "target" else self.otherwise, self.cells)


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """One session as a measure of the network."""

    session: str
    kind: SessionKind
    specimen: str
    classes: Mapping[str, Truth]
    """By the class that the cells truly are of."""
    near_misses: int
    near_misses_seen: int
    """Cells nearly called fNRBC, and how many of them people decided on."""
    machine_per_100: float | None
    verified_per_100: float | None


@dataclass(frozen=True, slots=True)
class Validation:
    """All sessions together."""

    bundle: str
    sessions: Sequence[SessionFigures]
    left_out: Mapping[str, str]
    """Why a session says nothing, by its name."""
    classes: Mapping[str, Truth] = field(default_factory=dict)

    @property
    def sensitivity(self) -> Interval:
        """Share of the fNRBC that people know of which the network called so."""
        return share(self.targets_right, self.targets_right + self.targets_wrong)

    @property
    def specificity(self) -> Interval:
        """Share of the leukocytes that the network did not call fNRBC."""
        kept, false = _of_role(self.classes, "denominator")
        return share(kept, kept + false)

    @property
    def false_per_1000(self) -> Interval:
        """False fNRBC per 1,000 leukocytes, with the exact interval of a ratio of two Poisson counts."""
        rate = per_hundred(self.leukocytes_wrong, max(self.leukocytes_right, 1))
        return Interval(10 * rate.value, 10 * rate.low, 10 * rate.high)

    @property
    def targets_right(self) -> int:
        """FNRBC that were called so."""
        return sum(one.called for one in self.classes.values() if one.role == "target")

    @property
    def targets_wrong(self) -> int:
        """FNRBC that were left open, or called otherwise."""
        return sum(one.open + one.otherwise for one in self.classes.values() if one.role == "target")

    @property
    def leukocytes_right(self) -> int:
        """Leukocytes that were not called fNRBC."""
        return _of_role(self.classes, "denominator")[0]

    @property
    def leukocytes_wrong(self) -> int:
        """Whatever was called fNRBC and is none."""
        return sum(one.called for one in self.classes.values() if one.role != "target")

    @property
    def misses_known(self) -> bool:
        """Whether people looked at every near miss; else the sensitivity is an upper bound."""
        return all(one.near_misses == one.near_misses_seen for one in self.sessions if one.kind != "blank")


def validate(connection: sqlite3.Connection, bundle: str, names: Sequence[str] = ()) -> Validation:
    """Measure a network on sessions that people reviewed, and on blanks, which need no review.

    Parameters
    ----------
    connection
        To the journal; nothing is changed.
    bundle
        Id of the bundle that is measured. Sessions that another one counted are left out, with that reason.
    names
        Of the sessions; none for all that have ended.

    Raises
    ------
    ReviewError
        There is no such session.
    """
    specimen_of = said(connection, "specimen")
    rows = connection.execute(
        f"SELECT session, ended_utc, meta, {specimen_of} FROM sessions ORDER BY started_utc"
    ).fetchall()
    if unknown := sorted(set(names) - {session for session, *_ in rows}):
        raise ReviewError(f"session {unknown[0]} is not in the record; choose one that is listed")
    figures: list[SessionFigures] = []
    left_out: dict[str, str] = {}
    for session, ended, meta, specimen in rows:
        if names and session not in names:
            continue
        about = json.loads(meta)
        if reason := _why_not(connection, session, ended, about, bundle):
            left_out[session] = reason
        else:
            figures.append(_figures(connection, session, about.get("kind", "sample"), specimen))
    return Validation(bundle, figures, left_out, _summed(one.classes for one in figures))


def _why_not(
    connection: sqlite3.Connection, session: str, ended: str | None, about: Mapping[str, str], bundle: str
) -> str:
    """Why a session says nothing of the network; empty where it does."""
    if ended is None:
        return english("it has not ended")
    if about["bundle"] != bundle:
        return english("it was counted with another bundle, %(bundle)s", bundle=about["bundle"][:16])
    if about.get("kind") == "blank":
        return ""
    verified = verified_tally(connection, session)
    if verified.complete and (verified.candidates or verified.reviewed):
        return ""
    if not verified.candidates:
        return english("it has no candidate, and nobody decided on a cell")
    left = verified.candidates - verified.reviewed
    return english("%(left)s of its %(all)s candidates are not reviewed", left=left, all=verified.candidates)


def _figures(connection: sqlite3.Connection, session: str, kind: SessionKind, specimen: str) -> SessionFigures:
    roles = basis(connection, session).classes
    found: dict[str, Counter[Outcome]] = {}
    truths: dict[str, Role] = {}
    for group in groups(connection, session):
        name, role = _truth(group, roles, kind)
        found.setdefault(name, Counter())[_outcome(group)] += group.cells
        truths[name] = role
    near = [one.cell for one in shown(connection, session) if not one.verdict.is_candidate]
    decided = standing_reviews(reviews(connection, session))
    fnrbc, leukocytes = machine_count(connection, session)
    verified = verified_tally(connection, session).fnrbc_per_100_leukocytes
    return SessionFigures(
        session,
        kind,
        specimen,
        {name: Truth(truths[name], **{str(key): n for key, n in found[name].items()}) for name in sorted(found)},
        len(near),
        sum(cell in decided for cell in near),
        100 * fnrbc / leukocytes if leukocytes else None,
        verified.value if verified and kind != "blank" else None,
    )


def _outcome(group: Group) -> Outcome:
    if group.verdict.class_name == INDETERMINATE:
        return "open"
    return "called" if group.verdict.role == "target" else "otherwise"


def _truth(group: Group, roles: Mapping[str, Role], kind: SessionKind) -> tuple[str, Role]:
    """What cells truly are: by a person, by the slide's kind, or as the machine has what nobody was asked about."""
    if group.class_name and not (kind == "blank" and roles[group.class_name] == "target"):
        return group.class_name, roles[group.class_name]
    if kind == "blank" and group.verdict.is_candidate:
        return N_("on a blank"), "ignored"
    if group.decision is not None:
        return NO_CELL, "ignored"
    return (UNSEEN, "denominator") if column(group.verdict) == "leukocytes" else (N_("other, nobody looked"), "ignored")


def _summed(parts: Iterable[Mapping[str, Truth]]) -> dict[str, Truth]:
    total: dict[str, Truth] = {}
    for part in parts:
        for name, one in part.items():
            so_far = total.get(name, Truth(one.role))
            total[name] = Truth(
                one.role, so_far.called + one.called, so_far.open + one.open, so_far.otherwise + one.otherwise
            )
    return dict(sorted(total.items()))


def _of_role(classes: Mapping[str, Truth], role: Role) -> tuple[int, int]:
    """Of the cells with a role, how many were not called fNRBC, and how many were."""
    mine = [one for one in classes.values() if one.role == role]
    return sum(one.open + one.otherwise for one in mine), sum(one.called for one in mine)
