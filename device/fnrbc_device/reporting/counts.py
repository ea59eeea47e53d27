"""What was counted, under the names that ``summary.json`` has: of recorded frames and of a session alike."""

from dataclasses import asdict
from typing import Any

from fnrbc_device.intervals import PLANNED_WITHIN
from fnrbc_device.records import Interval, Tally


def counts(tally: Tally) -> dict[str, Any]:
    """Frames, islands and cells by class, with the ratio and what is still wanted for it."""
    return {
        "frames": tally.frames,
        "frames_used": tally.frames_used,
        "frames_rejected": tally.frames_rejected,
        "islands": tally.islands,
        "cells": tally.cells,
        "fnrbc": tally.fnrbc,
        "leukocytes": tally.leukocytes,
        "other": tally.other,
        "indeterminate": tally.indeterminate,
        "fnrbc_per_100_leukocytes": interval(tally.fnrbc_per_100_leukocytes),
        "leukocytes_to_go": {"value": tally.leukocytes_to_go, "within_percent": round(100 * PLANNED_WITHIN)},
    }


def interval(rate: Interval | None) -> dict[str, float | None]:
    """A rate with its 95 % interval; null where there is nothing to say it by."""
    return asdict(rate) if rate else {"value": None, "low": None, "high": None}
