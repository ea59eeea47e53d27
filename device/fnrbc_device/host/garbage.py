"""Keeps the collection of cyclic garbage from stopping the counting: a full one takes 1.3 s at a million cells."""

import gc
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 20.0
"""From one collection to the next: what came to be in between is looked through in some ms."""


class Garbage:
    """Collects what is new now and then, and never what was kept before. One a process, while it counts.

    Parameters
    ----------
    monotonic_s
        The clock.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._due_s = monotonic_s() + EVERY_S

    def __enter__(self) -> "Garbage":
        gc.disable()
        self._keep()
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()
        gc.enable()

    def follow(self) -> None:
        """Called with each frame: collect if it is time."""
        now = self._monotonic_s()
        if now >= self._due_s:
            self._due_s = now + EVERY_S
            self._keep()

    def let_go(self) -> None:
        """Look through everything: a session is over, and its cells are garbage."""
        gc.unfreeze()
        self._keep()

    def _keep(self) -> None:
        gc.collect()
        gc.freeze()  # what lives now is not looked through again until the session is over
