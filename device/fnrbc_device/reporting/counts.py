"""What was counted, under the names that ``summary.json`` has: of recorded frames and of a session alike."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import inf
from typing import Any, Final

from fnrbc_device.counting.claim_words import claim_words, provisional_words
from fnrbc_device.intervals import PLANNED_WITHIN
from fnrbc_device.records import Claim, Interval, Tally
from fnrbc_device.texts import RESEARCH_USE_ONLY

_PLAIN: Final = ("fnrbc", "leukocytes", "other", "indeterminate", "cells", "complete", "bundle", "version")

COUNT_COLUMNS: Final = (
    *_PLAIN,
    "fnrbc_per_100_leukocytes",
    "ci95_low",
    "ci95_high",
    "claim",
    "claim_per_100_leukocytes",
    "claim_ci95_low",
    "claim_ci95_high",
    "limit_of_blank",
    "claim_source",
    "provisional",
    "claim_words",
    "research_use",
)
"""Of ``counts.csv``; the names are those of the messages to the lab."""


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
        "claim": claim_fields(tally.claim, tally.provisional),
        "provisional": [{"code": code, "words": provisional_words([code])} for code in tally.provisional],
    }


def claim_fields(claim: Claim | None, reasons: Iterable[str] = ()) -> dict[str, Any] | None:
    """What a count may claim, beside the plain ratio; null where there is nothing to claim."""
    if claim is None:
        return None
    return {
        "state": claim.state,
        "words": claim_words(claim, reasons),
        "fnrbc_per_100_leukocytes": interval(claim.corrected),
        "limit_of_blank": claim.limit_of_blank,
        "source": claim.source,
        "known_from": {"fnrbc": claim.targets, "leukocytes": claim.leukocytes},
    }


def retold(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Say a summary's sentences in the language that is spoken now; its figures stay as they are."""
    codes = [one["code"] for one in summary["provisional"]]
    words = claim_words(_claim_of(summary["claim"]), codes) if summary["claim"] else ""
    return {
        **summary,
        "claim": summary["claim"] and {**summary["claim"], "words": words},
        "provisional": [{"code": code, "words": provisional_words([code])} for code in codes],
    }


def _claim_of(fields: Mapping[str, Any]) -> Claim:
    """Read a claim of the machine's as ``claim_fields`` writes it."""
    rate, known = fields["fnrbc_per_100_leukocytes"], fields["known_from"]
    ends = [inf if end is None else end for end in (rate["value"], rate["low"], rate["high"])]
    return Claim(
        state=fields["state"],
        corrected=None if rate["low"] is None else Interval(*ends),
        limit_of_blank=fields["limit_of_blank"],
        source=fields["source"],
        targets=known["fnrbc"],
        leukocytes=known["leukocytes"],
    )


def interval(rate: Interval | None) -> dict[str, float | None]:
    """A rate with its 95 % interval; null where there is nothing to say it by, or no upper end."""
    ends = asdict(rate) if rate else {"value": None, "low": None, "high": None}
    return {name: None if end == inf else end for name, end in ends.items()}


def count_row(summary: Mapping[str, Any]) -> list[Any]:
    """The row of ``counts.csv``: one slide, its plain count and beside it what that may claim."""
    claimed = summary["claim"] or {"state": None, "words": None, "limit_of_blank": None, "source": None}
    plain, corrected = summary["fnrbc_per_100_leukocytes"], claimed.get("fnrbc_per_100_leukocytes") or interval(None)
    return [
        *(summary[name] for name in _PLAIN),
        *plain.values(),
        claimed["state"],
        *corrected.values(),
        claimed["limit_of_blank"],
        claimed["source"],
        " ".join(reason["code"] for reason in summary["provisional"]),
        claimed["words"],
        RESEARCH_USE_ONLY,
    ]
