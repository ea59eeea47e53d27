"""Finds ground seen before: which older island a younger one is part of, proved by the pictures of two frames.

Whenever more than one island is open, every keyframe is held against every keyframe of the other islands, a few each
frame, newest first; and before all others those that lead, for next to them the others show little more. A wrong join
is worse than an open island, so a join needs two different frames that say the same, far beyond what chance does over
as many comparisons as were made.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Join, Pose
from fnrbc_device.vision.keyframes import COARSE, Keyframe, Keyframes
from fnrbc_device.vision.refinement import STEPS, refined
from fnrbc_device.vision.shift import ShiftPicture, overlap_correlation, search_shift, significance

FRESH_PAIRS: Final = 6
LATER_PAIRS: Final = 1
"""Pairs of keyframes compared a frame, soon after a loss and from then on; one costs 0.2 ms. With jumps four times a
second 119 joins are found where twelve pairs a frame found 125."""

SOON: Final = 1200
"""Pairs that are compared soon after a loss: a new keyframe with most others, or 100 with a dozen each."""

LEADING: Final = 0.4
"""A keyframe leads where none that does lies nearer on its island than this share of a side; neighbours are 0.22 apart.
Leading ones first find as many joins with half the pairs."""

PEAKS: Final = 2
"""Peaks of the correlation that are looked at: the right shift of two sharp keyframes is the first or the second."""

PROBES: Final = 256
"""Keyframes that wait to be compared; beyond, the oldest wait no more."""

PICTURES: Final = 256
"""Coarse pictures kept ready: 40 MB."""

CHANCE_SIGMA: Final = 4.5
"""Significance that chance reaches over one pair's shifts; over N pairs its square grows by ``2 ln N``."""

SECOND_SIGMA: Final = 4.5
"""Significance of the second frame, whose shift is foretold: nothing is searched."""

LEAST_SHARED: Final = 0.15
"""Least share of the frame that both must show: some 40 red cells' room."""

AGREE_UM: Final = 1.0
"""Two frames agree within this distance; chance shifts lie anywhere in 100 um and more."""

STILL_UM: Final = 3.0
"""What stands in the camera shows no larger shift than this: such a shift alone proves nothing."""

SECONDS: Final = 3
"""Keyframes of an island that are asked for the second proof, newest first."""

PROPOSALS: Final = 4
"""Proposals that wait for a second frame."""

DOUBTFUL: Final = 0.6
"""A second frame that should show the same ground and correlates less than this ends a proposal."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A frame that was just placed."""

    frame: int
    pose: Pose
    density: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A join that two frames' pictures prove."""

    join: Join
    shared_px: tuple[float, float, float, float]
    """Top, left, bottom, right on the older island: ground that both are proved to show."""


@dataclass(slots=True)
class Probe:
    """A keyframe and how far the comparison with those before it has come."""

    number: int
    before: int
    """Keyframes below this number are still to be compared with it."""
    first: bool
    """It leads, and is compared with those that lead; else with the others, if it leads, or with all."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What one frame says of where its island lies."""

    frame: int
    proposal: Proposal
    sigma: float
    still: bool
    """Dust could say the same."""

    @property
    def join(self) -> Join:
        """What it proves."""
        return self.proposal.join


class Relocation:
    """Searches the keyframes of one session.

    Parameters
    ----------
    keyframes
        Filled by the registration.
    """

    def __init__(self, keyframes: Keyframes) -> None:
        self._keyframes = keyframes
        self._listed = 0
        self._firsts: deque[Probe] = deque(maxlen=PROBES)
        self._others: deque[Probe] = deque(maxlen=PROBES)
        self._coarse: OrderedDict[int, ShiftPicture] = OrderedDict()
        self._proposals: list[Proof] = []
        self._fresh = 0
        """Pairs that are still to be compared soon."""
        self._newest_island = 0
        self.comparisons = 0
        """Pairs compared so far in the session."""

    def search(self, sight: Sight) -> Proposal | None:
        """Look a little further.

        Parameters
        ----------
        sight
            The newest frame.

        Returns
        -------
        Proposal or None
            What two frames proved. It stays proposed until it is made or refused.
        """
        islands = self._keyframes.islands
        if len(islands) < 2:
            self._rest()
            return None
        self._enlist(islands[-1])
        # An island that was left shows nothing new: what its keyframes could prove was asked for at once.
        self._proposals = [first for first in self._proposals if first.join.island == sight.pose.island]
        for first in list(self._proposals):
            proposal = self._seconded(first, [sight])
            if proposal is not None:
                return proposal
        return self._compared(sight)

    def joined(self, join: Join) -> None:
        """Forget what was proposed of islands that are no more."""
        ended = (join.island, join.into)
        self._proposals = [p for p in self._proposals if p.join.island not in ended and p.join.into not in ended]

    def refused(self, join: Join) -> None:
        """Forget what proposed a join."""
        self._proposals = [p for p in self._proposals if (p.join.island, p.join.into) != (join.island, join.into)]

    def _rest(self) -> None:
        """Only one island: nothing to compare, of what is there."""
        self._list()
        self._firsts.clear()
        self._others.clear()
        self._proposals.clear()

    def _enlist(self, newest_island: int) -> None:
        self._list()
        if newest_island > self._newest_island:
            self._newest_island, self._fresh = newest_island, SOON

    def _list(self) -> None:
        """Take in the keyframes that came."""
        for number in range(self._listed, self._keyframes.added):
            keyframe = self._keyframes.get(number)
            if keyframe is not None and not self._is_led(keyframe):
                keyframe.leads = True
                self._firsts.appendleft(Probe(number, number, first=True))
            self._others.appendleft(Probe(number, number, first=False))
        self._listed = self._keyframes.added

    def _is_led(self, keyframe: Keyframe) -> bool:
        return any(near.leads for near in self._keyframes.near(keyframe.pose, LEADING))

    def _compared(self, sight: Sight) -> Proposal | None:
        """Compare as many pairs as a frame may cost."""
        for _ in range(self._pairs_a_frame()):
            pair = self._next_pair()
            if pair is None:
                return None
            self._fresh = max(0, self._fresh - 1)
            proof = self._first_proof(*pair)
            if proof is None:
                continue
            self._proposals = [*self._proposals[-PROPOSALS + 1 :], proof]
            proposal = self._seconded(proof, self._sights(proof.join.island, sight))
            if proposal is not None:
                return proposal
        return None

    def _pairs_a_frame(self) -> int:
        if not self._fresh:
            return LATER_PAIRS
        # In a long session most pairs need a coarse picture that is not kept ready, which costs as much again.
        return FRESH_PAIRS if len(self._keyframes) <= PICTURES else FRESH_PAIRS // 2

    def _next_pair(self) -> tuple[Keyframe, Keyframe] | None:
        """The next two keyframes of different islands: the younger island's first."""
        for probes in (self._firsts, self._others):
            while probes:
                pair = self._pair_of(probes[0])
                if pair is not None:
                    return pair
                probes.popleft()
        return None

    def _pair_of(self, probe: Probe) -> tuple[Keyframe, Keyframe] | None:
        """The next pair of a keyframe; None where it was compared with all."""
        keyframe = self._keyframes.get(probe.number)
        while keyframe is not None and probe.before > 0:
            probe.before -= 1
            other = self._keyframes.get(probe.before)
            if other is None or other.pose.island == keyframe.pose.island:
                continue
            if (keyframe.leads and other.leads) == probe.first:
                return (keyframe, other) if keyframe.pose.island > other.pose.island else (other, keyframe)
        return None

    def _first_proof(self, young: Keyframe, old: Keyframe) -> Proof | None:
        self.comparisons += 1
        found = search_shift(self._coarse_of(old), self._coarse_of(young), PEAKS)
        if found is None:
            return None
        needed = np.sqrt(CHANCE_SIGMA**2 + 2 * np.log(self.comparisons))
        sight = Sight(young.frame, young.pose, young.density())
        proof, _ = _proved(sight, old, COARSE * found.row_px, COARSE * found.col_px)
        return proof if proof is not None and proof.sigma >= needed else None

    def _sights(self, island: int, newest: Sight) -> Iterator[Sight]:
        """Frames of an island that can give the second proof."""
        if newest.pose.island == island:
            yield newest
        for keyframe in reversed(self._keyframes.of_island(island)[-SECONDS:]):
            yield Sight(keyframe.frame, keyframe.pose, keyframe.density())

    def _seconded(self, first: Proof, seconds: Iterable[Sight]) -> Proposal | None:
        """The join, if another frame of the island says the same; a frame that says otherwise ends the proposal."""
        for second in seconds:
            if second.frame == first.frame:
                continue
            proof, doubtful = self._foretold(first.join, second)
            if doubtful:
                self._proposals.remove(first)
                return None
            if proof is not None and proof.sigma >= SECOND_SIGMA and not (proof.still and first.still):
                return max(first, proof, key=lambda known: known.sigma).proposal
        return None

    def _foretold(self, join: Join, sight: Sight) -> tuple[Proof | None, bool]:
        """What a frame says where the join says it lies, and whether it contradicts."""
        there = join.moved(sight.pose)
        for old in self._keyframes.near(there, 1 - LEAST_SHARED)[:1]:
            down, right = (old.pose.row_px - there.row_px) / old.factor, (old.pose.col_px - there.col_px) / old.factor
            proof, doubtful = _proved(sight, old, down, right)
            if proof is not None and _apart_um(proof.join, join, old) > AGREE_UM:
                return None, True
            return proof, doubtful
        return None, False

    def _coarse_of(self, keyframe: Keyframe) -> ShiftPicture:
        known = self._coarse.get(keyframe.number)
        if known is None:
            known = self._coarse[keyframe.number] = keyframe.coarse()
            if len(self._coarse) > PICTURES:
                self._coarse.popitem(last=False)
        else:
            self._coarse.move_to_end(keyframe.number)
        return known


def _proved(sight: Sight, old: Keyframe, row: float, col: float) -> tuple[Proof | None, bool]:
    """What a frame's shift against a keyframe, known to a pixel or two, proves; and whether it contradicts."""
    reference, moving = old.density(), sight.density
    height, width = moving.shape
    if (1 - abs(row) / height) * (1 - abs(col) / width) < LEAST_SHARED or max(abs(row) / height, abs(col) / width) >= 1:
        return None, False
    row, col = refined(reference, moving, (round(row), round(col)), STEPS)
    whole = round(row), round(col)
    if overlap_correlation(reference, moving, *whole) < DOUBTFUL:
        return None, True
    sigma = significance(reference, moving, *whole, old.pixel_um)
    lies = Pose(old.pose.island, old.pose.row_px - row * old.factor, old.pose.col_px - col * old.factor)
    join = Join(
        sight.pose.island,
        old.pose.island,
        lies.row_px - sight.pose.row_px,
        lies.col_px - sight.pose.col_px,
    )
    still = float(np.hypot(row, col)) * old.pixel_um < STILL_UM
    return Proof(sight.frame, Proposal(join, _shared(lies, old)), sigma, still), False


def _shared(lies: Pose, old: Keyframe) -> tuple[float, float, float, float]:
    height, width = old.size_px
    return (
        max(lies.row_px, old.pose.row_px),
        max(lies.col_px, old.pose.col_px),
        min(lies.row_px, old.pose.row_px) + height,
        min(lies.col_px, old.pose.col_px) + width,
    )


def _apart_um(first: Join, second: Join, keyframe: Keyframe) -> float:
    um = keyframe.pixel_um / keyframe.factor
    return float(np.hypot(first.row_px - second.row_px, first.col_px - second.col_px)) * um
