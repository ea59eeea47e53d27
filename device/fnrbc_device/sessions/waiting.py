"""What a session waits for, and whom: from its start to its sign-off."""

from dataclasses import dataclass
from typing import Literal

from fnrbc_device.sessions.archive import ArchivedSession


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that somebody has to do."""

    what: Literal["end", "specimen", "decide", "sign"]
    role: Literal["operator", "reviewer"]
    """The lowest role that may do it."""
    cells: int = 0
    """Candidates to decide on."""


def waiting(entry: ArchivedSession) -> list[Waiting]:
    """What a session waits for, the next thing first; nothing where it is done.

    Of a blank and of a control nothing is asked once it has ended: their counts are no results.
    """
    if entry.signed_utc:
        return []
    if entry.ended_utc is None:
        return [Waiting("end", "operator")]
    if entry.meta.kind != "sample":
        return []
    found = [] if entry.meta.specimen else [Waiting("specimen", "operator")]
    left = entry.verified.candidates - entry.verified.reviewed
    return [*found, Waiting("decide", "reviewer", left) if left else Waiting("sign", "reviewer")]
