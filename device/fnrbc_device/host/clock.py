"""The clocks: monotonic inside, UTC outside, and whether UTC can be believed."""

import ctypes
import sys
import time
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Final, Protocol

_Timex = ctypes.c_char * 512
"""Room for ``struct timex``, which takes 208 bytes on any Linux of 64 bits."""

TIME_ERROR: Final = 5
"""What adjtimex(2) answers while the kernel's clock is not synchronised."""


BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

MADE: Final = datetime(2026, 11, 1, tzinfo=timezone.utc)
"""This software is not older: a clock that says less is wrong, as one without a battery is that starts in 1970."""


class Clock(Protocol):
    """Where times come from. Passed in, so that a test can step it."""

    def utc(self) -> datetime:
        """Time of day, aware, UTC."""

    def monotonic_s(self) -> float:
        """Seconds since some moment that does not move."""

    def synchronised(self) -> bool:
        """Whether the time of day is held by a time server."""


class SystemClock:
    """The clocks of this machine."""

    def utc(self) -> datetime:
        """Time of day, aware, UTC."""
        return datetime.now(timezone.utc)

    def monotonic_s(self) -> float:
        """Seconds since this machine started."""
        return time.monotonic()

    def synchronised(self) -> bool:
        """Whether the kernel says that a time server holds the clock. False where it cannot be known."""
        if not sys.platform.startswith("linux"):
            return False
        # All zero means "only tell": it changes nothing and needs no right.
        answer = int(_libc().adjtimex(_Timex()))
        return 0 <= answer < TIME_ERROR


@cache
def _libc() -> ctypes.CDLL:
    """The C library, opened once: it is asked with each frame."""
    return ctypes.CDLL(None)


def clock_fault(now: datetime) -> str:
    """What to say of a clock that cannot be right; empty where it can."""
    if now >= MADE:
        return ""
    return (
        f"this machine's clock says {now:%Y-%m-%d}, before this software was made ({MADE:%Y-%m}); "
        "set it: start chrony or systemd-timesyncd, or renew its battery"
    )


def iso_utc(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC with milliseconds, e.g. ``2026-03-01T09:30:00.125Z``."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(words: str) -> datetime:
    """Read what ``iso_utc`` wrote."""
    return datetime.fromisoformat(words.replace("Z", "+00:00")).astimezone(timezone.utc)


def boot_id() -> str:
    """Name of this start of the machine, random; "unknown" where the system does not tell."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
