"""Two methods on the same slides, drawn as SVG: one over the other, and their differences."""

from collections.abc import Sequence
from typing import Final

from fnrbc_device.language import _
from fnrbc_device.quality.agreement import BlandAltman, Line

SIZE: Final = 360
"""Px of a side."""

_EDGE: Final = 44


def methods_svg(manual: Sequence[float], ours: Sequence[float], line: Line | None) -> str:
    """Draw ours over manual, with the line of equality and the fitted one; empty without a pair."""
    if not manual:
        return ""
    most = max(*manual, *ours, 1e-9)
    scale = (0.0, most)
    drawn = _segment((0.0, 0.0), (most, most), scale, scale, "equal")
    if line is not None:
        slope, start = line.slope.value, line.intercept.value
        drawn += _segment((0.0, start), (most, start + slope * most), scale, scale, "fitted")
    dots = "".join(_dot(x, y, scale, scale) for x, y in zip(manual, ours, strict=True))
    return _framed(_("fNRBC per 100 leukocytes, ours over manual"), scale, scale, drawn + dots)


def differences_svg(manual: Sequence[float], ours: Sequence[float], found: BlandAltman | None) -> str:
    """Draw differences over means, with their mean and limits; empty where there are too few."""
    if found is None:
        return ""
    means = [(x + y) / 2 for x, y in zip(manual, ours, strict=True)]
    gaps = [y - x for x, y in zip(manual, ours, strict=True)]
    across = (min(0.0, *means), max(*means, 1e-9))
    reach = 1.1 * max(abs(value) for value in (*gaps, found.lower.low, found.upper.high, 1e-9))
    up = (-reach, reach)
    lines = ((found.bias.value, "fitted"), (found.lower.value, "bound"), (found.upper.value, "bound"), (0.0, "equal"))
    drawn = "".join(_segment((across[0], y), (across[1], y), across, up, kind) for y, kind in lines)
    dots = "".join(_dot(x, y, across, up) for x, y in zip(means, gaps, strict=True))
    return _framed(_("Ours minus manual over the mean of both"), across, up, drawn + dots)


_Range = tuple[float, float]


def _framed(name: str, across: _Range, up: _Range, inside: str) -> str:
    low, high = SIZE - _EDGE, _EDGE / 2
    corners = (
        f'<text x="{_EDGE}" y="{low + 16}">{across[0]:.3g}</text>'
        f'<text x="{SIZE - 4}" y="{low + 16}" text-anchor="end">{across[1]:.3g}</text>'
        f'<text x="{_EDGE - 5}" y="{low}" text-anchor="end">{up[0]:.3g}</text>'
        f'<text x="{_EDGE - 5}" y="{high + 10}" text-anchor="end">{up[1]:.3g}</text>'
    )
    return (
        f'<svg class="scatter" viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="{name}">'
        f'<rect class="field" x="{_EDGE}" y="{high}" width="{SIZE - _EDGE - 4}" height="{low - high}"/>'
        f'{inside}{corners}<text x="{SIZE / 2}" y="{SIZE - 6}" text-anchor="middle">{name}</text></svg>'
    )


def _place(x: float, y: float, across: _Range, up: _Range) -> tuple[float, float]:
    width, height = SIZE - _EDGE - 4, SIZE - 1.5 * _EDGE
    right = (x - across[0]) / (across[1] - across[0] or 1.0)
    above = (y - up[0]) / (up[1] - up[0] or 1.0)
    return _EDGE + width * right, SIZE - _EDGE - height * min(max(above, 0.0), 1.0)


def _segment(start: _Range, end: _Range, across: _Range, up: _Range, kind: str) -> str:
    (x1, y1), (x2, y2) = _place(*start, across, up), _place(*end, across, up)
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _dot(x: float, y: float, across: _Range, up: _Range) -> str:
    at_x, at_y = _place(x, y, across, up)
    return f'<circle class="slide" cx="{at_x:.1f}" cy="{at_y:.1f}" r="3.5"/>'
