"""Where each frame of a session lies, how the hand moves, and whether a frame may be used."""

from dataclasses import dataclass
from typing import Any

from fnrbc_device.errors import ObjectiveError, RegistrationError
from fnrbc_device.host.stopwatch import Stopwatch
from fnrbc_device.records import Frame, Pose, Rejection
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.frame_quality import FrameQuality, Judgement
from fnrbc_device.vision.pan_speed import PanSpeed, Speed
from fnrbc_device.vision.reduction import Reduced, reduce_green
from fnrbc_device.vision.registration import Placement, Registration


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What is known of a frame before its cells are looked for."""

    raw: Reduced
    """Without the nuclear picture, which is made of frames that are looked at."""
    even: Reduced
    """With the light evened out."""
    pose: Pose | None
    reason: Rejection | None
    judged: Judgement
    speed: Speed
    correlation: float = 1.0
    """With what the frame was laid on."""

    @property
    def sharpness(self) -> float:
        """0..1 of the session's sharpest."""
        return self.judged.sharpness

    @property
    def told(self) -> dict[str, Any]:
        """What a step tells of the hand, the focus and the light, by the step's own names."""
        speed, judged = self.speed, self.judged
        return {
            "speed_um_s": speed.um_s,
            "speed_limit_um_s": speed.limit_um_s,
            "hurried": speed.hurried,
            "sharpness": judged.sharpness,
            "glass": judged.glass,
            "white": judged.white,
            "flooded": judged.flooded,
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a frame lies on the slide, as far as that can be said."""

    even: Reduced
    pose: Pose | None
    reason: Rejection | None
    correlation: float = 1.0


class Placing:
    """Judges and places the frames of one session, in their order.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um.
    still
        The session is one picture: nothing is registered.
    """

    def __init__(self, pixel_size_um: float, *, still: bool) -> None:
        self._um = pixel_size_um
        self._still = still
        self._frame_quality = FrameQuality()
        self._pan_speed = PanSpeed(pixel_size_um)
        self.registration = Registration()
        self.light = FlatField()
        """Of the session's frames; where dust lies on the sensor it is darker."""

    def glance(self, frame: Frame, watch: Stopwatch) -> Glance:
        """Judge and place the next frame. A blurred one is placed as well: the next one builds on its place."""
        with watch.stage("gate"):
            raw = reduce_green(frame.image, self._um)
            judged = self._frame_quality.judge(raw)
        place = self._place(frame, raw, judged, watch)
        # The place of a frame out of focus is a guess, and a guess is no haste of the hand.
        hand = None if place.reason == "blurred" else place.pose
        shape, at_s = frame.image.shape, frame.captured_at_s
        speed = self._pan_speed.follow(at_s, shape, hand, judged.sharpness, judged.smeared)
        return Glance(raw, place.even, place.pose, place.reason, judged, speed, place.correlation)

    def _place(self, frame: Frame, raw: Reduced, judged: Judgement, watch: Stopwatch) -> _Place:
        if self._still:
            exposed = judged.reason not in ("too_dark", "too_bright")
            return _Place(raw, Pose(0, 0.0, 0.0), None if exposed else judged.reason)
        if judged.reason in ("too_dark", "too_bright", "repeated"):
            return _Place(raw, None, judged.reason)
        with watch.stage("registration"):
            even = self.light.flatten(raw)
            placement, lost = self._registered(frame, even, sharp=judged.reason is None)
        if placement is None:
            # Where the blur hides the place, the blur is what is told: it is the cause.
            return _Place(even, None, lost if lost == "objective_changed" else judged.reason or lost)
        return _Place(even, placement.pose, judged.reason, placement.correlation)

    def _registered(self, frame: Frame, even: Reduced, *, sharp: bool) -> tuple[Placement | None, Rejection]:
        """The placement, or why there is none. A known place needs no registration."""
        if frame.place is not None:
            return Placement(frame.place, 1.0, 0.0, lost=False), "tracking_lost"
        try:
            return self.registration.place(even, sharp=sharp), "tracking_lost"
        except ObjectiveError:
            return None, "objective_changed"
        except RegistrationError:
            return None, "tracking_lost"
