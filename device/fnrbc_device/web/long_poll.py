"""Lets those who look know at once that somebody decided, so that they need not ask all the time."""

import asyncio
from typing import Final

HOLD_S: Final = 3.0
"""An answer is held back this long at most: shorter than the 5 s that the page waits for one."""


class LongPoll:
    """Counts decisions and wakes who waits for one. Belongs to the event loop."""

    def __init__(self) -> None:
        self._number = 0
        self._next = asyncio.Event()
        self._closed = False

    def tell(self) -> None:
        """Wake all who wait."""
        self._number += 1
        self._next.set()
        self._next = asyncio.Event()

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closed = True
        self._next.set()

    async def other_than(self, number: int) -> int:
        """Wait for another number than the one known; the same one where nobody decided meanwhile.

        A number that was never given, such as that of an appliance that was started anew, is answered at once.
        """
        if number == self._number and not self._closed:
            try:
                await asyncio.wait_for(self._next.wait(), HOLD_S)
            except asyncio.TimeoutError:
                return number
        return self._number
