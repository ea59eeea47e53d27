"""The stain of a session, by the majority of its pictures.

A single picture tells too little of its stain: one monocyte, no nucleus at all. So the session's pictures vote, and
what the majority of them says holds, steadily, until as clear a majority says otherwise (a changed slide).
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np

from fnrbc_device.language import N_, _, decimal
from fnrbc_device.records import Image, Pose
from fnrbc_device.vision.stain import IDENTITY, Anchors, StainDoubt, StainMap, anchors_of, degrees, map_of, three

FEWEST_VOTES: Final = 3
"""Pictures that must agree before a stain is believed."""

FEWEST_NUCLEI: Final = 10
"""Nuclei in them, together."""

MEMORY: Final = 24
"""Votes that are remembered; the stain follows their medians until so many have come, and then stands still."""

RECENT: Final = 8
"""Latest votes that must agree on another stain, all but two of them, before a settled one is left: a changed slide."""

ALIKE_DEGREES: Final = 7.0
"""Votes whose nuclei differ by no more in colour agree."""

ALIKE_DENSITY: Final = 0.45
"""Votes whose nuclei differ by no more in density (natural logarithm of the ratio) agree."""

MOVED_UM: Final = 40.0
"""A picture votes when it lies so far from the last that did: the same nuclei must not vote twice."""

BUSY_MOVED_UM: Final = 80.0
"""Beside a look a picture votes from here on, once the stain stands still: a vote takes 2.5 ms and more, for which most
frames after a look have the time."""

STILL_FIELD_UM: Final = 120.0
"""A picture that is a whole session votes by fields of this side: about what a camera shows."""

StainState = Literal["unsettled", "settled", "changed"]


class SessionStain:
    """Learns the stain of one session by the majority of its pictures."""

    def __init__(self) -> None:
        self._votes: deque[Anchors] = deque(maxlen=MEMORY)
        self._taken = 0
        """Votes since the stain was settled on, this one included."""
        self._place: Pose | None = None
        self.anchors: Anchors | None = None
        """Of the session; None until it is settled."""
        self.state: StainState = "unsettled"
        """``changed``: settled, and another than before in this session."""
        self.doubt: StainDoubt | None = None
        """Why the last picture that was asked said nothing; None where it voted, and before the first."""

    @property
    def votes(self) -> int:
        """Pictures that agreed on it so far; from ``MEMORY`` on it stands still."""
        return self._taken if self.anchors is not None else 0

    @property
    def map(self) -> StainMap:
        """The way to the reference; the identity until the stain is settled."""
        return IDENTITY if self.anchors is None else map_of(self.anchors)

    def learn(
        self,
        image: Image,
        pixel_um: float,
        glass_rgb: tuple[float, float, float],
        pose: Pose | None = None,
        *,
        busy: bool = False,
    ) -> None:
        """Let a picture vote.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, as the camera gave it.
        pixel_um
            Size of its pixels, um, > 0.
        glass_rgb
            Colour of empty glass, 0..255.
        pose
            Where it lies on the slide; it votes only ``MOVED_UM`` away from the last that did. None: each votes.
        busy
            The frame costs enough without: where the stain stands still, ``BUSY_MOVED_UM`` are waited for.
        """
        far_um = BUSY_MOVED_UM if busy and self._taken >= MEMORY else MOVED_UM
        if pose is not None and not self._moved(pose, far_um / pixel_um):
            return
        said = anchors_of(image, pixel_um, glass_rgb)
        self._place = pose
        self._hear(said)

    def learn_still(self, image: Image, pixel_um: float, glass_rgb: tuple[float, float, float]) -> None:
        """Let a picture that is a whole session vote, field by field; a small one alone settles nothing."""
        for field in _fields(image, pixel_um):
            self._hear(anchors_of(field, pixel_um, glass_rgb))

    def as_note(self) -> dict[str, Any]:
        """The stain for a record: its state, and optical densities (red, green, blue), null where they are unknown."""
        note: dict[str, Any] = {"state": self.state, "doubt": self.doubt, "nucleus_od": None, "rest_od": None}
        if self.anchors is not None:
            note["nucleus_od"] = [round(part, 3) for part in self.anchors.nucleus]
            note["rest_od"] = [round(part, 3) for part in self.anchors.rest]
        return note

    def in_words(self) -> str:
        """The stain for a person, and why it is not known where it is not."""
        if self.anchors is None:
            if self.doubt is None:
                return _("not settled: looked at as it is")
            return _("not settled (%(why)s): looked at as it is", why=_(_WHY[self.doubt]))
        both = (self.anchors.nucleus, self.anchors.rest)
        nucleus, rest = (" ".join(decimal(part, 2) for part in colour) for colour in both)
        return _(
            "%(state)s: nuclei %(nucleus)s, the rest %(rest)s (optical density in red, green, blue)",
            state=_("changed") if self.state == "changed" else _("settled"),
            nucleus=nucleus,
            rest=rest,
        )

    def _hear(self, said: Anchors | StainDoubt) -> None:
        if not isinstance(said, Anchors):
            self.doubt = said
            return
        self.doubt = None
        self._votes.append(said)
        self._taken += 1
        if self.anchors is None:
            self._acknowledge(list(self._votes), "settled")
        elif self._disagrees():
            self._acknowledge(list(self._votes)[-RECENT:], "changed")
        elif self._taken <= MEMORY:
            self._refine()

    def _acknowledge(self, votes: list[Anchors], state: StainState) -> None:
        agreed = _majority(votes)
        if len(agreed) < FEWEST_VOTES or sum(vote.nuclei for vote in agreed) < FEWEST_NUCLEI:
            return
        self._votes = deque(agreed, maxlen=MEMORY)
        self._taken, self.state = len(agreed), state
        self._take(agreed)

    def _refine(self) -> None:
        assert self.anchors is not None
        self._take([vote for vote in self._votes if _alike(vote, self.anchors)])

    def _take(self, votes: list[Anchors]) -> None:
        self.anchors = _median(votes)

    def _disagrees(self) -> bool:
        """Whether all but two of the latest votes agree on another stain."""
        assert self.anchors is not None
        recent = list(self._votes)[-RECENT:]
        others = [vote for vote in recent if not _alike(vote, self.anchors)]
        return len(others) >= RECENT - 2 and len(_majority(others)) >= RECENT - 2

    def _moved(self, pose: Pose, far_px: float) -> bool:
        before = self._place
        if before is None or before.island != pose.island:
            return True
        return bool(np.hypot(pose.row_px - before.row_px, pose.col_px - before.col_px) > far_px)


def _majority(votes: list[Anchors]) -> list[Anchors]:
    """The votes that agree with the one most others agree with, where they are more than half; else none."""
    agreed: list[Anchors] = max(
        ([other for other in votes if _alike(vote, other)] for vote in votes), key=len, default=[]
    )
    return agreed if 2 * len(agreed) > len(votes) else []


def _alike(one: Anchors, other: Anchors) -> bool:
    ratio = np.log(np.linalg.norm(one.nucleus) / np.linalg.norm(other.nucleus))
    return degrees(one.nucleus, other.nucleus) <= ALIKE_DEGREES and bool(abs(ratio) <= ALIKE_DENSITY)


def _median(votes: list[Anchors]) -> Anchors:
    nucleus = np.median([vote.nucleus for vote in votes], axis=0)
    rest = np.median([vote.rest for vote in votes], axis=0)
    return Anchors(three(nucleus), three(rest), sum(vote.nuclei for vote in votes))


def _fields(image: Image, pixel_um: float) -> Iterator[Image]:
    """A picture in fields of about ``STILL_FIELD_UM``."""
    rows, cols = (max(1, round(side * pixel_um / STILL_FIELD_UM)) for side in image.shape[:2])
    for band in np.array_split(image, rows):
        yield from np.array_split(band, cols, axis=1)


_WHY: Final[dict[StainDoubt, str]] = {
    "no_nuclei": N_("the last picture showed too few nuclei"),
    "no_glass": N_("the last picture showed no empty glass"),
    "no_colours": N_("the camera shows no colours"),
    "clipped_glass": N_("empty glass is saturated"),
}
