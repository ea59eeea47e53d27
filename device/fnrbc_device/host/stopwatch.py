"""What each stage of a frame's way costs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

STAGES: Final = ("gate", "registration", "segmentation", "ledger", "classify")


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds spent in each stage of one frame."""

    clock: Callable[[], float] = perf_counter
    """Seconds."""
    stages_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def stage(self, name: str) -> "Stage":
        """Measure a stage; what is entered twice adds up."""
        return Stage(self, name)


class Stage:
    """Measures what is done within it. Six of them a frame: a generator in its place would take twice as long."""

    __slots__ = ("_began", "_name", "_watch")

    def __init__(self, watch: Stopwatch, name: str) -> None:
        self._watch = watch
        self._name = name
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = self._watch.clock()

    def __exit__(self, *fault: object) -> None:
        self._watch.stages_ms[self._name] += 1e3 * (self._watch.clock() - self._began)
