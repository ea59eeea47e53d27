"""What the lamp shows: each state by its rhythm as well as by its colour, for one man in twelve sees no red."""

from typing import Final, Literal

from fnrbc_device.health import REASONS, Health

Lamp = Literal["idle", "counting", "too_fast", "lost", "fault"]

Colour = tuple[bool, bool]
"""(green, red)."""

OFF: Final[Colour] = (False, False)
GREEN: Final[Colour] = (True, False)
RED: Final[Colour] = (False, True)
AMBER: Final[Colour] = (True, True)

RHYTHMS: Final[dict[Lamp, tuple[tuple[Colour, float], ...]]] = {
    "idle": ((GREEN, 0.1), (OFF, 1.9)),
    "counting": ((GREEN, 2.0),),
    "too_fast": ((AMBER, 0.1), (OFF, 0.1)),
    "lost": ((AMBER, 0.5), (OFF, 0.5)),
    "fault": ((RED, 0.15), (OFF, 0.15), (RED, 0.15), (OFF, 1.05)),
}
"""Colours one after the other, with their seconds. A blip: idle; steady: counting; hurry: slow down; slow blinking: go
back to where cells are; double flashes: read the page."""

def lamp_of(health: Health) -> Lamp:
    """Choose what to show, gravest first."""
    shown = {REASONS[code].lamp for code in health.reasons if code in REASONS}
    if health.state == "fault" or "fault" in shown:
        return "fault"
    if "lost" in shown:
        return "lost"
    if "too_fast" in shown:
        return "too_fast"
    return "counting" if health.state in ("counting", "degraded") else "idle"


def colour_at(lamp: Lamp, since_s: float) -> Colour:
    """Colour of a rhythm so long after it began."""
    rhythm = RHYTHMS[lamp]
    left = since_s % sum(seconds for _, seconds in rhythm)
    for colour, seconds in rhythm:
        if left < seconds:
            return colour
        left -= seconds
    return rhythm[-1][0]
