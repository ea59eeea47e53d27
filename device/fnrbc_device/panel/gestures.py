"""What a foot means: tap, hold, double tap, told by time alone."""

from typing import Final, Literal

Gesture = Literal["start_pause", "flag", "unflag"]
"""A tap starts and pauses the count, a hold flags the field in view, a double tap takes the last flag back."""

BOUNCE_S: Final = 0.03
"""A contact that changes sooner bounces: mechanical footswitches settle within 5 to 20 ms."""

HOLD_S: Final = 0.8
"""Longer than any tap of a foot, which takes 0.1 to 0.4 s."""

DOUBLE_S: Final = 0.4
"""A second press this soon after the first release makes a double tap; a tap alone is known only then."""


class Gestures:
    """Watches one contact."""

    def __init__(self) -> None:
        self._pressed = False
        self._changing_s: float | None = None
        self._pressed_s = 0.0
        self._released_s: float | None = None
        self._held = False
        self._second = False

    def look(self, pressed: bool, now_s: float) -> Gesture | None:
        """Look at the contact, 20 times a second or more; gives a gesture when it is complete.

        Parameters
        ----------
        pressed
            The contact as it is, bounces included.
        now_s
            Monotonic clock.
        """
        if self._settled(pressed, now_s):
            self._pressed = pressed
            if not pressed:
                return self._release(now_s)
            self._press(now_s)
            return None
        if self._pressed and not self._held and now_s - self._pressed_s >= HOLD_S:
            self._held, self._second, self._released_s = True, False, None
            return "flag"
        if not self._pressed and self._released_s is not None and now_s - self._released_s > DOUBLE_S:
            self._released_s = None
            return "start_pause"
        return None

    def _settled(self, pressed: bool, now_s: float) -> bool:
        """Whether the contact has changed, and stayed so."""
        if pressed == self._pressed:
            self._changing_s = None
            return False
        if self._changing_s is None:
            self._changing_s = now_s
        if now_s - self._changing_s < BOUNCE_S:
            return False
        self._changing_s = None
        return True

    def _press(self, now_s: float) -> None:
        self._pressed_s, self._held = now_s, False
        self._second = self._released_s is not None
        self._released_s = None

    def _release(self, now_s: float) -> Gesture | None:
        if self._held:
            return None
        if self._second:
            self._second = False
            return "unflag"
        self._released_s = now_s
        return None
