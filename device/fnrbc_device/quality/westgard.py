"""Westgard's rules on a Levey-Jennings chart: when a control says that something has changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

from fnrbc_device.language import N_

Rule = Literal["1_2s", "1_3s", "2_2s", "R_4s", "4_1s", "10_x"]

WARNING: Final[Rule] = "1_2s"
"""Says to look closer; one control in twenty breaks it with nothing wrong. All others reject."""

RULES: Final[dict[Rule, str]] = {
    "1_2s": N_("beyond 2 SD"),
    "1_3s": N_("beyond 3 SD"),
    "2_2s": N_("two beyond 2 SD on the same side"),
    "R_4s": N_("one above +2 SD and one below -2 SD in one run"),
    "4_1s": N_("four in a row beyond 1 SD on the same side"),
    "10_x": N_("ten in a row on the same side of the mean"),
}


@dataclass(frozen=True, slots=True)
class ControlPoint:
    """One result of a control."""

    material: str
    """Which control slide."""
    run: str
    """What was counted under the same conditions, such as one day."""
    z: float
    """How far from the mean, in SD; infinite where there is no spread and it differs."""


def z_score(value: float, mean: float, sd: float) -> float:
    """How far a value lies from the mean, in SD. Where the SD is 0, all that differs is infinitely far."""
    if sd > 0:
        return (value - mean) / sd
    return 0.0 if value == mean else inf if value > mean else -inf


def broken_rules(points: Sequence[ControlPoint]) -> list[tuple[Rule, ...]]:
    """Tell for each result which rules [1]_ it breaks, looking back from it alone.

    Parameters
    ----------
    points
        In the order in which they were counted, of one control or of several.

    Returns
    -------
    list of tuple
        One for each point; empty where it is in control.

    Notes
    -----
    ``4_1s`` and ``10_x`` look at one control material. ``R_4s`` looks within one run only, across materials, since it
    is for random error; ``2_2s`` at one material across runs, or at two materials in one run [2]_. A value on a limit
    has not exceeded it.

    References
    ----------
    .. [1] J. O. Westgard, P. L. Barry, M. R. Hunt and others, "A multi-rule Shewhart chart for quality control in
       clinical chemistry", Clinical Chemistry 27, 1981, 493-501.
    .. [2] CLSI, "Statistical Quality Control for Quantitative Measurement Procedures", C24, 4th ed., 2016.
    """
    return [_broken(points[: number + 1]) for number in range(len(points))]


def rejects(rules: Sequence[Rule]) -> bool:
    """Whether rules that were broken mean more than a warning."""
    return any(rule != WARNING for rule in rules)


def _broken(so_far: Sequence[ControlPoint]) -> tuple[Rule, ...]:
    newest = so_far[-1].z
    material = [one.z for one in so_far if one.material == so_far[-1].material]
    run = [one.z for one in so_far if one.run == so_far[-1].run]
    found: dict[Rule, bool] = {
        "1_2s": abs(newest) > 2,
        "1_3s": abs(newest) > 3,
        "2_2s": _all_beyond(material, 2, 2) or any(_all_beyond([other, newest], 2, 2) for other in run[:-1]),
        "R_4s": abs(newest) > 2 and any(abs(other) > 2 and (other > 0) != (newest > 0) for other in run[:-1]),
        "4_1s": _all_beyond(material, 4, 1),
        "10_x": _all_beyond(material, 10, 0),
    }
    return tuple(rule for rule, broken in found.items() if broken)


def _all_beyond(values: Sequence[float], number: int, limit: float) -> bool:
    """Whether the last so many all lie beyond a limit, on the same side."""
    last = values[-number:]
    return len(last) == number and (min(last) > limit or max(last) < -limit)
