"""The records that stages hand to each other. Frozen: what a stage has said stays said.

Coordinates: *frame coordinates* are pixels from a frame's top-left corner; *slide coordinates* are pixels
(or um) from the top-left corner of an island's first frame. Order is (row, col), as ``_rc``; ``_xy`` appears
only at OpenCV's, the files' and the browser's door.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

SeeingMethod = Literal["threshold", "network", "both"]
"""What finds the cells: the paper's chain, the centre network, or the chain's candidates that the network agrees to."""

USUAL_SEEING: Final[SeeingMethod] = "both"
"""Where nobody asks for another."""

Role = Literal["target", "denominator", "ignored"]
"""What a class means for the count: fNRBC are the target, leukocytes the denominator."""

EventName = Literal["counted", "retracted", "confirmed", "rejected"]

Rejection = Literal[
    "unreadable",
    "wrong_size",
    "repeated",
    "too_dark",
    "too_bright",
    "blurred",
    "too_fast",
    "tracking_lost",
    "objective_changed",
    "failed",
]
"""Why a frame was not used. A closed list: dashboards count on it."""

SessionState = Literal["idle", "starting", "running", "paused", "stopping", "finished"]

SessionKind = Literal["sample", "blank", "control"]
"""A specimen; a slide known to hold no fNRBC, which tells how many are called so falsely; a slide whose count is known,
which tells whether anything has changed."""

HealthState = Literal[
    "starting", "building_engine", "ready", "counting", "paused", "degraded", "fault", "stopping"
]

INDETERMINATE = "indeterminate"
"""The class name of a verdict that the views do not settle."""

NEAR_ODDS: Final = 0.25
"""Cells of another class are near misses from this share of the threshold's odds on: what may have been missed, and few
enough to be looked at. Of 827 real cells held out from the training of the shipped network it takes in one of the two
fNRBC that are no candidates and 4 of the 595 others; an eighth would take in both and 19."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture from the camera."""

    index: int
    """Counts every frame the camera delivered, so gaps show dropped frames."""
    captured_at_s: float
    """Monotonic clock, seconds."""
    image: Image
    """(H, W, 3) RGB. Read-only: stages share it without copying."""
    name: str = ""
    """The file it came from, where there is one."""
    place: "Pose | None" = None
    """Where its top-left corner lies on the slide, where a motorised stage says so."""


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A frame that the source owes but cannot show; it is counted as rejected."""

    index: int
    captured_at_s: float
    reason: Rejection
    detail: str
    """One sentence that names the file or the camera and what is wrong with it."""
    name: str = ""


LeftOutReason = Literal[
    "video", "kind", "name", "folder", "special_file", "unreadable", "wrong_size", "failed"
]
"""Why something that was given is not in the count. A closed list, as in ``summary.json``."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was given to be counted and is not in the count."""

    name: str
    """Of the file, or of the frame in it."""
    reason: LeftOutReason
    detail: str
    """One sentence that names it, what is wrong and the cure."""
    pictures: int = 1
    """How many pictures that is: of a folder those in it."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a frame's top-left corner lies on the slide."""

    island: int
    """Frames are registered to each other within one island only."""
    row_px: float
    col_px: float


@dataclass(frozen=True, slots=True)
class Join:
    """An island was found to show ground of an older one: from then on it is part of that one."""

    island: int
    """That ends; its number is not used again."""
    into: int
    row_px: float
    col_px: float
    """What must be added to a place on the ended island to get the place on the other."""

    def moved(self, pose: Pose) -> Pose:
        """Give a pose on the ended island as one on the other."""
        return Pose(self.into, pose.row_px + self.row_px, pose.col_px + self.col_px)


def final_pose(pose: Pose, joins: Iterable[Join]) -> Pose:
    """Give a pose on the island that its own became part of, after all joins of a session in their order."""
    for join in joins:
        if join.island == pose.island:
            pose = join.moved(pose)
    return pose


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One nucleated cell (or what looks like one) seen in one frame."""

    centre_rc: tuple[float, float]
    """Centroid of the nucleus' convex hull, px in the frame."""
    contour_xy: NDArray[np.int32]
    """(N, 2) working pixels: the outline of the nucleus, of all its lobes one after the other."""
    factor: float
    """Frame pixels a working pixel."""
    nucleus_diameter_um: float
    """Diameter of the circle with the nucleus' area."""
    reach_px: float
    """Farthest side of the nucleus' box from its centre, px in the frame."""
    whole: bool
    """False where the nucleus touches the frame's border: the cell waits for a frame that shows it whole."""

    @property
    def outline_xy(self) -> NDArray[np.float64]:
        """(N, 2) px in the frame: the outline of the nucleus, for drawing and measuring."""
        return (self.contour_xy.astype(np.float64) + 0.5) * self.factor - 0.5


@dataclass(frozen=True, slots=True)
class Body:
    """The whole cell round a nucleus, measured on one view."""

    diameter_um: float
    """Diameter of the circle with the whole cell's area."""
    nucleus_ratio: float
    """Area of the nucleus over area of the whole cell, 0..1."""
    off_centre_um: float
    """Distance between the nucleus' centroid and the whole cell's."""
    density: float
    """Mean optical density of the nucleus, -log10(light / background)."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """What segmentation found in one frame."""

    detections: list[Detection]
    background_rgb: tuple[float, float, float]
    """Colour of empty glass in this frame, 0..255."""
    threshold: float
    """Grey value below which a pixel is nucleus, on the scale where glass is 240; 0 where nothing is so dark."""
    low: NDArray[np.uint8]
    """(h, w) the low-passed green working picture that all was found in."""
    pixel_um: float
    """Size of a working pixel, um."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The appliance's decision on one cell."""

    class_name: str
    """A class of the bundle, or ``indeterminate``."""
    role: Role
    probability: float
    """Of the target class where it is the target's or indeterminate, else of the named class. 0..1."""
    target_probability: float
    """Calibrated probability that the cell is an fNRBC, fused over its views. 0..1."""

    @property
    def is_candidate(self) -> bool:
        """Whether a person is asked about the cell."""
        return self.role == "target" or self.class_name == INDETERMINATE

    def is_near_miss(self, threshold: float) -> bool:
        """Whether the cell is no candidate, but nearly was one; ``threshold`` as in ``is_near``."""
        return not self.is_candidate and is_near(self.target_probability, threshold)


def is_near(target_probability: float, threshold: float) -> bool:
    """Whether the odds of a cell to be of the target class reach ``NEAR_ODDS`` of the threshold's, both 0..1."""
    return target_probability * (1.0 - threshold) >= NEAR_ODDS * threshold * (1.0 - target_probability)


@dataclass(frozen=True, slots=True)
class CountEvent:
    """One explicit step of the count. The tally is nothing but the sum of these."""

    event: EventName
    cell: int
    """Number of the cell in its session, from 1; never used again."""
    verdict: Verdict
    island: int
    row_px: float
    col_px: float
    """Slide coordinates within the island."""
    x_um: float
    y_um: float
    diameter_um: float
    nucleus_ratio: float
    views: int
    """How many whole, sharp views the cell had by then."""
    best_frame: int
    reason: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


ClaimState = Literal["above_blank", "not_distinguishable", "provisional"]

ProvisionalReason = Literal[
    "stain_out_of_domain",
    "pixel_size_out_of_domain",
    "focus_out_of_domain",
    "light_out_of_domain",
    "colours_impossible",
]
"""Why a session lies outside of what the network was measured on. A closed list: dashboards count on it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a count may claim beyond what was counted. It stands beside the count, never in its place."""

    state: ClaimState
    """``above_blank``: more fNRBC than the network's own false calls explain. ``not_distinguishable`` from none.
    ``provisional``: neither can be said, since the session lies outside of what the network was measured on."""
    corrected: Interval | None
    """How many fNRBC per 100 leukocytes there are, freed of the network's misses and false calls; the ends are
    0..infinity. None where the claim is provisional."""
    limit_of_blank: int | None
    """How many fNRBC a slide without any may show among so many cells, at 97.5 %. None where it is provisional."""
    source: Literal["shipped", "site"]
    """Where the network's errors were measured: before it was shipped, or here."""
    targets: int
    leukocytes: int
    """How many cells of known kind these errors are known from."""
    verified: bool = False
    """A person looked at every candidate: misses alone are corrected."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts of a session so far, with what they rest on."""

    cells: int = 0
    fnrbc: int = 0
    leukocytes: int = 0
    other: int = 0
    indeterminate: int = 0
    fnrbc_per_100_leukocytes: Interval | None = None
    """None until a leukocyte was counted."""
    leukocytes_to_go: int | None = None
    """How many more to count until that interval is +-20 % of its value; None until there is a ratio to plan with."""
    frames: int = 0
    frames_used: int = 0
    frames_rejected: dict[str, int] = field(default_factory=dict)
    """Number of frames not used, by reason."""
    frames_dropped: int = 0
    """Frames the camera delivered and the live view passed over for newer ones."""
    islands: int = 0
    unique_area_mm2: float = 0.0
    """Area that used frames showed, each place once."""
    revisit_share: float = 0.0
    """Share of the area that came into view which had been seen before, 0..1; what stays in view does not come in."""
    cells_open: int = 0
    """Cells seen and not yet settled."""
    claim: Claim | None = None
    """None until a leukocyte was counted, and where nobody asked for it."""
    provisional: tuple[ProvisionalReason, ...] = ()
    """Why the session lies outside of what the network was measured on; empty where it does not."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One detection as the live page draws it."""

    cell: int
    class_name: str
    """A class of the bundle, ``indeterminate``, or ``""`` while the cell is not settled yet."""
    role: Role | Literal["indeterminate", "open"]
    row_px: float
    col_px: float
    """Centre in the frame."""
    radius_px: float
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """All that one frame changed: what the journal records and the page shows."""

    frame: Frame | BadFrame
    pose: Pose | None
    """None where the frame could not be placed."""
    reason: Rejection | None
    """None if the frame was used."""
    marks: list[Mark]
    events: list[CountEvent]
    tally: Tally
    speed_um_s: float
    sharpness: float
    """0..1 against the session's sharpest; 1 where not measured."""
    stages_ms: dict[str, float]
    speed_limit_um_s: float | None = None
    """From here on cells get too few frames; None before two frames came."""
    hurried: bool = False
    """Cells will be lost if the hand goes on like this."""
    joins: tuple[Join, ...] = ()
    """Islands joined after this frame was counted: its pose and events are still on the islands as they were."""
    glass: float = 1.0
    """0..1 of the camera's range: how bright empty glass is; 1 where not measured."""
    white: float = 0.0
    """0..1 of the field: what is as bright as the camera can tell."""
    flooded: bool = False
    """Nearly all is white that was not before."""


USUAL_CLASSES: Final[dict[str, Role]] = {"fnrbc": "target", "leukocyte": "denominator", "other": "ignored"}
"""What bundles of this software's training know."""


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """How often a network was right and wrong on cells of known kind: what a count is corrected by. All counts >= 0.

    Counts and not rates: of rates alone nobody can tell how well they are known.
    """

    targets_right: int
    """fNRBC that it called fNRBC."""
    targets_wrong: int
    """fNRBC that it called otherwise, or left indeterminate: misses."""
    leukocytes_right: int
    """Leukocytes that it did not call fNRBC."""
    leukocytes_wrong: int
    """Leukocytes, or whatever else is found beside so many leukocytes, that it called fNRBC: false calls."""
    source: Literal["shipped", "site"]
    """Where: before the bundle was sealed, or where it is used."""
    on: str
    """Which cells, for people."""

    @property
    def targets(self) -> int:
        """How many fNRBC it was measured on."""
        return self.targets_right + self.targets_wrong

    @property
    def leukocytes(self) -> int:
        """How many leukocytes it was measured on."""
        return self.leukocytes_right + self.leukocytes_wrong


@dataclass(frozen=True, slots=True)
class SessionMeta:
    """What a session's counts rest on."""

    software: str
    bundle: str
    """Id of the model bundle."""
    source: str
    """The camera, the folder or the simulation, for people."""
    pixel_size_um: float
    config_hash: str = ""
    operator: str = ""
    """Who started it; empty where it started by itself."""
    specimen: str = ""
    """As it is written on the slide. It stays on the device: messages carry its hash."""
    note: str = ""
    objective: str = ""
    """Name of an objective of the configuration; empty for the camera's own pixel size."""
    wanted_leukocytes: int | None = None
    wanted_area_mm2: float | None = None
    """What the session was to count and to see."""
    kind: SessionKind = "sample"
    classes: dict[str, Role] = field(default_factory=lambda: dict(USUAL_CLASSES))
    """The bundle's classes in its order, with what each means for the count: what a person may call a cell."""
    threshold: float = 0.5
    """Probability of the target class from which on a cell rather is one. 0..1."""
    errors: tuple[ErrorCounts, ...] = ()
    """What the network was known by when the session began; a claim rests on it. Empty in sessions of fnrbc 0.1."""

    def __post_init__(self) -> None:
        # The record holds JSON: what comes back from there is made whole here.
        whole = (one if isinstance(one, ErrorCounts) else ErrorCounts(**one) for one in self.errors)
        object.__setattr__(self, "errors", tuple(whole))
