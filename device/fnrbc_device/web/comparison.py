"""Sessions side by side, row by row, with what differs between them told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fnrbc_device.counting.claim_words import claim_words
from fnrbc_device.language import N_, _, as_decimal, decimal, local, number
from fnrbc_device.records import Interval
from fnrbc_device.sessions.archive import ArchivedSession
from fnrbc_device.texts import rejection

Weight = Literal["none", "may_matter", "decides"]
"""What it means where sessions differ: nothing for their counts, perhaps something, or that other rules counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the comparison."""

    name: str
    values: tuple[str, ...]
    weight: Weight = "none"

    @property
    def differs(self) -> bool:
        """Whether the sessions were counted by different rules here, so that their counts cannot be compared."""
        return self.weight == "decides" and len(set(self.values)) > 1

    @property
    def may_matter(self) -> bool:
        """Whether something else than the specimen may explain a part of a difference here."""
        return self.weight == "may_matter" and len(set(self.values)) > 1


_COUNTS: Final[dict[str, Callable[[ArchivedSession], str]]] = {
    N_("Started"): lambda one: local(one.started_utc),
    N_("Specimen"): lambda one: one.meta.specimen or _("none given"),
    N_("Operator"): lambda one: one.meta.operator or _("started by itself"),
    N_("fNRBC, machine"): lambda one: number(one.tally.fnrbc),
    N_("Leukocytes, machine"): lambda one: number(one.tally.leukocytes),
    N_("Indeterminate"): lambda one: number(one.tally.indeterminate),
    N_("Other"): lambda one: number(one.tally.other),
    N_("fNRBC per 100 leukocytes, machine"): lambda one: in_words(one.tally.fnrbc_per_100_leukocytes),
    N_("What that may claim, machine"): lambda one: claim_words(one.tally.claim, one.tally.provisional) or _("nothing"),
    N_("fNRBC, verified"): lambda one: number(one.verified.fnrbc),
    N_("Candidates reviewed"): lambda one: _part(one.verified.reviewed, one.verified.candidates),
    N_("fNRBC per 100 leukocytes, verified"): lambda one: in_words(one.verified.fnrbc_per_100_leukocytes),
    N_("What that may claim, verified"): lambda one: (
        claim_words(one.verified.claim, one.tally.provisional) or _("nothing before all candidates are reviewed")
    ),
    N_("Area seen"): lambda one: _area(one),
    N_("Frames used"): lambda one: _part(one.tally.frames_used, one.tally.frames),
    N_("Frames not used"): lambda one: _rejected(one),
    N_("Left open"): lambda one: "; ".join(one.left_open) or _("nothing"),
    N_("Signed off"): lambda one: _signed(one),
}

_RULES: Final[dict[str, Callable[[ArchivedSession], str]]] = {
    N_("Model bundle"): lambda one: one.meta.bundle[:12],
    N_("Threshold"): lambda one: as_decimal(f"{one.meta.threshold:g}"),
}

_CIRCUMSTANCES: Final[dict[str, Callable[[ArchivedSession], str]]] = {
    N_("Software"): lambda one: one.meta.software,
    N_("Camera"): lambda one: one.meta.source,
    N_("Objective"): lambda one: one.meta.objective or _("the camera's own setting"),
    N_("Pixel size"): lambda one: as_decimal(f"{one.meta.pixel_size_um:g}") + " \N{MICRO SIGN}m",
}

_BESIDE: Final[dict[str, Callable[[ArchivedSession], str]]] = {
    N_("Configuration"): lambda one: one.meta.config_hash[:12] or _("not on record"),
}
"""Most of a configuration, such as the broker's address, says nothing of the count; what does stands above."""


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
    parts: tuple[tuple[Weight, dict[str, Callable[[ArchivedSession], str]]], ...] = (
        ("none", _COUNTS), ("decides", _RULES), ("may_matter", _CIRCUMSTANCES), ("none", _BESIDE),
    )  # fmt: skip
    return [
        Row(_(name), tuple(map(say, entries)), weight) for weight, part in parts for name, say in part.items()
    ]


def in_words(rate: Interval | None) -> str:
    """Write a ratio with its 95 % interval."""
    return f"{decimal(rate.value)} ({decimal(rate.low)}\N{EN DASH}{decimal(rate.high)})" if rate else "\N{EN DASH}"


def _area(one: ArchivedSession) -> str:
    return f"{decimal(one.tally.unique_area_mm2, 3)} mm\N{SUPERSCRIPT TWO}" if one.area_known else _("not on record")


def _part(part: int, whole: int) -> str:
    return _("%(part)s of %(whole)s", part=number(part), whole=number(whole))


def _signed(one: ArchivedSession) -> str:
    return _("%(at)s by %(name)s", at=local(one.signed_utc), name=one.signed_by) if one.signed_utc else _("no")


def _rejected(one: ArchivedSession) -> str:
    worst_first = sorted(one.tally.frames_rejected.items(), key=lambda item: -item[1])
    return "; ".join(f"{number(n)} {rejection(reason).words}" for reason, n in worst_first) or "none"
