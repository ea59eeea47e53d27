"""The words that people read on the page and in the report: kept together, so that both say the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isinf
from typing import Final

from fnrbc_device.health import REASONS
from fnrbc_device.intervals import PLANNED_WITHIN
from fnrbc_device.records import (
    Claim,
    ClaimState,
    HealthState,
    Interval,
    ProvisionalReason,
    Rejection,
    SessionKind,
    SessionState,
)

RESEARCH_USE_ONLY: Final = "For research use only. Not for use in diagnostic procedures."

UNVERIFIED: Final = "Machine count, unverified by a person."


@dataclass(frozen=True, slots=True)
class Advice:
    """What is the matter, and what to do about it."""

    words: str
    cure: str = ""


REJECTIONS: Final[Mapping[Rejection, Advice]] = {
    "unreadable": Advice(
        "unreadable", "The picture could not be read; check the camera's cable or the file."
    ),
    "wrong_size": Advice("wrong size", "The picture differs in size from the first; keep one camera mode."),
    "repeated": Advice("repeated", "The camera sent the same picture again."),
    "too_dark": Advice("too dark", "Turn the lamp up or open the aperture."),
    "too_bright": Advice("too bright", "Turn the lamp down or shorten the exposure."),
    "blurred": Advice("blurred", "Bring the slide into focus."),
    "too_fast": Advice("too fast", "Pan more slowly."),
    "tracking_lost": Advice("place lost", "Pan back a little, until cells seen before are in view."),
    "objective_changed": Advice(
        "objective changed", "Turn the old objective back in, or end the session and set the new pixel size."
    ),
    "failed": Advice("failed", "This frame could not be analysed; the log says why."),
}

PROVISIONAL: Final[Mapping[ProvisionalReason, str]] = {
    "stain_out_of_domain": "cells are coloured unlike those that the network was measured on",
    "pixel_size_out_of_domain": "cells or pixels are of another size than those that the network was measured on",
    "focus_out_of_domain": "cells are less sharp, or sharper, than those that the network was measured on",
    "light_out_of_domain": "empty glass is too bright or too dark to show pale cells",
    "colours_impossible": "the colours cannot be right: a grey camera, red and blue exchanged, or a strong cast",
}

UNLIKE: Final[Mapping[str, str]] = {
    "stain_out_of_domain": "stain",
    "pixel_size_out_of_domain": "size",
    "focus_out_of_domain": "focus",
    "light_out_of_domain": "light",
}
"""What is unlike that which the network was measured on, in a word, where there is no room for ``PROVISIONAL``."""

CLAIMS: Final[Mapping[ClaimState, str]] = {
    "above_blank": "more than a blank slide shows",
    "not_distinguishable": "not distinguishable from none",
    "provisional": "provisional",
}
"""In two or three words, where there is no room for ``claim_words``."""

HEALTH_STATES: Final[Mapping[HealthState, str]] = {
    "starting": "Starting",
    "building_engine": "Preparing the network for this machine",
    "ready": "Ready",
    "counting": "Counting",
    "paused": "Paused",
    "degraded": "Counting, with trouble",
    "fault": "Not counting",
    "stopping": "Stopping",
}

SESSION_STATES: Final[Mapping[SessionState, str]] = {
    "idle": "no session",
    "starting": "starting",
    "running": "running",
    "paused": "paused",
    "stopping": "stopping",
    "finished": "finished",
}


KIND_WORDS: Final[Mapping[SessionKind, Advice]] = {
    "sample": Advice("Sample", "A specimen."),
    "blank": Advice("Blank", "A slide without fNRBC: all that is counted as fNRBC is false."),
    "control": Advice("Control", "A slide that is counted again and again: it says whether anything has changed."),
}


def rejection(reason: str) -> Advice:
    """Find the words for a reason why frames were not used; a reason without words stays readable."""
    known = {str(code): advice for code, advice in REJECTIONS.items()}
    return known.get(reason) or Advice(reason.replace("_", " "), "The log says more.")


def health_reason(reason: str) -> str:
    """Find the sentence for a reason of the health state; one without a sentence stays readable."""
    known = REASONS.get(reason)
    return known.cure if known else f"{reason.replace('_', ' ').capitalize()}: the log says more."


def left_open(frames_used: int, islands: int, cells_open: int) -> list[str]:
    """Say what keeps a count from being complete; nothing where nothing does."""
    words = [] if frames_used else ["no frame could be used"]
    if islands > 1:
        words.append(
            f"the frames form {islands} islands that are not joined: a cell seen on two of them is counted twice"
        )
    if cells_open:
        words.append(f"{number(cells_open)} cells were seen and not settled")
    return words


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
        return f"Provisional: {provisional_words(reasons)}. How often the network errs there is not known."
    if claim.state == "above_blank":
        taken = "misses" if claim.verified else "false calls and misses"
        began = "Seen by a person." if claim.verified else "More than the network's false calls explain."
        return f"{began} With its {taken} taken out: {per_100(found)}. {_known_from(claim)}"
    most = f"if there are any, {_at_most(found.high)} per 100 leukocytes"
    if claim.verified:
        return f"None was confirmed; {most}. {_known_from(claim)}"
    blank = f"a slide without any may show up to {number(claim.limit_of_blank)} among so many cells (limit of blank)"
    return f"Not distinguishable from none: {blank}; {most}. {_known_from(claim)}"


def claim_lines(claim: Claim | None, reasons: Iterable[str] = ()) -> tuple[str, str]:
    """Say what a count may claim in one line to be seen at a glance, and one with the figures; empty where none is."""
    if claim is None:
        return "", ""
    headline = CLAIMS[claim.state][:1].upper() + CLAIMS[claim.state][1:]
    found = claim.corrected
    if found is None:
        unlike = ", ".join(UNLIKE.get(code, "colours") for code in reasons)
        return headline, f"{unlike} unlike what the network was measured on"
    if claim.state == "above_blank":
        taken = "misses" if claim.verified else "the network's errors"
        return headline, f"{per_100(found)}, {taken} taken out"
    blank = "" if claim.verified else f"limit of blank {number(claim.limit_of_blank or 0)} fNRBC; "
    return headline, f"{blank}{_at_most(found.high)} per 100 leukocytes"


def per_100(rate: Interval) -> str:
    """Write a ratio, e.g. ``2.1 per 100 leukocytes (95 % interval 1.2 to 3.4)``; an end may be infinite."""
    if isinf(rate.value):
        return f"more than {rate.low:.1f} per 100 leukocytes"
    high = "more" if isinf(rate.high) else f"{rate.high:.1f}"
    return f"{rate.value:.1f} per 100 leukocytes (95 % interval {rate.low:.1f} to {high})"


def _at_most(high: float) -> str:
    return "any number" if isinf(high) else f"at most {high:.1f}" if high >= 0.05 else "fewer than 0.1"


def _known_from(claim: Claim) -> str:
    where = "here" if claim.source == "site" else "before it was shipped"
    return (
        f"The network was measured {where}, on {number(claim.targets)} fNRBC and {number(claim.leukocytes)} leukocytes."
    )


def to_go(leukocytes: int | None) -> str:
    """Say how many more leukocytes the ratio's interval needs, e.g. ``412 more leukocytes for +-20 %``."""
    within = f"\N{PLUS-MINUS SIGN}{PLANNED_WITHIN:.0%}".replace("%", "\N{NO-BREAK SPACE}%")
    if leukocytes is None:
        return f"no ratio yet to plan {within} with"
    if leukocytes == 0:
        return f"leukocytes enough for {within}"
    return f"{number(leukocytes)} more leukocytes for {within}"


def number(count: int) -> str:
    """Write a count with thin spaces between thousands, e.g. ``12 345``."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
