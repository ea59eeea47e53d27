"""Cyclic garbage is collected without looking through all that a session holds, and is not kept."""

import gc
import weakref

from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.garbage import EVERY_S, Garbage


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_goes_when_it_is_time_and_not_before() -> None:
    clock = Clock()
    with Garbage(clock) as garbage:
        gone = weakref.ref(Ring())
        garbage.follow()
        assert gone() is not None
        clock.now_s += EVERY_S
        garbage.follow()
        assert gone() is None


def test_what_was_kept_before_is_not_looked_through_again() -> None:
    with Garbage(Clock()):
        kept = [[number] for number in range(10_000)]
        gc.collect()
        gc.freeze()

        assert len(gc.get_objects()) < len(kept)


def test_when_a_session_is_over_all_of_its_garbage_goes() -> None:
    clock = Clock()
    with Garbage(clock) as garbage:
        ring = Ring()
        gone = weakref.ref(ring)
        clock.now_s += EVERY_S
        garbage.follow()
        del ring
        clock.now_s += EVERY_S
        garbage.follow()
        assert gone() is not None  # it was kept with all the rest
        garbage.let_go()
        assert gone() is None


def test_collecting_by_itself_is_on_again_afterwards() -> None:
    with Garbage(Clock()):
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_to_ask_whether_the_clock_is_held_leaves_no_garbage() -> None:
    clock = SystemClock()
    with Garbage(Clock()):
        for _ in range(10):
            clock.synchronised()

        assert gc.collect() == 0
