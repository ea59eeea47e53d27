"""How far a batch is, and how long it will still take: one line that is written over, or one every ten seconds."""

import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

EVERY_S: Final = 10.0
"""Between lines where they are kept, in a pipe or a log."""

ON_TERMINAL_S: Final = 0.5

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Progress:
    """Says how many sources are done.

    The time left is reckoned by the size of the files: what was read of them in this run, and what is still to be read.

    Parameters
    ----------
    sizes
        Bytes of the files of each source that is to be counted in this run, by its key.
    stream
        Where to say it.
    clock
        Monotonic, seconds.
    """

    def __init__(
        self, sizes: dict[str, int], stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._clock, self._start_s = clock, clock()
        self._said_s = self._start_s
        self._sizes = {key: max(size, 1) for key, size in sizes.items()}
        self._left: dict[str, float] = dict(self._sizes)
        self._failed = 0
        self._width = 0

    def done(self, key: str, *, failed: bool) -> None:
        """Note that a source is done, well or not."""
        self._left.pop(key, None)
        self._failed += failed

    def partly(self, key: str, share: float) -> None:
        """Note that a share of a source is done, 0..1."""
        if key in self._left:
            self._left[key] = self._sizes[key] * (1 - share)

    def tick(self, workers: int) -> None:
        """Say it, if it is time; call this at least twice a second."""
        if self._clock() - self._said_s >= (ON_TERMINAL_S if self._terminal else EVERY_S):
            self._said_s = self._clock()
            self._write(self.words(workers))

    def say(self, words: str) -> None:
        """Say something else, on a line of its own."""
        if self._terminal and self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream)
            self._width = 0
        print(words, file=self._stream, flush=True)

    def words(self, workers: int) -> str:
        """Such as ``12 of 40 sources, 1 failed, 2 at a time, about 35 min left``."""
        total, done = len(self._sizes), len(self._sizes) - len(self._left)
        failed = f", {self._failed} failed" if self._failed else ""
        at_a_time = f"{workers} at a time" if workers else "no worker there now"
        return f"{done} of {total} sources{failed}, {at_a_time}, {self._time_left()}"

    def end(self) -> None:
        """Leave the terminal on a line of its own."""
        if self._terminal and self._width:
            print(file=self._stream, flush=True)

    def _time_left(self) -> str:
        done = sum(self._sizes.values()) - sum(self._left.values())
        if not done:
            return "time left not known yet"
        return f"about {in_words((self._clock() - self._start_s) * sum(self._left.values()) / done)} left"

    def _write(self, line: str) -> None:
        if not self._terminal:
            print(line, file=self._stream, flush=True)
            return
        print("\r" + line.ljust(self._width), end="", file=self._stream, flush=True)
        self._width = len(line)


def in_words(seconds: float) -> str:
    """A time that people read at a glance."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days"
