"""Keeps together what belongs together, and refuses a split that leaks.

A group (a donor, a slide, a block of file numbers) is on one side only; so are near duplicates, whatever their
groups say.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import UsageError
from fnrbc_training.dataset import CLASSES, CropSet, Part
from fnrbc_training.likeness import near_pairs

SHARES: Final[dict[Part, float]] = {"training": 0.7, "tuning": 0.1, "heldout": 0.2}
"""Of each class: those of the blocks of file numbers."""

TIE: Final = 0.001
"""Weight of the classes that a group does not have, when parts are chosen."""

NAMED: Final = 5
"""Pairs that a refusal names; the rest it counts."""


def balanced_parts(groups: Sequence[str], labels: Sequence[int]) -> dict[str, Part]:
    """Give each group a part, so that every class comes as close to ``SHARES`` as whole groups allow.

    The largest groups first, each to the part that has the smallest share of what it should have; equal groups in
    the order of their names, so that the same groups give the same parts.
    """
    names, index = np.unique(np.array(groups), return_inverse=True)
    counts = np.zeros((len(names), len(CLASSES)))
    np.add.at(counts, (index, np.array(labels)), 1)
    wanted = np.array(list(SHARES.values()))[:, None] * np.maximum(counts.sum(axis=0), 1)
    given = np.zeros_like(wanted)
    parts: dict[str, Part] = {}
    for i in sorted(range(len(names)), key=lambda i: (-counts[i].sum(), i)):
        # Of its own classes first; where no part has more of them, of all.
        filled = (given / wanted) @ (counts[i] / counts[i].sum() + TIE)
        chosen = int(np.argmin(filled))
        given[chosen] += counts[i]
        parts[str(names[i])] = tuple(SHARES)[chosen]
    return parts


def keep_together(crops: CropSet, stated: NDArray[np.bool_]) -> CropSet:
    """Give near duplicates the group and part of the first of them.

    Parameters
    ----------
    crops
        With parts as their groups have them.
    stated
        (N,) rows whose part the data itself says: they are not moved.
    """
    pairs = _pairs(crops)
    groups, parts = crops.groups.copy(), crops.parts.copy()
    for first, second in pairs[~stated[pairs].any(axis=1)]:
        # Pairs are sorted, so the first of three that look alike has its final place when the second is moved.
        groups[second], parts[second] = groups[first], parts[first]
    return dataclasses.replace(crops, groups=groups, parts=parts)


def contradictions(crops: CropSet) -> str:
    """Name the near duplicates that have two labels; empty where there are none.

    A matter for a person: the same pixels under two labels are refused when they are cut, but two pictures that
    only look alike may well be two cells.
    """
    pairs = _pairs(crops)
    torn = pairs[crops.labels[pairs[:, 0]] != crops.labels[pairs[:, 1]]]
    named = [
        f"{crops.names[a]} ({CLASSES[crops.labels[a]]}) and {crops.names[b]} ({CLASSES[crops.labels[b]]})"
        for a, b in torn
    ]
    return _listed(named, "pair") if named else ""


def require_no_leak(crops: CropSet) -> None:
    """Refuse a split with one group, one picture or near duplicates on two sides.

    Raises
    ------
    UsageError
        With the groups or the pairs named.
    """
    split = [g for g in np.unique(crops.groups) if len(np.unique(crops.parts[crops.groups == g])) > 1]
    if split:
        raise UsageError(f"the split leaks: {_listed(split, 'group')} on two sides; give each one part")
    pairs = _pairs(crops)
    leaking = pairs[crops.parts[pairs[:, 0]] != crops.parts[pairs[:, 1]]]
    if len(leaking):
        named = [f"{crops.names[a]} ({crops.parts[a]}) and {crops.names[b]} ({crops.parts[b]})" for a, b in leaking]
        raise UsageError(f"the split leaks: {_listed(named, 'look-alike pair')} on two sides; put each pair on one")


def _pairs(crops: CropSet) -> NDArray[np.int64]:
    """Near duplicates, real or painted; across the two there are none, and painted cells are never held out."""
    pairs = near_pairs(crops.looks)
    same = crops.simulated[pairs[:, 0]] == crops.simulated[pairs[:, 1]]
    return np.asarray(pairs[same])


def _listed(names: Sequence[str], what: str) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({'; '.join(names[:NAMED])}{more})"
