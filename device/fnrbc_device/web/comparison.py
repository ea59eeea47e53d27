"""Sessions side by side, row by row, with what differs between them told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fnrbc_device.language import number
from fnrbc_device.records import Interval
from fnrbc_device.sessions.archive import ArchivedSession
from fnrbc_device.texts import claim_words, rejection


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison."""

    name: str
    values: tuple[str, ...]
    basis: bool
    """Whether counts can only be compared where it is the same."""

    @property
    def differs(self) -> bool:
        """Whether the sessions rest on different things here."""
        return self.basis and len(set(self.values)) > 1


_COUNTS: Final[dict[str, Callable[[ArchivedSession], str]]] = {
    "Started": lambda one: one.started_utc[:16].replace("T", " ") + " UTC",
    "Specimen": lambda one: one.meta.specimen or "none given",
    "Operator": lambda one: one.meta.operator or "started by itself",
    "fNRBC, machine": lambda one: number(one.tally.fnrbc),
    "Leukocytes, machine": lambda one: number(one.tally.leukocytes),
    "Indeterminate": lambda one: number(one.tally.indeterminate),
    "Other": lambda one: number(one.tally.other),
    "fNRBC per 100 leukocytes, machine": lambda one: in_words(one.tally.fnrbc_per_100_leukocytes),
    "What that may claim, machine": lambda one: claim_words(one.tally.claim, one.tally.provisional) or "nothing",
    "fNRBC, verified": lambda one: number(one.verified.fnrbc),
    "Candidates reviewed": lambda one: f"{number(one.verified.reviewed)} of {number(one.verified.candidates)}",
    "fNRBC per 100 leukocytes, verified": lambda one: in_words(one.verified.fnrbc_per_100_leukocytes),
    "What that may claim, verified": lambda one: (
        claim_words(one.verified.claim, one.tally.provisional) or "nothing before all candidates are reviewed"
    ),
    "Area seen": lambda one: _area(one),
    "Frames used": lambda one: f"{number(one.tally.frames_used)} of {number(one.tally.frames)}",
    "Frames not used": lambda one: _rejected(one),
    "Left open": lambda one: "; ".join(one.left_open) or "nothing",
    "Signed off": lambda one: f"{one.signed_utc[:16].replace('T', ' ')} by {one.signed_by}" if one.signed_utc else "no",
}

_BASIS: Final[dict[str, Callable[[ArchivedSession], str]]] = {
    "Model bundle": lambda one: one.meta.bundle[:12],
    "Threshold": lambda one: f"{one.meta.threshold:g}",
    "Software": lambda one: one.meta.software,
    "Camera": lambda one: one.meta.source,
    "Objective": lambda one: one.meta.objective or "the camera's own setting",
    "Pixel size": lambda one: f"{one.meta.pixel_size_um:g} \N{MICRO SIGN}m",
    "Configuration": lambda one: one.meta.config_hash[:12] or "not on record",
}


def comparison(entries: Sequence[ArchivedSession]) -> list[Row]:
    """Lay sessions side by side.

    Parameters
    ----------
    entries
        Two or more.

    Returns
    -------
    list
        A value for each session in every row: first what was counted, then what that rests on.
    """
    rows = [Row(name, tuple(map(say, entries)), basis=False) for name, say in _COUNTS.items()]
    return rows + [Row(name, tuple(map(say, entries)), basis=True) for name, say in _BASIS.items()]


def in_words(rate: Interval | None) -> str:
    """Write a ratio with its 95 % interval."""
    return f"{rate.value:.1f} ({rate.low:.1f}\N{EN DASH}{rate.high:.1f})" if rate else "\N{EN DASH}"


def _area(one: ArchivedSession) -> str:
    return f"{one.tally.unique_area_mm2:.3f} mm\N{SUPERSCRIPT TWO}" if one.area_known else "not on record"


def _rejected(one: ArchivedSession) -> str:
    worst_first = sorted(one.tally.frames_rejected.items(), key=lambda item: -item[1])
    return "; ".join(f"{number(n)} {rejection(reason).words}" for reason, n in worst_first) or "none"
