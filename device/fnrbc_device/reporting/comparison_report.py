"""What another network changes in an archive, as one self-contained page."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fnrbc_device.counting.claim_words import CLAIMS
from fnrbc_device.language import _, decimal
from fnrbc_device.reporting.rendering import render
from fnrbc_device.texts import RESEARCH_USE_ONLY, class_words


@dataclass(frozen=True, slots=True)
class ChangedCell:
    """A cell that one count has otherwise than the other, or not at all."""

    source: str
    specimen: str
    fields: Mapping[str, str]
    """Its row of ``difference.csv``."""
    picture: Path | None

    @property
    def uri(self) -> str:
        """Its picture for a page; empty for none."""
        if self.picture is None or not self.picture.is_file():
            return ""
        return f"data:image/jpeg;base64,{base64.b64encode(self.picture.read_bytes()).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class ComparedSlide:
    """One slide under both networks."""

    source: str
    specimen: str
    error: str
    """Why it was not compared; empty where it was."""
    found: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the page is made from."""

    summary: Mapping[str, Any]
    """The content of ``comparison.json``."""
    slides: Sequence[ComparedSlide]
    cells: Sequence[ChangedCell]
    """Those that are shown."""
    changed: int
    """How many there are."""


def comparison_html(page: Comparison) -> str:
    """Build the page. Every text that comes from outside is escaped; nothing in it runs or loads."""
    style = (files("fnrbc_device.reporting") / "report.css").read_text("utf-8")
    return render(
        "comparison.html",
        page=page,
        style=Markup(style),
        research=_(RESEARCH_USE_ONLY),
        rate=_rate,
        claim=_claim,
        called=_called,
    )


def _called(name: str) -> str:
    return class_words(name) if name else _("not found")


def _rate(counts: Mapping[str, Any]) -> str:
    rate = counts["fnrbc_per_100_leukocytes"]
    if rate["value"] is None:
        return "\N{EN DASH}"
    high = "\N{INFINITY}" if rate["high"] is None else decimal(rate["high"])
    return f"{decimal(rate['value'])} ({decimal(rate['low'])}\N{EN DASH}{high})"


def _claim(counts: Mapping[str, Any]) -> str:
    return CLAIMS[counts["claim"]["state"]] if counts["claim"] else _("nothing")
