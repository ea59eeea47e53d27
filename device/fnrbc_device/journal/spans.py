"""Sets of numbers as a person reads them: ``1-4 7``."""

from bisect import bisect_right
from collections.abc import Iterable


class Spans:
    """Whole numbers, kept as spans that do not touch."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        for number in sorted(numbers):
            self._put(number, number)

    @classmethod
    def read(cls, *texts: str) -> "Spans":
        """Read spans as ``str`` writes them; of several texts, all of them together."""
        spans = cls()
        for first, last in sorted(_span(word) for text in texts for word in text.split()):
            spans._put(first, last)
        return spans

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._spans, (number, number)) - 1
        return any(first <= number <= last for first, last in self._spans[max(0, place) : place + 2])

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._spans)

    def __str__(self) -> str:
        return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in self._spans)

    def _put(self, first: int, last: int) -> None:
        """Take a span in that begins no earlier than those before it."""
        if self._spans and first <= self._spans[-1][1] + 1:
            first, last = self._spans[-1][0], max(last, self._spans[-1][1])
            self._spans.pop()
        self._spans.append((first, last))


def _span(word: str) -> tuple[int, int]:
    first, _, last = word.partition("-")
    return int(first), int(last or first)
