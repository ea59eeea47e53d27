"""Site validation as one self-contained page: what the network was measured to do here, and against a manual count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from fnrbc_device.language import _, decimal
from fnrbc_device.quality.agreement import WANTED_PAIRS, BlandAltman, Line, bland_altman, deming, passing_bablok
from fnrbc_device.quality.blanks import LimitOfBlank
from fnrbc_device.records import Interval
from fnrbc_device.reporting.rendering import render
from fnrbc_device.reporting.scatter import differences_svg, methods_svg
from fnrbc_device.sessions.validation import Validation
from fnrbc_device.texts import KIND_WORDS, RESEARCH_USE_ONLY


@dataclass(frozen=True, slots=True)
class Compared:
    """One way of counting beside a manual count of the same slides."""

    name: str
    manual: tuple[float, ...]
    """FNRBC per 100 leukocytes."""
    ours: tuple[float, ...]
    differences: BlandAltman | None
    deming: Line | None
    passing_bablok: Line | None

    def as_json(self) -> dict[str, Any]:
        """All figures, under stable names."""
        line = {"deming": self.deming, "passing_bablok": self.passing_bablok}
        bland = self.differences
        return {
            "pairs": len(self.manual),
            "bland_altman": None
            if bland is None
            else {
                "bias": _interval(bland.bias),
                "sd": bland.sd,
                "lower": _interval(bland.lower),
                "upper": _interval(bland.upper),
            },
            **{
                name: None if one is None else {"slope": _interval(one.slope), "intercept": _interval(one.intercept)}
                for name, one in line.items()
            },
        }


def compare(name: str, pairs: Sequence[tuple[float, float]]) -> Compared:
    """Work out how far one way of counting agrees with a manual count.

    Parameters
    ----------
    pairs
        Manual and ours, fNRBC per 100 leukocytes of the same slide.
    """
    manual, ours = tuple(one for one, _ in pairs), tuple(other for _, other in pairs)
    return Compared(
        name, manual, ours, bland_altman(manual, ours), deming(manual, ours), passing_bablok(manual, ours)
    )


def validation_html(
    found: Validation, limit: LimitOfBlank | None, compared: Sequence[Compared], about: Mapping[str, str]
) -> str:
    """Build the page. Every text that comes from outside is escaped; nothing in it runs or loads."""
    style = (files("fnrbc_device.reporting") / "report.css").read_text("utf-8")
    return render(
        "validation.html",
        found=found,
        limit=limit,
        compared=[(one, *_drawn(one)) for one in compared],
        about=about,
        percent=_percent,
        plain=_plain,
        kind_words=KIND_WORDS,
        research=_(RESEARCH_USE_ONLY),
        style=Markup(style),  # our own file
        wanted_pairs=WANTED_PAIRS,
    )


def _drawn(one: Compared) -> tuple[Markup, Markup]:
    """Both pictures, made of numbers alone."""
    methods = methods_svg(one.manual, one.ours, one.deming)
    return Markup(methods), Markup(differences_svg(one.manual, one.ours, one.differences))


def _percent(interval: Interval) -> str:
    low, high = decimal(100 * interval.low, 2), decimal(100 * interval.high, 2)
    return f"{decimal(100 * interval.value, 2)} % ({low}\N{EN DASH}{high})"


def _plain(interval: Interval) -> str:
    return _(
        "%(value)s (%(low)s to %(high)s)",
        value=decimal(interval.value, 2),
        low=decimal(interval.low, 2),
        high=decimal(interval.high, 2),
    )


def _interval(interval: Interval) -> dict[str, float | None]:
    """As JSON can say it: an end that is not known is null."""
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: value if abs(value) < float("inf") else None for name, value in ends.items()}
