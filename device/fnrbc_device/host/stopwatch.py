"""What each stage of a frame's way costs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage; what is entered twice adds up."""
        start = self.clock()
        try:
            yield
        finally:
            self.stages_ms[name] += 1e3 * (self.clock() - start)
