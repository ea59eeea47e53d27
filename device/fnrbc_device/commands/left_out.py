"""Says what was given to a count and is not in it: in its summary, its report and its exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol

from fnrbc_device.camera.stated_pixel_size import StatedPixelSize
from fnrbc_device.errors import LeftOutError
from fnrbc_device.language import N_, _, as_decimal
from fnrbc_device.records import LeftOut
from fnrbc_device.texts import left_open, rejection

LEFT_OUT: Final = N_("Given, and not in the count")
NOTES: Final = N_("How the frames were read")
"""Headings in the report."""

Summary = Mapping[str, Any]


class Accounted(Protocol):
    """What was given to be counted, and is not in the count: of recorded frames, or of a slide."""

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Each by name."""

    @property
    def share(self) -> float:
        """Of what was given, 0..1."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know of how it was read."""

    @property
    def stated(self) -> StatedPixelSize | None:
        """What its files say of the pixel size."""


def account_fields(account: Accounted, allowed: float) -> dict[str, Any]:
    """Fields of ``summary.json``; ``allowed`` is the share that a complete count may lack, 0..1."""
    return {
        "left_out": [asdict(one) for one in account.left_out],
        "left_out_share": {"value": round(account.share, 4), "allowed": allowed},
        "pixel_size_in_files_um": account.stated and {"value": account.stated.um, "where": str(account.stated)},
        "notes": list(account.notes),
    }


def still_open(summary: Summary) -> list[str]:
    """Say what keeps a count from being complete; nothing where nothing does."""
    words = left_open(summary["frames_used"], summary["islands"], summary["cells_open"])
    share = summary["left_out_share"]
    if share["value"] > share["allowed"]:
        lacking = as_decimal(f"{share['value']:.1%}")
        words.append(_("%(share)s of the pictures given are not in the count", share=lacking))
    return words


def sections_of(summary: Summary) -> list[tuple[str, list[tuple[str, str]]]]:
    """Tables of the report: heading, and rows of two."""
    tables = [
        (_(LEFT_OUT), [(one["name"], one["detail"]) for one in summary["left_out"]]),
        (_(NOTES), [(str(number), words) for number, words in enumerate(summary["notes"], 1)]),
    ]
    return [(heading, rows) for heading, rows in tables if rows]


def require_counted(summary: Summary) -> None:
    """Refuse to call a count done that lacks what was given; what was counted is written all the same.

    Raises
    ------
    LeftOutError
        No frame could be used, or more was left out than is allowed.
    """
    if not summary["frames_used"]:
        reasons = ", ".join(f"{n} {rejection(reason).words}" for reason, n in summary["frames_rejected"].items())
        raise LeftOutError(f"none of {summary['frames']} frames could be used ({reasons}); nothing was counted")
    share, left_out = summary["left_out_share"], summary["left_out"]
    if share["value"] > share["allowed"]:
        more = f" (and {len(left_out) - 1} more, listed under left_out in summary.json)" if len(left_out) > 1 else ""
        raise LeftOutError(
            f"{share['value']:.1%} of the pictures given are not in the count, more than {share['allowed']:.1%} "
            f"allowed: {left_out[0]['detail']}{more}; mend that, or allow more with --allow-left-out"
        )
