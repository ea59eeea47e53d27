"""The panel itself: one thread looks at the footswitch and keeps the lamp's rhythm, fifty times a second."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fnrbc_device.errors import ConfigError
from fnrbc_device.panel.gestures import Gesture, Gestures
from fnrbc_device.panel.lamp import OFF, Lamp, colour_at

TURN_S: Final = 0.02
"""Between two looks: well below a bounce, and a processor notices nothing."""

BUZZ_S: Final = 0.15
MAX_GESTURES: Final = 8
"""Gestures that wait for the counting thread; beyond, the oldest are dropped: nobody means what he did so long ago."""

JOIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class PanelPins:
    """Which pin of the 40-pin header does what; None for what is not there."""

    footswitch: int | None = None
    green: int | None = None
    red: int | None = None
    buzzer: int | None = None


class Panel:
    """Footswitch, lamp and buzzer on the pins of a board.

    Parameters
    ----------
    pins
        What is connected where. The footswitch closes to ground.
    factory
        Of gpiozero; ours on a Jetson, its mock in tests.
    clock
        Monotonic, seconds.

    Raises
    ------
    ConfigError
        A pin is not on this board, or cannot be used.
    """

    def __init__(self, pins: PanelPins, factory: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._factory = factory
        self._gestures = Gestures()
        self._waiting: deque[Gesture] = deque(maxlen=MAX_GESTURES)
        self._lamp: Lamp = "idle"
        self._lamp_s = self._buzz_until_s = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="panel", daemon=True)
        self._devices: list[Any] = []
        from gpiozero import DigitalInputDevice, DigitalOutputDevice

        def pulled_up(pin: int) -> Any:
            return DigitalInputDevice(pin, pull_up=True, pin_factory=factory)

        def output(pin: int) -> Any:
            return DigitalOutputDevice(pin, pin_factory=factory)

        try:
            self._footswitch = self._device(pulled_up, pins.footswitch, "footswitch")
            self._green = self._device(output, pins.green, "green")
            self._red = self._device(output, pins.red, "red")
            self._buzzer = self._device(output, pins.buzzer, "buzzer")
        except ConfigError:
            self._let_go()
            raise

    def start(self) -> None:
        """Begin to look and to shine."""
        self._thread.start()

    def show(self, lamp: Lamp) -> None:
        """Choose what the lamp shows; the rhythm of a new choice begins at once. From any thread."""
        if lamp != self._lamp:
            self._lamp, self._lamp_s = lamp, self._clock()

    def buzz(self) -> None:
        """Sound the buzzer once. From any thread."""
        self._buzz_until_s = self._clock() + BUZZ_S

    def take(self) -> list[Gesture]:
        """Gestures since the last time. From any thread."""
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return found

    def turn(self) -> None:
        """Look at the footswitch once, and set lamp and buzzer as they are due."""
        now = self._clock()
        if self._footswitch is not None:
            gesture = self._gestures.look(bool(self._footswitch.value), now)
            if gesture is not None:
                self._waiting.append(gesture)
        green, red = colour_at(self._lamp, now - self._lamp_s)
        self._set(green, red, now < self._buzz_until_s)

    def stop(self) -> None:
        """Switch all off and let go of the pins. Safe to call twice."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        self._let_go()

    def _run(self) -> None:
        while not self._stop.wait(TURN_S):
            self.turn()

    def _set(self, green: bool, red: bool, sound: bool) -> None:
        for device, value in ((self._green, green), (self._red, red), (self._buzzer, sound)):
            if device is not None and bool(device.value) != value:
                device.value = value

    def _device(self, make: Callable[[int], Any], pin: int | None, what: str) -> Any:
        if pin is None:
            return None
        try:
            device = make(self._name(pin))  # type: ignore[arg-type]  # gpiozero takes names too
        except Exception as error:
            raise ConfigError(
                f"panel.{what} is pin {pin}, which cannot be used ({error}); choose another of the header"
            ) from error
        self._devices.append(device)
        return device

    def _name(self, pin: int) -> str:
        return f"BOARD{pin}"

    def _let_go(self) -> None:
        if self._devices:
            with contextlib.suppress(AttributeError):
                self._set(*OFF, False)
        while self._devices:
            self._devices.pop().close()
        self._factory.close()
