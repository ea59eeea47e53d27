"""The panel: every gesture and every rhythm, by time, on gpiozero's mock pins and under our own factory."""

import sys
from types import ModuleType

import pytest

from fnrbc_device.errors import ConfigError
from fnrbc_device.health import REASONS, Health
from fnrbc_device.panel.gestures import DOUBLE_S, HOLD_S, Gestures
from fnrbc_device.panel.lamp import RHYTHMS, colour_at, lamp_of

pytest.importorskip("gpiozero", reason="gpiozero is not installed")

from fnrbc_device.panel.board import BUZZ_S, TURN_S, Panel, PanelPins
from fnrbc_device.panel.pins import CHIP_LABEL, LINES, jetson_factory, pin_factory

PINS = PanelPins(footswitch=7, green=29, red=31, buzzer=33)


def gestures(*presses: tuple[float, float], until: float = 6.0, bounce: float = 0.0) -> list[tuple[str, float]]:
    """What presses (from, to; seconds) are taken for, and when."""
    watch, found = Gestures(), []
    for turn in range(int(until / TURN_S)):
        now = turn * TURN_S
        pressed = any(start <= now < end for start, end in presses)
        edge = any(abs(now - at) < bounce for press in presses for at in press)
        gesture = watch.look(pressed ^ (edge and turn % 2 == 0), now)
        if gesture:
            found.append((gesture, now))
    return found


@pytest.mark.parametrize("seconds", [0.06, 0.15, 0.4, 0.7])
def test_a_tap_starts_and_pauses(seconds):
    ((gesture, at),) = gestures((1.0, 1.0 + seconds))

    assert gesture == "start_pause"
    assert at <= 1.0 + seconds + DOUBLE_S + 0.1


def test_a_hold_flags_while_the_foot_is_still_down_and_once():
    ((gesture, at),) = gestures((1.0, 4.0))

    assert gesture == "flag"
    assert at == pytest.approx(1.0 + HOLD_S, abs=0.1)


def test_a_double_tap_takes_a_flag_back_and_starts_nothing():
    assert [name for name, _ in gestures((1.0, 1.15), (1.4, 1.55))] == ["unflag"]


def test_slow_taps_are_two():
    assert [name for name, _ in gestures((1.0, 1.2), (2.0, 2.2))] == ["start_pause", "start_pause"]


def test_a_tap_and_then_a_hold_is_a_flag():
    assert [name for name, _ in gestures((1.0, 1.15), (1.4, 3.0))] == ["flag"]


def test_gestures_follow_each_other():
    found = gestures((0.5, 0.6), (2.0, 3.0), (4.0, 4.1), (4.3, 4.4))

    assert [name for name, _ in found] == ["start_pause", "flag", "unflag"]


@pytest.mark.parametrize("press", [(1.0, 1.2), (1.0, 3.0)])
def test_bounces_are_no_gestures(press):
    assert len(gestures(press, bounce=0.025)) == 1


def test_a_spike_is_nothing():
    assert gestures((1.0, 1.021)) == []


def health(state: str = "counting", *reasons: str) -> Health:
    return Health(state, reasons, 30.0, 0.0, 1.0, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "lamp"),
    [
        (health("ready"), "idle"),
        (health("paused"), "idle"),
        (health("counting"), "counting"),
        (health("degraded", "broker_away"), "counting"),
        (health("degraded", "pan_too_fast"), "too_fast"),
        (health("degraded", "pan_too_fast", "tracking_lost"), "lost"),
        (health("degraded", "camera_lost", "tracking_lost"), "fault"),
        (health("fault"), "fault"),
    ],
)
def test_the_gravest_is_shown(said, lamp):
    assert lamp_of(said) == lamp


def test_every_reason_for_a_lamp_has_a_cure_and_a_rhythm():
    for reason in REASONS.values():
        assert reason.cure.endswith(".")
        assert reason.lamp is None or reason.lamp in RHYTHMS


def test_no_two_states_have_one_rhythm_for_those_who_see_no_colour():
    def rhythm(lamp):
        return [any(colour_at(lamp, turn * TURN_S)) for turn in range(300)]

    shown = [rhythm(lamp) for lamp in RHYTHMS]
    assert all(one != other for index, one in enumerate(shown) for other in shown[:index])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["mock", "jetson"])
def board(request, monkeypatch):
    """A factory, and how to press and read its pins by their number on the header."""
    if request.param == "mock":
        factory = pin_factory("mock")

        def press(down):
            pin = factory.pin("BOARD7")
            pin.drive_low() if down else pin.drive_high()

        return factory, press, lambda number: bool(factory.pin(f"BOARD{number}").state)
    fake = FakeLgpio()
    monkeypatch.setitem(sys.modules, "lgpio", fake)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
    factory = jetson_factory()

    def press_line(down):
        fake.levels[LINES[7]] = 0 if down else 1

    press_line(False)
    return factory, press_line, lambda number: bool(fake.levels.get(LINES[number]))


class FakeLgpio(ModuleType):
    """Keeps lgpio's rules: chips have labels, a line is read or written only when it was claimed for that."""

    error = type("error", (Exception,), {})
    SET_PULL_NONE, SET_PULL_UP, SET_PULL_DOWN = 128, 32, 64
    BOTH_EDGES, RISING_EDGE, FALLING_EDGE = 3, 1, 2

    def __init__(self) -> None:
        super().__init__("lgpio")
        self.levels: dict[int, int] = {}
        self.claims: dict[int, str] = {}
        self.open: set[int] = set()

    def gpiochip_open(self, number):
        if number > 1:
            raise self.error("can not open gpiochip")
        self.open.add(number)
        return number

    def gpiochip_close(self, handle):
        self.open.discard(handle)

    def gpio_get_chip_info(self, handle):
        return 0, 32, f"gpiochip{handle}", ["tegra234-gpio-aon", CHIP_LABEL][handle]

    def gpio_claim_input(self, handle, line, flags=0):
        assert handle in self.open
        self.claims[line] = "input"
        return 0

    def gpio_claim_output(self, handle, line, level=0, flags=0):
        self.claims[line] = "output"
        return 0

    def gpio_claim_alert(self, handle, line, edges, flags=0):
        self.claims[line] = "input"
        return 0

    def gpio_free(self, handle, line):
        self.claims.pop(line, None)

    def gpio_get_mode(self, handle, line):
        return 2 if self.claims.get(line) == "output" else 0

    def gpio_read(self, handle, line):
        assert self.claims[line]
        return self.levels.get(line, 0)

    def gpio_write(self, handle, line, level):
        assert self.claims[line] == "output"
        self.levels[line] = int(level)

    def gpio_set_debounce_micros(self, handle, line, micros):
        return 0

    def callback(self, handle, line, edges, func):
        return type("Callback", (), {"cancel": lambda self: None})()


@pytest.fixture
def panel(board, clock):
    panel = Panel(PINS, board[0], clock)
    yield panel
    panel.stop()


def turns(panel, clock, seconds):
    for _ in range(round(seconds / TURN_S)):
        clock.now += TURN_S
        panel.turn()


def test_the_footswitch_is_read_through_its_pin(board, panel, clock):
    _, press, _ = board
    for down, seconds in ((False, 0.2), (True, 0.2), (False, 1.0), (True, 1.0), (False, 0.2)):
        press(down)
        turns(panel, clock, seconds)

    assert panel.take() == ["start_pause", "flag"]
    assert panel.take() == []


@pytest.mark.parametrize("lamp", RHYTHMS)
def test_the_lamp_keeps_its_rhythm(board, panel, clock, lamp):
    _, _, lit = board
    turns(panel, clock, 0.5)
    panel.show("fault" if lamp != "fault" else "idle")
    panel.show(lamp)
    started = clock.now
    for _ in range(200):
        turns(panel, clock, TURN_S)
        assert (lit(29), lit(31)) == colour_at(lamp, clock.now - started)


def test_the_buzzer_sounds_once_and_stops(board, panel, clock):
    _, _, sounds = board
    panel.buzz()
    turns(panel, clock, BUZZ_S / 2)
    assert sounds(33)
    turns(panel, clock, BUZZ_S)
    assert not sounds(33)


def test_a_panel_that_stops_goes_dark(board, clock):
    factory, _, lit = board
    panel = Panel(PINS, factory, clock)
    panel.show("counting")
    turns(panel, clock, 0.1)
    assert lit(29)
    panel.stop()
    panel.stop()


def test_it_works_in_its_own_thread_and_leaves_none_behind(board):
    factory, press, _ = board
    panel = Panel(PINS, factory)
    panel.start()
    press(True)
    import time

    deadline = time.monotonic() + 30
    while not (found := panel.take()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    panel.stop()

    assert found == ["flag"]


def test_a_pin_that_is_not_on_the_header_is_wrong_configuration(board):
    with pytest.raises(ConfigError, match=r"panel\.footswitch is pin 99, which cannot be used"):
        Panel(PanelPins(footswitch=99), board[0])


def test_without_the_chip_the_cure_is_named(monkeypatch):
    fake = FakeLgpio()
    fake.gpiochip_open = lambda number: (_ for _ in ()).throw(fake.error("Permission denied"))  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lgpio", fake)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)

    with pytest.raises(ConfigError, match=r"labelled tegra234-gpio \(Permission denied\); run on an Orin, as a user"):
        jetson_factory()
