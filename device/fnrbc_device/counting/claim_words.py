"""What a count may claim, in words: for pages, reports and what the laboratory gets, so that all say the same."""

from collections.abc import Iterable, Mapping
from math import isinf
from typing import Final

from fnrbc_device.language import N_, Said, _, decimal, number
from fnrbc_device.records import Claim, ClaimState, Interval, ProvisionalReason

PROVISIONAL: Final[Mapping[ProvisionalReason, str]] = Said(
    {
        "stain_out_of_domain": N_("cells are coloured unlike those that the network was measured on"),
        "pixel_size_out_of_domain": N_(
            "cells or pixels are of another size than those that the network was measured on"
        ),
        "focus_out_of_domain": N_("cells are less sharp, or sharper, than those that the network was measured on"),
        "light_out_of_domain": N_("empty glass is too bright or too dark to show pale cells"),
        "colours_impossible": N_(
            "the colours cannot be right: a grey camera, red and blue exchanged, or a strong cast"
        ),
    }
)

UNLIKE: Final[Mapping[str, str]] = Said(
    {
        "stain_out_of_domain": N_("stain"),
        "pixel_size_out_of_domain": N_("size"),
        "focus_out_of_domain": N_("focus"),
        "light_out_of_domain": N_("light"),
    }
)
"""What is unlike that which the network was measured on, in a word, where there is no room for ``PROVISIONAL``."""

CLAIMS: Final[Mapping[ClaimState, str]] = Said(
    {
        "above_blank": N_("more than a blank slide shows"),
        "not_distinguishable": N_("not distinguishable from none"),
        "provisional": N_("provisional"),
    }
)
"""In two or three words, where there is no room for ``claim_words``."""


def provisional_words(reasons: Iterable[str]) -> str:
    """Say why a count is provisional; nothing where it is not."""
    known = {str(code): words for code, words in PROVISIONAL.items()}
    return "; ".join(known.get(code) or code.replace("_", " ") for code in reasons)


def claim_words(claim: Claim | None, reasons: Iterable[str] = ()) -> str:
    """Say what a count may claim, in a few sentences.

    Parameters
    ----------
    claim
        None where there is none: then nothing is said.
    reasons
        Why the session is provisional, where it is.
    """
    if claim is None:
        return ""
    found = claim.corrected
    if found is None or claim.limit_of_blank is None:
        return _("Provisional: %(why)s. How often the network errs there is not known.", why=provisional_words(reasons))
    if claim.state == "above_blank":
        return f"{_above_blank(claim, found)} {_known_from(claim)}"
    most = _("if there are any, %(most)s per 100 leukocytes", most=_at_most(found.high))
    if claim.verified:
        return f"{_('None was confirmed; %(most)s.', most=most)} {_known_from(claim)}"
    none = _(
        "Not distinguishable from none: a slide without any may show up to %(limit)s among so many cells (limit of "
        "blank); %(most)s.",
        limit=number(claim.limit_of_blank),
        most=most,
    )
    return f"{none} {_known_from(claim)}"


def claim_lines(claim: Claim | None, reasons: Iterable[str] = ()) -> tuple[str, str]:
    """Say what a count may claim in one line to be seen at a glance, and one with the figures; empty where none is."""
    if claim is None:
        return "", ""
    headline = CLAIMS[claim.state][:1].upper() + CLAIMS[claim.state][1:]
    found = claim.corrected
    if found is None:
        unlike = ", ".join(UNLIKE.get(code, _("colours")) for code in reasons)
        return headline, _("%(what)s unlike what the network was measured on", what=unlike)
    if claim.state == "above_blank":
        if claim.verified:
            return headline, _("%(rate)s, misses taken out", rate=_per_100(found))
        return headline, _("%(rate)s, the network's errors taken out", rate=_per_100(found))
    most = _("%(most)s per 100 leukocytes", most=_at_most(found.high))
    if claim.verified:
        return headline, most
    blank = _("limit of blank %(limit)s fNRBC", limit=number(claim.limit_of_blank or 0))
    return headline, f"{blank}; {most}"


def _per_100(rate: Interval) -> str:
    """Write a ratio, e.g. ``2.1 per 100 leukocytes (95 % interval 1.2 to 3.4)``; an end may be infinite."""
    if isinf(rate.value):
        return _("more than %(low)s per 100 leukocytes", low=decimal(rate.low))
    return _(
        "%(value)s per 100 leukocytes (95 %% interval %(low)s to %(high)s)",
        value=decimal(rate.value),
        low=decimal(rate.low),
        high=_("more") if isinf(rate.high) else decimal(rate.high),
    )


def _at_most(high: float) -> str:
    if isinf(high):
        return _("any number")
    return _("at most %(high)s", high=decimal(high)) if high >= 0.05 else _("fewer than %(least)s", least=decimal(0.1))


def _above_blank(claim: Claim, found: Interval) -> str:
    if claim.verified:
        return _("Seen by a person. With its misses taken out: %(rate)s.", rate=_per_100(found))
    return _(
        "More than the network's false calls explain. With its false calls and misses taken out: %(rate)s.",
        rate=_per_100(found),
    )


def _known_from(claim: Claim) -> str:
    targets, leukocytes = number(claim.targets), number(claim.leukocytes)
    if claim.source == "site":
        return _(
            "The network was measured here, on %(targets)s fNRBC and %(leukocytes)s leukocytes.",
            targets=targets,
            leukocytes=leukocytes,
        )
    return _(
        "The network was measured before it was shipped, on %(targets)s fNRBC and %(leukocytes)s leukocytes.",
        targets=targets,
        leukocytes=leukocytes,
    )
