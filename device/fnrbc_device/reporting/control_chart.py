"""A control's Levey-Jennings chart as SVG: results in their order, the mean, and 1, 2 and 3 SD on both sides."""

from html import escape
from typing import Final

from fnrbc_device.language import _, decimal
from fnrbc_device.quality.controls import Chart, ChartPoint
from fnrbc_device.quality.westgard import rejects

WIDTH: Final = 720
HEIGHT: Final = 240
SHOWN: Final = 60
"""The newest results: at 10 px each they can be told apart."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 74, 14, 22
_BEYOND: Final = 4.0
"""SD at the chart's edge; what lies beyond is drawn there."""


def chart_svg(chart: Chart) -> str:
    """Draw a chart; empty where there is no target to draw it against. Classes say colours: page and report have each.

    Parameters
    ----------
    chart
        Of one control and one bundle.
    """
    if chart.target is None:
        return ""
    points = chart.points[-SHOWN:]
    lines = "".join(_line(z, chart.target.mean + z * chart.target.sd) for z in (-3, -2, -1, 0, 1, 2, 3))
    places = [(_x(number, len(points)), _y(point.z or 0.0)) for number, point in enumerate(points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(_mark(point, *place) for point, place in zip(points, places, strict=True))
    material = chart.material or _("without a name")
    words = _("Levey-Jennings chart of control %(name)s, %(results)s results", name=material, results=len(points))
    name = escape(words)
    return (
        f'<svg class="levey-jennings" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">'
        f'{lines}<polyline class="run" points="{path}"/>{marks}</svg>'
    )


def _x(number: int, of: int) -> float:
    return _LEFT + (number + 0.5) * (WIDTH - _LEFT - _RIGHT) / of


def _y(z: float) -> float:
    inside = max(-_BEYOND, min(_BEYOND, z))
    return _TOP + (_BEYOND - inside) * (HEIGHT - _TOP - _BOTTOM) / (2 * _BEYOND)


def _line(z: int, value: float) -> str:
    y, right = _y(z), WIDTH - _RIGHT
    name = _("mean") if z == 0 else f"{z:+d} SD"
    return (
        f'<line class="sd{abs(z)}" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{decimal(value, 2)}</text>'
        f'<text x="{right + 6}" y="{y + 4:.1f}">{name}</text>'
    )


def _mark(point: ChartPoint, x: float, y: float) -> str:
    """A dot in control, a triangle for a warning, a cross where a rule rejects: told apart without colours."""
    value = _("%(value)s per 100", value=decimal(point.result.per_100, 2))
    title = f"<title>{escape(point.result.session)}: {escape(value)} {' '.join(point.rules)}</title>"
    if rejects(point.rules):
        d = f"M{x - 6:.1f},{y - 6:.1f}l12,12m0,-12l-12,12"
        return f'<path class="rejected" d="{d}">{title}</path>'
    if point.rules:
        return f'<path class="warned" d="M{x:.1f},{y - 7:.1f}l7,12h-14z">{title}</path>'
    return f'<circle class="held" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'
