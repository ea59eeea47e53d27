"""Fields that several messages share: a ratio with its interval, and what a count may claim."""

from collections.abc import Iterable
from math import inf
from typing import Any

from fnrbc_device.records import Claim, Interval


def rate_fields(rate: Interval | None) -> dict[str, Any]:
    """Fields of a ratio with its interval; null where there is none."""
    value, low, high = _ends(rate)
    return {"fnrbc_per_100_leukocytes": value, "ci95_low": low, "ci95_high": high}


def claim_fields(claim: Claim | None, provisional: Iterable[str]) -> dict[str, Any]:
    """Fields that tell what a count may claim; ends that are infinite are null."""
    value, low, high = _ends(claim.corrected if claim else None)
    return {
        "claim": claim.state if claim else None,
        "claim_per_100_leukocytes": value,
        "claim_ci95_low": low,
        "claim_ci95_high": high,
        "limit_of_blank": claim.limit_of_blank if claim else None,
        "claim_source": claim.source if claim else None,
        "provisional": ",".join(provisional),
    }


def _ends(rate: Interval | None) -> tuple[float | None, float | None, float | None]:
    if rate is None:
        return None, None, None
    value, low, high = (None if end == inf else round(end, 4) for end in (rate.value, rate.low, rate.high))
    return value, low, high
