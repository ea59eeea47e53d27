"""What stands first on a session's report and page: the count after review, who verified it and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnrbc_device.language import _, decimal, number
from fnrbc_device.records import Interval
from fnrbc_device.reporting.counts import claim_fields
from fnrbc_device.sessions.archive import ArchivedSession
from fnrbc_device.texts import signed_words

Box = tuple[str, str, str]
"""Kind, value and name of a figure in its frame."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The verified count, as a report opens with it."""

    words: str
    """Who verified it and when, and what is open."""
    signed: bool
    boxes: tuple[Box, ...]
    claim: Mapping[str, Any] | None
    """As in ``summary.json``."""


def lead_of(entry: ArchivedSession, why: str = "", reason: str = "") -> Lead | None:
    """What stands first; None while the count is the machine's alone.

    Parameters
    ----------
    entry
        The session.
    why, reason
        What was open at its sign-off, and why it was signed off for all that; empty where nothing was.
    """
    if not entry.leads:
        return None
    verified = entry.verified
    alone = _("leukocytes, %(count)s by the machine alone", count=number(verified.leukocytes_by_machine))
    decided = f"{number(verified.reviewed)}/{number(verified.candidates)}"
    return Lead(
        words=signed_words(entry.signed_by, entry.signed_utc, why, reason),
        signed=entry.signed_utc is not None,
        boxes=(
            ("main", number(verified.fnrbc), _("fNRBC, verified")),
            ("", number(verified.leukocytes), alone),
            ("", *_rate(verified.fnrbc_per_100_leukocytes, verified.complete)),
            ("", decided, _("candidates decided on")),
        ),
        claim=claim_fields(verified.claim, entry.tally.provisional),
    )


def _rate(rate: Interval | None, complete: bool) -> tuple[str, str]:
    if rate is None:
        if complete:
            return "\N{EN DASH}", _("fNRBC per 100 leukocytes: no leukocyte was counted")
        return "\N{EN DASH}", _("fNRBC per 100 leukocytes: not all candidates are decided on")
    interval = f"{decimal(rate.low)}\N{EN DASH}{decimal(rate.high)}"
    words = _("fNRBC per 100 leukocytes, verified (95 %% interval %(interval)s)", interval=interval)
    return decimal(rate.value), words
