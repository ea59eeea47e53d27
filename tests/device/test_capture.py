"""The mailbox: a few frames wait, then the newest wins, what it replaces is counted, and it ends."""

import time
from collections.abc import Iterator
from threading import Thread

import pytest

from fnrbc_device.daemon.capture import WAITING, Mailbox


@pytest.fixture
def box() -> Iterator[Mailbox[int]]:
    box: Mailbox[int] = Mailbox()
    yield box
    box.close()


def test_a_reader_that_was_held_up_gets_all_that_waited_in_their_order(box: Mailbox[int]) -> None:
    for item in range(WAITING):
        box.put(item)

    assert [box.take(0.0) for _ in range(WAITING)] == [(item, 0) for item in range(WAITING)]
    assert box.take(0.0) == (None, 0)


def test_where_the_room_does_not_last_the_newest_wins_and_what_it_replaced_is_counted(box: Mailbox[int]) -> None:
    for item in range(WAITING + 1):
        box.put(item)

    assert box.take(0.0) == (WAITING, WAITING)
    assert box.take(0.0) == (None, 0)


def test_a_reader_that_does_not_catch_up_gets_the_newest_alone(box: Mailbox[int]) -> None:
    for item in range(WAITING + 1):
        box.put(item)
    taken = []
    for item in range(10, 20):  # two come while it is busy with one
        taken.append(box.take(0.0))
        box.put(2 * item)
        box.put(2 * item + 1)

    assert taken[1:] == [(2 * item + 1, 1) for item in range(10, 19)]


def test_a_reader_that_has_caught_up_is_waited_for_again(box: Mailbox[int]) -> None:
    for item in range(WAITING + 1):
        box.put(item)
    box.take(0.0)
    box.take(0.0)  # nothing there
    for item in range(WAITING):
        box.put(item)

    assert box.take(0.0) == (0, 0)


def test_drops_are_told_once(box: Mailbox[int]) -> None:
    for item in range(WAITING + 1):
        box.put(item)
    box.take(0.0)
    box.put(7)

    assert box.take(0.0) == (7, 0)


def test_all_that_waits_can_be_taken_at_once_and_drops_are_told_with_it(box: Mailbox[int]) -> None:
    for item in range(WAITING + 1):
        box.put(item)
    items, dropped = box.take_waiting()

    assert (list(items), dropped) == ([WAITING], WAITING)
    assert box.take(0.0) == (None, 0)
    box.put(7)
    box.put(8)
    items, dropped = box.take_waiting()
    assert (list(items), dropped) == ([7, 8], 0)


def test_an_empty_box_is_waited_for_no_longer_than_asked(box: Mailbox[int]) -> None:
    start_s = time.monotonic()

    assert box.take(0.05) == (None, 0)

    assert 0.04 <= time.monotonic() - start_s < 2.0


def test_a_reader_that_waits_gets_what_comes(box: Mailbox[int]) -> None:
    taken: list[tuple[int | None, int]] = []
    reader = Thread(target=lambda: taken.append(box.take(10.0)))
    reader.start()
    box.put(7)
    reader.join(5.0)

    assert taken == [(7, 0)]


def test_closing_wakes_a_reader_that_waits(box: Mailbox[int]) -> None:
    taken: list[tuple[int | None, int]] = []
    reader = Thread(target=lambda: taken.append(box.take(30.0)))
    reader.start()
    box.close()
    reader.join(5.0)

    assert not reader.is_alive()
    assert taken == [(None, 0)]


def test_what_is_in_the_box_when_it_closes_can_still_be_taken(box: Mailbox[int]) -> None:
    box.put(1)
    box.close()

    assert not box.ended
    assert box.take(10.0) == (1, 0)
    assert box.ended
    assert box.take(10.0) == (None, 0)


def test_an_open_box_has_not_ended_though_it_is_empty(box: Mailbox[int]) -> None:
    assert not box.ended


def test_between_two_threads_every_item_is_taken_or_counted(box: Mailbox[int]) -> None:
    sent = 3000
    taken: list[int] = []
    lost: list[int] = []

    def read() -> None:
        while not box.ended:
            item, dropped = box.take(0.2)
            if item is not None:
                taken.append(item)
                lost.append(dropped)

    reader = Thread(target=read)
    reader.start()
    for item in range(sent):
        box.put(item)
    box.close()
    reader.join(10.0)

    assert taken == sorted(set(taken))
    assert taken[-1] == sent - 1
    assert len(taken) + sum(lost) == sent
