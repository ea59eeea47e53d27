"""How far long work is: on a terminal a bar with the time left, in a pipe or a log a line every ten seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TextIO

EVERY_S: Final = 10.0

Update = Callable[[int], None]
"""Takes how many are done."""

Begin = Callable[[int | None], Update]
"""Takes how many there are; None where nobody knows yet."""


@contextmanager
def progress(unit: str, stream: TextIO | None = None) -> Iterator[Begin]:
    """Show how far work is, for as long as it runs.

    Parameters
    ----------
    unit
        What is counted, such as ``frames``.
    stream
        Where to say it; standard error, so that results can go through a pipe.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield lambda total: Lines(unit, total, stream).update
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (MofNCompleteColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream)) as bars:

        def begin(total: int | None) -> Update:
            task = bars.add_task(unit, total=total)
            return lambda done: bars.update(task, completed=done)

        yield begin


class Lines:
    """A line every ten seconds, for what keeps lines.

    Parameters
    ----------
    unit
        What is counted.
    total
        How many there are; None where nobody knows yet.
    stream
        Where they go.
    clock
        Monotonic, seconds.
    """

    def __init__(
        self, unit: str, total: int | None, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._unit, self._total, self._stream, self._clock = unit, total, stream, clock
        self._began_s = self._said_s = clock()

    def update(self, done: int) -> None:
        """Take in how many are done, and say it where it is time."""
        now_s = self._clock()
        if now_s - self._said_s < EVERY_S:
            return
        self._said_s = now_s
        of = f" of {self._total}" if self._total else ""
        print(f"{done}{of} {self._unit}{self._left(done, now_s)}", file=self._stream, flush=True)

    def _left(self, done: int, now_s: float) -> str:
        if not self._total or not 0 < done <= self._total:
            return ""
        seconds = (now_s - self._began_s) * (self._total - done) / done
        return f", {timedelta(seconds=round(seconds))} left"
