"""How well the counting goes, in words from a closed list, each with what to do about it."""

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from fnrbc_device.language import N_, _
from fnrbc_device.records import HealthState, Step

HELD_S: Final = 0.6
"""A reason stays this long after it was last true: longer than the daemon waits for a frame (0.5 s), so that nothing
flickers, and so short that it is gone within a second of its cause."""

FPS_WINDOW: Final = 60
"""Frames over which the frame rate is averaged: two seconds."""

LATENCY_WINDOW: Final = 10 * FPS_WINDOW
"""Frames whose latencies are told of."""

ReasonLamp = Literal["too_fast", "lost", "fault"]
"""What a reason has the lamp show, the gravest last."""


@dataclass(frozen=True, slots=True)
class HealthReason:
    """One thing that may be wrong, and all that follows from it."""

    code: str
    """As it goes into messages and the record."""
    english_cure: str
    """What to do about it, in one sentence or two."""
    lamp: ReasonLamp | None = None
    """None: the lamp does not tell of it."""
    alarm: bool = False
    """Whether somebody elsewhere should come. The others are for the hand at the microscope, and pass."""
    harmless: bool = False
    """Whether it says nothing against the count."""

    @property
    def cure(self) -> str:
        """What to do about it, in the language that is spoken."""
        return _(self.english_cure)


_TABLE: Final = (
    HealthReason("pan_too_fast", N_("Panning too fast: slow down now, before cells pass unseen."), lamp="too_fast"),
    HealthReason("focus_lost", N_("Out of focus: turn the fine focus until edges are crisp."), lamp="lost"),
    HealthReason(
        "tracking_lost", N_("Lost the place on the slide: go back to where cells are, and pan on slowly."), lamp="lost"
    ),
    HealthReason(
        "objective_changed",
        N_(
            "Another objective: nothing is counted until the old one is back; for the new one, end the session and set "
            "its pixel size."
        ),
        lamp="lost",
        alarm=True,
    ),
    HealthReason("exposure_drift", N_("Too dark or too bright: set the lamp and the camera's exposure.")),
    HealthReason(
        "stain_changed",
        N_(
            "The slide's stain is another than before in this session: if the slide was changed, end the session and "
            "begin one for the new slide."
        ),
        alarm=True,
    ),
    HealthReason(
        "colours_missing",
        N_(
            "The camera shows no colours, by which nuclei are told best: set it to colour, or expect more that is no "
            "cell."
        ),
    ),
    HealthReason("camera_frozen", N_("The camera repeats its picture: check its cable."), lamp="fault", alarm=True),
    HealthReason(
        "camera_repeating",
        N_("The camera shows the same few pictures over and over: unplug it and plug it in again."),
        lamp="fault",
    ),
    HealthReason("camera_lost", N_("The camera is gone: plug it in again."), lamp="fault", alarm=True),
    HealthReason("camera_black", N_("The picture is black: switch the lamp on, take the cap off."), lamp="fault"),
    HealthReason("camera_white", N_("The picture is white: turn the lamp down."), lamp="fault"),
    HealthReason(
        "camera_wrong_format",
        N_("The camera gives pictures of another size or kind: set it back, or start a new session."),
        lamp="fault",
    ),
    HealthReason(
        "camera_slow", N_("The camera gives fewer pictures than asked for: check its cable and its exposure time.")
    ),
    HealthReason("camera_incomplete", N_("Pictures come incomplete: check the camera's cable and the network.")),
    HealthReason("broker_refused", N_("The broker refuses messages: counting goes on, tell whoever keeps the broker.")),
    HealthReason("broker_away", N_("The broker cannot be reached: counting goes on, and messages wait.")),
    HealthReason(
        "pixel_size_doubtful",
        N_("Red cells do not measure what the pixel size says: check objective, binning and camera.pixel_size_um."),
        alarm=True,
    ),
    HealthReason(
        "stain_out_of_domain",
        N_(
            "The count is provisional: cells are coloured unlike those that the network was measured on. Check stain, "
            "lamp and white balance."
        ),
    ),
    HealthReason(
        "pixel_size_out_of_domain",
        N_(
            "The count is provisional: cells or pixels are of another size than those that the network was measured "
            "on. Check objective, binning and camera.pixel_size_um."
        ),
    ),
    HealthReason(
        "focus_out_of_domain",
        N_(
            "The count is provisional: cells are less sharp, or sharper, than those that the network was measured on. "
            "Turn the fine focus; clean objective and camera."
        ),
    ),
    HealthReason(
        "light_out_of_domain",
        N_(
            "The count is provisional: empty glass is too bright or too dark to show pale cells. Set lamp and exposure "
            "so that glass is light grey, not white."
        ),
    ),
    HealthReason(
        "colours_impossible",
        N_(
            "The count is provisional: the colours cannot be right. A grey camera, red and blue exchanged "
            "(camera.exchange_red_blue), or a white balance far off: the log says which."
        ),
    ),
    HealthReason(
        "engine_parity_failed",
        N_("The GPU's network failed its proof: one that passed counts instead, tell an engineer."),
        lamp="fault",
        alarm=True,
    ),
    HealthReason(
        "seeing_by_threshold",
        N_(
            "The network that finds cells is missing or failed its proof: the threshold alone finds them, tell an "
            "engineer."
        ),
        alarm=True,
    ),
    HealthReason(
        "disk_low",
        N_(
            "The disk is nearly full: a session is closed before it is, and none begins; free some, or tell an "
            "engineer."
        ),
        lamp="fault",
    ),
    HealthReason(
        "clock_unsynced",
        N_("No time server holds the clock: dates may be wrong, counts are not; tell an engineer."),
        harmless=True,
    ),
    HealthReason(
        "page_certificate_ended", N_("The page's certificate has ended: browsers refuse it, have a new one made.")
    ),
    HealthReason(
        "results_waiting",
        N_(
            "Signed results cannot be put into the laboratory's folder: they wait, and are tried again. Tell whoever "
            "keeps that folder."
        ),
        alarm=True,
        harmless=True,
    ),
    HealthReason(
        "frames_dropped",
        N_(
            "This computer is slower than the camera: it leaves out pictures by itself and goes on counting. Pan a "
            "little more slowly."
        ),
    ),
)

REASONS: Final = {reason.code: reason for reason in _TABLE}
"""The closed list, by code."""

ALARMS: Final = tuple(reason.code for reason in _TABLE if reason.alarm)
HARMLESS: Final = frozenset(reason.code for reason in _TABLE if reason.harmless)

_OF_REJECTION: Final = {
    "too_fast": "pan_too_fast",
    "blurred": "focus_lost",
    "tracking_lost": "tracking_lost",
    "objective_changed": "objective_changed",
    "too_dark": "exposure_drift",
    "too_bright": "exposure_drift",
    "unreadable": "camera_incomplete",
    "wrong_size": "camera_wrong_format",
}

REPEATS: Final = 15
"""Repeated frames in a row that say the camera is frozen: half a second at 30 frames/s."""

DROPPED_SHARE: Final = 0.2
"""Share of the frames dropped that the operator is told of."""

DROPS_S: Final = 0.6
"""It must be so large in each half of the steps of this time, of two at least: a single hiccup is in one half."""


@dataclass(frozen=True, slots=True)
class Health:
    """A snapshot."""

    state: HealthState
    reasons: tuple[str, ...]
    fps: float
    """Frames analysed a second."""
    pan_um_s: float
    sharpness: float
    """0..1 of the session's sharpest."""
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    """From the camera to the tally."""
    exposure: Literal["too_dark", "too_bright"] = "too_dark"
    """Which side ``exposure_drift`` last was on."""
    kept_share: float = 1.0
    """0..1 of the camera's newest pictures that were analysed; the others were left out to keep up with it."""


class HealthMonitor:
    """Watches the steps of a session."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._times: deque[float] = deque(maxlen=FPS_WINDOW)
        self._latencies_ms: deque[float] = deque()
        """The newest, in their order."""
        self._by_length_ms: list[float] = []
        """The same, sorted."""
        self._dropped: deque[tuple[float, int]] = deque(maxlen=FPS_WINDOW)
        """When steps were done, and how many frames were dropped before each."""
        self._newest_island = 0
        self._exposure: Literal["too_dark", "too_bright"] = "too_dark"
        self._repeats = 0
        self._speed = 0.0
        self._sharpness = 1.0

    def begin(self) -> None:
        """Take in that another session begins: its islands are numbered anew."""
        self._newest_island = 0
        self._repeats = 0

    def watch(self, step: Step, arrived_s: float, now_s: float, dropped: int) -> None:
        """Take a step in.

        Parameters
        ----------
        step
            The newest.
        arrived_s
            Monotonic clock, when the camera handed the frame over.
        now_s
            Monotonic clock, when its analysis was done.
        dropped
            Frames dropped since the step before.
        """
        self._times.append(now_s)
        self._note_latency(1e3 * (now_s - arrived_s))
        self._dropped.append((now_s, dropped))
        self._speed, self._sharpness = step.speed_um_s, min(max(step.sharpness, 0.0), 1.0)
        for reason in self._reasons_of(step):
            self._until[reason] = now_s + HELD_S

    def note(self, reason: str, now_s: float) -> None:
        """Add a reason that no frame shows, such as the broker's absence."""
        self._until[reason] = now_s + HELD_S

    def keep(self, reason: str) -> None:
        """Add a reason that stays for the whole session."""
        self._until[reason] = float("inf")

    def snapshot(self, state: HealthState, now_s: float) -> Health:
        """State the health; ``counting`` becomes ``degraded`` while there is a reason against the count."""
        reasons = tuple(sorted(reason for reason, until in self._until.items() if until > now_s))
        if state == "counting" and not HARMLESS.issuperset(reasons):
            state = "degraded"
        return Health(
            state,
            reasons,
            self._fps(),
            self._speed,
            self._sharpness,
            _quantile(self._by_length_ms, 0.5),
            _quantile(self._by_length_ms, 0.95),
            self._exposure,
            _kept(self._newest_drops()),
        )

    def _note_latency(self, latency_ms: float) -> None:
        """Take in how long a step took: one goes in, the oldest goes out, and nothing is sorted anew."""
        self._latencies_ms.append(latency_ms)
        insort(self._by_length_ms, latency_ms)
        if len(self._latencies_ms) > LATENCY_WINDOW:
            del self._by_length_ms[bisect_left(self._by_length_ms, self._latencies_ms.popleft())]

    def _reasons_of(self, step: Step) -> list[str]:
        reasons = []
        if step.reason in _OF_REJECTION:
            reasons.append(_OF_REJECTION[step.reason])
        if step.flooded:
            reasons.append("exposure_drift")
        if "exposure_drift" in reasons:
            self._exposure = "too_bright" if step.flooded else "too_dark"
        # A joined island goes on under an older number: only a new number tells of a loss.
        if step.pose is not None and step.pose.island > self._newest_island:
            self._newest_island = step.pose.island
            reasons.append("tracking_lost")
        if step.hurried:
            reasons.append("pan_too_fast")
        self._repeats = self._repeats + 1 if step.reason == "repeated" else 0
        if self._repeats >= REPEATS:
            reasons.append("camera_frozen")
        drops = self._newest_drops()
        half = len(drops) // 2
        if half and all(_kept(part) < 1 - DROPPED_SHARE for part in (drops[:half], drops[half:])):
            reasons.append("frames_dropped")
        return reasons

    def _newest_drops(self) -> list[int]:
        """How many frames were dropped before each of the newest steps."""
        found: list[int] = []
        for at_s, dropped in reversed(self._dropped):
            if len(found) >= 2 and self._dropped[-1][0] - at_s > DROPS_S:
                break
            found.append(dropped)
        return found[::-1]

    def _fps(self) -> float:
        if len(self._times) < 2 or self._times[-1] <= self._times[0]:
            return 0.0
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])


def _kept(drops: list[int]) -> float:
    """Share of the frames that were analysed."""
    return len(drops) / (len(drops) + sum(drops)) if drops else 1.0


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
