"""Gives the orders of a batch to workers, and puts in its place what they made, until all of it is there."""

import shutil
import threading
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from fnrbc_device.batch.counting import Order, Outcome, WorkerMismatchError, row_of
from fnrbc_device.batch.fingerprint import fingerprint
from fnrbc_device.batch.progress import Progress
from fnrbc_device.batch.rows import BatchFolder
from fnrbc_device.batch.sharing import Part, parts_of
from fnrbc_device.batch.table import Table
from fnrbc_device.batch.workers import PAUSE_S, LostError, SchedulerError, lost_if_silent, threads_of, unlike
from fnrbc_device.errors import FnrbcError
from fnrbc_device.host.console import readable

if TYPE_CHECKING:
    from distributed import Client, Future

Connect = Callable[[], AbstractContextManager["Client"]]

AHEAD: Final = 2
"""Orders given out for each thread: one is worked on, one waits beside it. Those of a scheduler that is lost are given
again."""

LEAST_AHEAD: Final = 8
"""Orders given out where there is no worker: a cluster that grows with its work must see that there is some."""

_TICK_S: Final = 0.25

_GONE: Final = ("cancelled", "lost")
"""States of an order that its scheduler knows nothing of any more."""

_DEADLY: Final = "several workers ended in the middle of it, also with nothing beside it; it may need more memory"


@dataclass(slots=True)
class Shared:
    """How far a slide is that several count."""

    left: set[Part]
    """Parts that are not counted yet."""
    of: int
    """How many there were."""


@dataclass(slots=True)
class Batch:
    """Orders on their way to rows.

    Parameters
    ----------
    folder
        Held by this process alone.
    waiting
        What is to be done, in this order.
    work
        Does one of them, on a worker; imported there by its name.
    progress
        Told of each that is done.
    table
        Likewise.
    stop
        Set to end early; what is done stays done.
    """

    folder: BatchFolder
    waiting: deque[Order]
    work: Callable[[Order], Outcome]
    progress: Progress
    table: Table
    stop: threading.Event
    alone: deque[Order] = field(default_factory=deque)
    """What several workers died of: tried again at the end, with nothing beside it that could be to blame."""
    suspects: set[Order] = field(default_factory=set)
    """All that were ever among these."""
    shared: dict[Path, Shared] = field(default_factory=dict)
    """Slides that are counted in parts, by the folders of these."""
    running: dict[str, tuple[Order, "Future"]] = field(default_factory=dict)
    """By the name of the attempt."""
    ended: SimpleQueue[str] = field(default_factory=SimpleQueue)
    """Names of attempts that came to an end, in whatever way."""

    @property
    def open(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.waiting or self.alone or self.running)


def run(batch: Batch, connect: Connect, *, may_come_back: bool) -> None:
    """Count all that waits.

    Parameters
    ----------
    connect
        Gives a connection to workers that was proved to work.
    may_come_back
        A scheduler that is lost is connected to again, and what it had not finished is ordered again.

    Raises
    ------
    FnrbcError
        Workers are unlike this machine, results cannot be written, or the scheduler stays away. All that was done
        stays done.
    """
    while batch.open and not batch.stop.is_set():
        try:
            with connect() as client:
                try:
                    _until_done(batch, client)
                finally:
                    _take_back(batch, client)
        except LostError:
            if batch.stop.is_set():
                return
            if not may_come_back:
                raise SchedulerError("the workers of this machine are gone; give the same command again") from None
            left = len(batch.waiting) + len(batch.alone)
            batch.progress.say(f"the scheduler is lost; waiting for it, {left} sources are still to do")
            batch.stop.wait(PAUSE_S)


def _until_done(batch: Batch, client: "Client") -> None:
    while batch.open and not batch.stop.is_set():
        _order_more(batch, client)
        with suppress(Empty):
            _settle(batch, client, batch.ended.get(timeout=_TICK_S))
        if client.status != "running" or any(future.status in _GONE for _, future in batch.running.values()):
            raise LostError
        batch.progress.tick(threads_of(client))


def _order_more(batch: Batch, client: "Client") -> None:
    wanted = max(AHEAD * threads_of(client), LEAST_AHEAD)
    while batch.waiting and len(batch.running) < wanted:
        order = batch.waiting.popleft()
        if _is_wanted(batch, order):
            _give(batch, client, order)
    if batch.alone and not batch.waiting and not batch.running:
        _give(batch, client, batch.alone.popleft())


def _give(batch: Batch, client: "Client", order: Order) -> None:
    # A name of its own: the scheduler would answer an order that it knows with what it came to before.
    attempt = uuid.uuid4().hex
    try:
        with lost_if_silent():
            future = client.submit(batch.work, order, key=f"{batch.work.__name__}-{attempt}", pure=False)
    except LostError:
        batch.waiting.appendleft(order)
        raise
    batch.running[attempt] = (order, future)
    future.add_done_callback(lambda _: batch.ended.put(attempt))


def _is_wanted(batch: Batch, order: Order) -> bool:
    """Whether it still matters: a slide one of whose parts failed has failed as a whole."""
    return order.part is None or order.part.folder in batch.shared


def _settle(batch: Batch, client: "Client", attempt: str) -> None:
    """Take in how an attempt ended."""
    from distributed import KilledWorker

    if attempt not in batch.running:
        return
    order, future = batch.running[attempt]
    if future.status in _GONE:
        raise LostError
    del batch.running[attempt]
    if not _is_wanted(batch, order):
        return
    if future.status == "finished":
        _settle_outcome(batch, client, order, future.result())
        return
    error = future.exception()
    if isinstance(error, KilledWorker):
        _settle_deaths(batch, order)
    else:
        raise error if isinstance(error, FnrbcError) else unlike("that took an order", error)


def _settle_outcome(batch: Batch, client: "Client", order: Order, outcome: Outcome) -> None:
    if outcome.state == "other source":
        _settle_other_source(batch, order, outcome)
    elif outcome.state == "part":
        _settle_part(batch, order)
    elif not outcome.made.is_dir():
        raise WorkerMismatchError(
            f"what the worker {outcome.worker} wrote to {order.work} is not seen by this machine; --out must lie on a "
            "disk that all of them have at the same path"
        )
    elif outcome.state == "shared":
        _share(batch, order, parts_of(outcome.made, outcome.regions, threads_of(client)))
    else:
        batch.folder.adopt(outcome.made, order.source)
        _tell(batch, order, outcome)


def _share(batch: Batch, order: Order, parts: list[Part]) -> None:
    """Order the parts of a slide, before all else: it should be finished before another one is begun."""
    batch.shared[parts[0].folder] = Shared(set(parts), len(parts))
    batch.waiting.extendleft(replace(order, part=part) for part in reversed(parts))


def _settle_part(batch: Batch, order: Order) -> None:
    """Take a part off the list; the last one lets all of them be put together."""
    assert order.part is not None
    shared = batch.shared[order.part.folder]
    shared.left.discard(order.part)
    # One of them stands for putting all together.
    batch.progress.partly(str(order.source.path), 1 - (len(shared.left) + 1) / (shared.of + 1))
    if not shared.left:
        batch.waiting.appendleft(replace(order, part=replace(order.part, regions=range(0))))


def _settle_other_source(batch: Batch, order: Order, outcome: Outcome) -> None:
    """Tell a source that changed under us from a worker that sees another disk."""
    if fingerprint(order.source.path).digest == order.fingerprint:
        raise WorkerMismatchError(
            f"the worker {outcome.worker} sees other files at {order.source.path} than this machine; sources must lie "
            "on a disk that all of them have at the same path"
        )
    _fail(batch, order, "its files changed while the batch ran; run the batch again when they are whole")


def _settle_deaths(batch: Batch, order: Order) -> None:
    """What waited beside the culprit on a worker is suspected with it; with nothing beside it, only the culprit is."""
    if order in batch.suspects:
        _fail(batch, order, _DEADLY)
    else:
        batch.suspects.add(order)
        batch.alone.append(order)


def _fail(batch: Batch, order: Order, error: str) -> None:
    batch.folder.note_failure(row_of(order, "failed", error), order.source)
    _tell(batch, order, Outcome("failed", "", error))


def _tell(batch: Batch, order: Order, outcome: Outcome) -> None:
    if order.part is not None:
        del batch.shared[order.part.folder]
        shutil.rmtree(order.part.folder, ignore_errors=True)
    batch.progress.done(str(order.source.path), failed=outcome.state == "failed")
    batch.table.done(order.source)
    if outcome.error:
        path = readable(str(order.source.path))
        named = outcome.error if path in outcome.error else f"{path}: {outcome.error}"
        batch.progress.say(f"{outcome.state}: {named}")


def _take_back(batch: Batch, client: "Client") -> None:
    """Give up what is still on its way; it waits again, in its order."""
    if batch.stop.is_set():
        batch.progress.say("ending; what is done is kept")
    orders = [order for order, _ in batch.running.values()]
    if orders and client.status == "running":
        # One that does not listen any more loses its orders by itself.
        with suppress(Exception):
            client.cancel([future for _, future in batch.running.values()], force=True)
    batch.waiting.extendleft(one for one in reversed(orders) if one not in batch.suspects)
    batch.alone.extendleft(one for one in reversed(orders) if one in batch.suspects)
    batch.running.clear()
