"""How the controls stand: the chart of each control slide, and whether a session may rest on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import mean, stdev
from typing import Final, Literal

from fnrbc_device.language import _, as_decimal, decimal
from fnrbc_device.quality.westgard import RULES, ControlPoint, Rule, broken_rules, rejects, z_score

LEAST_BASELINE: Final = 20
"""Results of a control that its mean and SD are taken from where no value is assigned to it (CLSI C24)."""

ControlState = Literal["not_asked", "passed", "warning", "unassessed", "none", "too_old", "other_bundle", "failed"]
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
        return Standing("not_asked", _("no control is asked for"))
    known = [one for one in results if one.ended <= at]
    if not known and not rules.assigned:
        return Standing("none", _("no control was counted before"))
    materials = list(rules.assigned) or [max(known, key=lambda one: one.ended).material]
    found = [_standing(material, known, rules, bundle, at) for material in materials]
    return max(found, key=lambda one: _BEST_FIRST.index(one.state))


def _standing(
    material: str, known: Sequence[ControlResult], rules: ControlRules, bundle: str, at: datetime
) -> Standing:
    """How one control stood."""
    name = _("control %(name)s", name=material) if material else _("the control")
    mine = [one for one in known if one.material == material]
    if not mine:
        return Standing("none", _("%(name)s was not counted before", name=name))
    newest = max(mine, key=lambda one: one.ended)
    if newest.bundle != bundle:
        words = _("%(name)s was last counted with another bundle, %(bundle)s", name=name, bundle=newest.bundle[:16])
        return Standing("other_bundle", words)
    age = at - newest.ended
    if age > timedelta(hours=rules.max_age_h):
        hours = age.total_seconds() / 3600
        words = _(
            "%(name)s was last counted %(hours)s h before, the limit is %(most)s h",
            name=name,
            hours=f"{hours:.0f}",
            most=as_decimal(f"{rules.max_age_h:g}"),
        )
        return Standing("too_old", words)
    if not newest.leukocytes:
        return Standing("failed", _("%(name)s failed: no leukocyte was counted", name=name))
    chart = next(one for one in charts(known, rules, bundle) if one.material == material)
    return _judged(name, chart)


def _judged(name: str, chart: Chart) -> Standing:
    newest = chart.points[-1]
    value = _("%(value)s per 100", value=decimal(newest.result.per_100, 2))
    if chart.target is None:
        return Standing(
            "unassessed",
            _(
                "%(name)s has no assigned value, and %(there)s of the %(least)s results that make one",
                name=name,
                there=len(chart.points),
                least=LEAST_BASELINE,
            ),
        )
    target = chart.target
    wanted = _("%(mean)s +- %(sd)s wanted", mean=decimal(target.mean, 2), sd=decimal(target.sd, 2))
    broken = "; ".join(f"{rule} ({_(RULES[rule])})" for rule in newest.rules)
    said = {"name": name, "figures": f"{value}, {wanted}", "rules": broken}
    if rejects(newest.rules):
        return Standing("failed", _("%(name)s failed: %(figures)s, breaks %(rules)s", **said))
    if newest.rules:
        return Standing("warning", _("%(name)s passed with a warning: %(figures)s, %(rules)s", **said))
    return Standing("passed", _("%(name)s passed: %(figures)s", **said))


def _target(material: str, results: Sequence[ControlResult], rules: ControlRules) -> Target | None:
    if material in rules.assigned:
        return rules.assigned[material]
    first = [one.per_100 for one in results if one.material == material][:LEAST_BASELINE]
    return Target(mean(first), stdev(first), "baseline") if len(first) == LEAST_BASELINE else None


def _point(result: ControlResult, target: Target | None) -> ControlPoint:
    assert target is not None
    return ControlPoint(result.material, f"{result.ended:%Y-%m-%d}", z_score(result.per_100, target.mean, target.sd))
