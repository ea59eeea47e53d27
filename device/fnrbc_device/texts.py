"""The words that people read on the page and in the report: kept together, so that both say the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fnrbc_device.health import REASONS
from fnrbc_device.intervals import PLANNED_WITHIN
from fnrbc_device.records import HealthState, Rejection, SessionState

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
