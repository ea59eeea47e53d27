"""The drift of a session as a page shows it: bounded in its work, and worked out once while nothing changes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.errors import FnrbcError
from fnrbc_device.journal.read_only import reading
from fnrbc_device.learning.drift import FEWEST_CROPS, Drift, drifts, in_words
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.sessions.labels import KeptCell, kept_cells
from fnrbc_device.sessions.lookup import last_change
from fnrbc_device.sessions.recorded_stain import RecordedStain, recorded_stain

MOST_CROPS: Final = 500
"""Of a session, spread over its whole pan. The share of crops beyond a range is then known to 4 percentage points, and
they take 0.6 s of one core; all 1,500 that a long session keeps would take two."""

REMEMBERED: Final = 8
"""Sessions; one has some 20 figures."""

WAIT_S: Final = 5.0
"""One drift is worked out at a time: counting needs the other core."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How a session's crops look beside the bundle's, in words and figures."""

    session: str
    bundle: str
    found: tuple[Drift, ...]
    crops: int
    """Looked at."""
    kept: int
    """That the record has."""
    reviewed: int
    """Cells among those kept that somebody reviewed."""
    recorded: RecordedStain | None
    """What the record says of the session's stain; None where it says nothing."""

    @property
    def words(self) -> tuple[str, ...]:
        """In the language that is spoken now: the first says it all; then a line a difference, and the cure."""
        return tuple(in_words(self.found, self.session).splitlines())

    @property
    def stain(self) -> str:
        """What the record says of the stain, in the language that is spoken now; empty where it says nothing."""
        return "" if self.recorded is None else self.recorded.in_words()

    @property
    def is_told(self) -> bool:
        """Whether there is a difference to tell of."""
        return any(one.is_told for one in self.found)

    @property
    def is_alike(self) -> bool:
        """Whether there were crops enough to tell, and none."""
        return not self.is_told and any(one.crops >= FEWEST_CROPS for one in self.found)


class DriftCache:
    """Drift reports of one device. Safe to ask from several threads.

    Parameters
    ----------
    journal
        The record's file.
    bundle
        Loads the one in use.
    """

    def __init__(self, journal: Path, bundle: Callable[[], Bundle]) -> None:
        self._journal = journal
        self._bundle = bundle
        self._busy = threading.Lock()
        self._known: OrderedDict[tuple[str, int, str], DriftReport] = OrderedDict()

    def of(self, session: str) -> DriftReport:
        """Report on a session.

        Raises
        ------
        ReviewError
            There is no such session.
        BundleError
            The bundle does not say how its crops looked, or cannot be read.
        JournalError
            The record cannot be read.
        FnrbcError
            Another one is being worked out for too long.
        """
        if not self._busy.acquire(timeout=WAIT_S):
            raise FnrbcError(f"another drift report has been worked on for {WAIT_S:.0f} s; ask again in a minute")
        try:
            return self._of(session, self._bundle())
        finally:
            self._busy.release()

    def _of(self, session: str, bundle: Bundle) -> DriftReport:
        with reading(self._journal) as connection:
            key = session, last_change(connection, session), bundle.id
            if key not in self._known:
                stain = recorded_stain(connection, session)
                self._known[key] = _report(session, kept_cells(connection, session), bundle, stain)
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return self._known[key]


def _report(
    session: str, cells: Sequence[KeptCell], bundle: Bundle, stain: RecordedStain | None
) -> DriftReport:
    chosen = _spread(cells)
    found = drifts(chosen, bundle)
    reviewed = sum(one.label is not None for one in cells)
    return DriftReport(session, bundle.id, tuple(found), len(chosen), len(cells), reviewed, stain)


def _spread(cells: Sequence[KeptCell]) -> Sequence[KeptCell]:
    """As many as may be looked at, evenly over the pan."""
    if len(cells) <= MOST_CROPS:
        return cells
    return [cells[index * len(cells) // MOST_CROPS] for index in range(MOST_CROPS)]
