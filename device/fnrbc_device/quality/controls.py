"""How the controls stand: the chart of each control slide, and whether a session may rest on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import mean, stdev
from typing import Final, Literal

from fnrbc_device.quality.westgard import RULES, ControlPoint, Rule, broken_rules, rejects, z_score

LEAST_BASELINE: Final = 20
"""Results of a control that its mean and SD are taken from where no value is assigned to it (CLSI C24)."""

ControlState = Literal[
    "not_asked", "passed", "warning", "unassessed", "none", "too_old", "other_bundle", "failed"
]
"""A closed list, from the best to the worst."""

_BEST_FIRST: Final[tuple[ControlState, ...]] = (
    "not_asked", "passed", "warning", "unassessed", "none", "too_old", "other_bundle", "failed",
)  # fmt: skip

_GOOD: Final[tuple[ControlState, ...]] = ("not_asked", "passed", "warning")


@dataclass(frozen=True, slots=True)
class Target:
    """What a control reads when all is well."""

    mean: float
    """FNRBC per 100 leukocytes."""
    sd: float
    """Of one result; 0 for a recorded control, which must come out the same each time."""
    origin: Literal["assigned", "baseline"]
    """By the laboratory, or from the control's own first results."""


@dataclass(frozen=True, slots=True)
class ControlRules:
    """What a laboratory wants of its controls."""

    asked: bool = False
    """Whether a session must rest on a control that passed."""
    max_age_h: float = 24.0
    assigned: Mapping[str, Target] = field(default_factory=dict)
    """By the control's name. With several, each must have passed."""


NOTHING_ASKED: Final = ControlRules()
"""Of a device whose configuration does not ask for controls."""


@dataclass(frozen=True, slots=True)
class ControlResult:
    """One session that counted a control."""

    session: str
    material: str
    """Its name, as it was given for the specimen."""
    bundle: str
    ended: datetime
    """UTC."""
    fnrbc: int
    leukocytes: int

    @property
    def per_100(self) -> float:
        """FNRBC per 100 leukocytes; there must be a leukocyte."""
        return 100 * self.fnrbc / self.leukocytes


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One result on its chart."""

    result: ControlResult
    z: float | None
    """In SD from the mean; None while there is no target."""
    rules: tuple[Rule, ...]
    """Of Westgard's, which it breaks."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A Levey-Jennings chart: one control slide, counted with one bundle."""

    material: str
    target: Target | None
    """None while there are too few results, and no value was assigned."""
    points: tuple[ChartPoint, ...]
    """The oldest first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a session may rest on the controls."""

    state: ControlState
    words: str
    """A sentence, without its full stop."""

    @property
    def needs_reason(self) -> bool:
        """Whether who signs off must say why the count stands for all that."""
        return self.state not in _GOOD


def charts(results: Sequence[ControlResult], rules: ControlRules, bundle: str) -> list[Chart]:
    """Draw up the charts of all controls that were counted with a bundle.

    Parameters
    ----------
    results
        In any order, of any bundle. Those without a leukocyte have no value and are left out.
    rules
        The laboratory's.
    bundle
        Id of the bundle; results of others lie on charts of their own.
    """
    mine = sorted((one for one in results if one.bundle == bundle and one.leukocytes), key=lambda one: one.ended)
    targets = {one.material: _target(one.material, mine, rules) for one in mine}
    judged = [one for one in mine if targets[one.material] is not None]
    points = [_point(one, targets[one.material]) for one in judged]
    broken = {one.session: found for one, found in zip(judged, broken_rules(points), strict=True)}
    scores = {one.session: point.z for one, point in zip(judged, points, strict=True)}
    return [
        Chart(
            material,
            targets[material],
            tuple(
                ChartPoint(one, scores.get(one.session), broken.get(one.session, ()))
                for one in mine
                if one.material == material
            ),
        )
        for material in sorted(targets)
    ]


def standing(results: Sequence[ControlResult], rules: ControlRules, bundle: str, at: datetime) -> Standing:
    """Tell how the controls stood at a moment.

    Parameters
    ----------
    results
        Of all controls. Those that ended later are not looked at.
    rules
        The laboratory's.
    bundle
        Id of the bundle that the session counts with.
    at
        UTC: when the session started.

    Returns
    -------
    Standing
        The worst of all controls that have an assigned value; where none has, of the one that was counted last.
    """
    if not rules.asked:
        return Standing("not_asked", "no control is asked for")
    known = [one for one in results if one.ended <= at]
    if not known and not rules.assigned:
        return Standing("none", "no control was counted before")
    materials = list(rules.assigned) or [max(known, key=lambda one: one.ended).material]
    found = [_standing(material, known, rules, bundle, at) for material in materials]
    return max(found, key=lambda one: _BEST_FIRST.index(one.state))


def _standing(
    material: str, known: Sequence[ControlResult], rules: ControlRules, bundle: str, at: datetime
) -> Standing:
    """How one control stood."""
    name = f"control {material}" if material else "the control"
    mine = [one for one in known if one.material == material]
    if not mine:
        return Standing("none", f"{name} was not counted before")
    newest = max(mine, key=lambda one: one.ended)
    if newest.bundle != bundle:
        return Standing("other_bundle", f"{name} was last counted with another bundle, {newest.bundle[:16]}")
    age = at - newest.ended
    if age > timedelta(hours=rules.max_age_h):
        hours = age.total_seconds() / 3600
        return Standing("too_old", f"{name} was last counted {hours:.0f} h before, the limit is {rules.max_age_h:g} h")
    if not newest.leukocytes:
        return Standing("failed", f"{name} failed: no leukocyte was counted")
    chart = next(one for one in charts(known, rules, bundle) if one.material == material)
    return _judged(name, chart)


def _judged(name: str, chart: Chart) -> Standing:
    newest = chart.points[-1]
    value = f"{newest.result.per_100:.2f} per 100"
    if chart.target is None:
        return Standing(
            "unassessed",
            f"{name} has no assigned value, and {len(chart.points)} of the {LEAST_BASELINE} results that make one",
        )
    wanted = f"{chart.target.mean:.2f} +- {chart.target.sd:.2f} wanted"
    broken = "; ".join(f"{rule} ({RULES[rule]})" for rule in newest.rules)
    if rejects(newest.rules):
        return Standing("failed", f"{name} failed: {value}, {wanted}, breaks {broken}")
    if newest.rules:
        return Standing("warning", f"{name} passed with a warning: {value}, {wanted}, {broken}")
    return Standing("passed", f"{name} passed: {value}, {wanted}")


def _target(material: str, results: Sequence[ControlResult], rules: ControlRules) -> Target | None:
    if material in rules.assigned:
        return rules.assigned[material]
    first = [one.per_100 for one in results if one.material == material][:LEAST_BASELINE]
    return Target(mean(first), stdev(first), "baseline") if len(first) == LEAST_BASELINE else None


def _point(result: ControlResult, target: Target | None) -> ControlPoint:
    assert target is not None
    return ControlPoint(result.material, f"{result.ended:%Y-%m-%d}", z_score(result.per_100, target.mean, target.sd))
