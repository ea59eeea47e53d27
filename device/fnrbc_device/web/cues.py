"""What people at the microscope are told, one thing at a time: the gravest of what is wrong, with what drives it.

``ORDER`` is the one place that says what comes first: what hides the rest stands before it. A picture that is black is
neither sharp nor placed; a picture out of focus has no place either; a hand that hurries loses the place. So each thing
that is wrong is told by its cause.
"""

from dataclasses import dataclass
from typing import Final, Literal

from fnrbc_device.health import DROPPED_SHARE, Health
from fnrbc_device.records import Step
from fnrbc_device.texts import GAUGES, GLANCES, HEALTH_STATES, STANDING, cue_sentence, not_counting
from fnrbc_device.vision.frame_quality import DARK_GLASS, LEAST_SHARPNESS, MOST_WHITE
from fnrbc_device.web.snapshot import Snapshot

GaugeName = Literal["speed", "sharpness", "light", "white", "kept"]

LIMIT_AT: Final = 0.8
"""Where the bar of the pan speed has its limit, so that there is room for what lies beyond."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One thing to tell."""

    code: str
    """A reason of the health state, or which side of one it is."""
    stops: bool = False
    """Whether no frame can be counted on while it holds."""
    gauge: GaugeName | None = None
    """The quantity that drives it; None where no single quantity does."""


ORDER: Final = (
    Cue("camera_lost", stops=True),
    Cue("camera_wrong_format", stops=True),
    Cue("camera_frozen", stops=True),
    Cue("camera_repeating", stops=True),
    Cue("camera_black", stops=True),
    Cue("camera_white", stops=True),
    Cue("camera_incomplete"),
    Cue("too_dark", stops=True, gauge="light"),
    Cue("too_bright", gauge="white"),
    Cue("objective_changed", stops=True),
    Cue("focus_lost", stops=True, gauge="sharpness"),
    Cue("pan_too_fast", gauge="speed"),
    Cue("tracking_lost"),
    Cue("disk_low"),
    Cue("frames_dropped", gauge="kept"),
    Cue("camera_slow"),
    Cue("stain_changed"),
    Cue("engine_parity_failed"),
    Cue("seeing_by_threshold"),
    Cue("colours_impossible"),
    Cue("colours_missing"),
    Cue("pixel_size_doubtful"),
    Cue("pixel_size_out_of_domain"),
    Cue("focus_out_of_domain"),
    Cue("light_out_of_domain"),
    Cue("stain_out_of_domain"),
    Cue("results_waiting"),
    Cue("broker_refused"),
    Cue("broker_away"),
    Cue("page_certificate_ended"),
    Cue("clock_unsynced"),
)
"""The first that holds is told."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A quantity as a bar shows it."""

    name: str
    """In words."""
    value: str
    """With its unit."""
    share: float
    """0..1 of the bar."""
    limit: float | None
    """0..1 of the bar; None where there is none yet."""
    bad: bool
    """On the wrong side of its limit."""


def cues(health: Health) -> list[Cue]:
    """What is wrong, gravest first; a reason that is not in ``ORDER`` comes last."""
    codes = [health.exposure if code == "exposure_drift" else code for code in health.reasons]
    known = [cue for cue in ORDER if cue.code in codes]
    return known + [Cue(code) for code in codes if code not in _CODES]


def gauge(cue: Cue | None, step: Step | None, health: Health) -> Gauge | None:
    """The quantity that drives a cue; without one, how fast the hand pans. None where nothing is measured."""
    name = cue.gauge if cue else "speed"
    if name == "kept":
        kept = health.kept_share
        return _gauge(name, kept, 1 - DROPPED_SHARE, bad=kept < 1 - DROPPED_SHARE)
    if step is None or name is None:
        return None
    if name == "light":
        return _gauge(name, step.glass, DARK_GLASS / 255, bad=step.glass < DARK_GLASS / 255)
    if name == "white":
        return _gauge(name, step.white, MOST_WHITE, bad=step.flooded)
    if name == "sharpness" or step.reason == "too_fast":
        return _gauge("sharpness", step.sharpness, LEAST_SHARPNESS, bad=step.sharpness < LEAST_SHARPNESS)
    return _speed(step)


def stopped_by(snapshot: Snapshot) -> str:
    """Why nothing is counted that should or could be, in two or three words; empty where nothing hinders it."""
    if snapshot.obstacle:
        return GLANCES[snapshot.obstacle]
    told = next(iter(cues(snapshot.health)), None)
    return glance(told) if snapshot.state == "running" and told is not None and told.stops else ""


def pill(snapshot: Snapshot) -> str:
    """Whether it counts, in a few words; where it does not though it should or could, why."""
    why = stopped_by(snapshot)
    if why:
        return not_counting(why)
    return STANDING.get(snapshot.state) or HEALTH_STATES[snapshot.health.state]


def glance(cue: Cue) -> str:
    """A cue in two or three words, to be read from two metres."""
    return GLANCES.get(cue.code) or cue.code.replace("_", " ")


def sentence(cue: Cue) -> str:
    """A cue and its cure."""
    return cue_sentence(cue.code)


_CODES: Final = frozenset(cue.code for cue in ORDER)


def _gauge(name: GaugeName, share: float, limit: float, *, bad: bool) -> Gauge:
    share = min(max(share, 0.0), 1.0)
    return Gauge(GAUGES[name], f"{share:.0%}".replace("%", "\N{NO-BREAK SPACE}%"), share, limit, bad)


def _speed(step: Step) -> Gauge:
    limit = step.speed_limit_um_s
    share = min(LIMIT_AT * step.speed_um_s / limit, 1.0) if limit else 0.0
    value = f"{step.speed_um_s:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return Gauge(GAUGES["speed"], f"{value} \N{MICRO SIGN}m/s", share, LIMIT_AT, step.hurried)
