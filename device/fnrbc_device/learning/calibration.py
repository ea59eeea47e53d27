"""From a laboratory's reviewed cells to a site bundle: tuned, proved, or refused.

Every cell is judged by a head that was not tuned on it; what nothing was trained on at home must stay as it was; and
the golden crops prove that the model file computes what was tuned.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.inference.second_look import SYMMETRIES, turned
from fnrbc_device.intervals import CONFIDENCE, share
from fnrbc_device.learning.site_bundle import counted, site_bundle
from fnrbc_device.learning.tuning import SiteCells, site_probabilities, tuned
from fnrbc_device.model.bundle import MANIFEST, Bundle
from fnrbc_device.model.head import Head, Replay, features_of
from fnrbc_device.model.manifest import UNDECIDED, Manifest, decide
from fnrbc_device.records import Image, Interval, Role

FEWEST: Final = 8
"""Cells of the fNRBC, and of others, that a calibration needs: with five folds one or two of each judge."""

FOLDS: Final = 5
HOME_LOSS: Final = 0.015
"""What may be lost of the sensitivity, and of the specificity, on the parent's held-out cells: 1.5 points."""

LEAST_AREA: Final = 0.75
"""Under the ROC curve, on cells held back, that a site bundle must reach. In a simulated laboratory labels dealt at
random came to .42 to .61; where one in ten was wrong, to .85."""

AREA_NOISE: Final = 0.01
"""By so much the area may fall where the surprise falls beyond its interval. At a simulated site that the bundle ranks
rightly but for its threshold, one label in ten wrong moved it by .003 (.851 to .848): it is judged by them, too."""

RESAMPLES: Final = 1000
SEED: Final = 1

STAGES: Final = SYMMETRIES + FOLDS + 2
"""Of the work: the cells in each symmetry, a head for each fold, the head that is kept, its proof."""

LABELS: Final[dict[str, Role]] = {"fnrbc": "target", "leukocyte": "denominator", "other": "ignored"}


@dataclass(frozen=True, slots=True, eq=False)
class ReviewedCells:
    """What a laboratory's people said of its cells."""

    crops: Image
    """(N, 120, 120, 3) uint8 RGB."""
    roles: Sequence[Role]
    """What each counts as."""

    def sha256(self) -> str:
        """Hash the crops and their labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.crops).tobytes())
        digest.update("\n".join(self.roles).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A site bundle and what was proved of it."""

    files: dict[str, bytes]
    manifest: Manifest
    home_before: tuple[Interval, Interval]
    home_after: tuple[Interval, Interval]
    """Sensitivity and specificity on the parent's held-out cells."""

    def in_words(self) -> str:
        """Say what a person should know, in a few sentences."""
        site = self.manifest.site
        assert site is not None
        (found, kept), (found_now, kept_now) = self.home_before, self.home_after
        return (
            f"site bundle {self.manifest.bundle_id[:16]} of {site.parent[:16]} for {site.name}, "
            f"by {site.cells['target']} fNRBC and {site.cells['denominator'] + site.cells['ignored']} other cells: "
            f"area under the ROC curve {site.auc_before:.3f} -> {site.auc_after:.3f} on cells held back in turn, "
            f"surprise less by {site.gain:.3f} ({site.gain_low:.3f} to {site.gain_high:.3f}); "
            f"at home sensitivity {100 * found.value:.1f} -> {100 * found_now.value:.1f} %, "
            f"specificity {100 * kept.value:.1f} -> {100 * kept_now.value:.1f} %"
        )


def _unheard() -> None:
    """Nobody wants to know."""


def calibrate(
    parent: Bundle, cells: ReviewedCells, name: str, at: datetime, stage: Callable[[], None] = _unheard
) -> Calibration:
    """Make a site bundle.

    Parameters
    ----------
    parent
        What the laboratory counts with now.
    cells
        Reviewed there, of both kinds.
    name
        Of the laboratory.
    at
        When, with its zone.
    stage
        Called after each of the ``STAGES``.

    Raises
    ------
    UsageError
        One kind is absent or too few, it does not help beyond its interval, or too much is lost at home.
    BundleError
        The parent brings nothing to calibrate with, or its file does not compute what was tuned.
    """
    if parent.head is None or parent.replay is None:
        raise BundleError(
            f"the bundle {parent.id[:16]} brings no cells to replay; calibrate one that fnrbc 0.2 exported in fp32"
        )
    _require_both_kinds(cells.roles)
    target = parent.manifest.target
    site = _seen_by_head(parent, cells, stage)
    held_back = _judged_by_others(parent.head, site, parent.replay, target, stage)
    before = site_probabilities(parent.head, site)
    positive = site.labels == target
    gain = _gain(before[:, target], held_back[:, target], positive)
    areas = auc(before[:, target], positive), auc(held_back[:, target], positive)
    if gain.low <= 0 or areas[1] < areas[0] - AREA_NOISE:
        raise UsageError(
            f"tuning does not help here: on cells held back the surprise falls by {gain.value:.3f} "
            f"({gain.low:.3f} to {gain.high:.3f}), the area under the ROC curve goes from {areas[0]:.3f} to "
            f"{areas[1]:.3f}; review more cells, or stay with the bundle"
        )
    if areas[1] < LEAST_AREA:
        raise UsageError(
            f"tuning does not help here: on cells held back the area under the ROC curve is {areas[1]:.3f}, "
            f"{LEAST_AREA:g} is needed; look for wrong labels among the reviewed cells, or stay with the bundle"
        )
    head = tuned(parent.head, site, parent.replay, target, SEED)
    stage()
    home = _home(parent.head, parent), _home(head, parent)
    _require_home_kept(*home)
    named = Counter(cells.roles)
    fields = {
        "name": name, "parent": parent.id,
        "cells": {role: named[role] for role in LABELS.values()}, "cells_sha256": cells.sha256(),
        "auc_before": areas[0], "auc_after": areas[1],
        "gain": gain.value, "gain_low": gain.low, "gain_high": gain.high,
    }  # fmt: skip
    decided = decide(held_back, target, parent.manifest.indeterminate)
    files = site_bundle(parent, head, fields, counted(name, decided, site.labels, parent.manifest), at)
    stage()
    return Calibration(files, Manifest.model_validate_json(files[MANIFEST]), *home)


def auc(wanted: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Share of pairs of an fNRBC and another cell that a probability puts in the right order; ties count half."""
    higher = wanted[positive][:, None] - wanted[~positive][None]
    return float(((higher > 0) + 0.5 * (higher == 0)).mean())


def _require_both_kinds(roles: Sequence[Role]) -> None:
    positive = sum(role == "target" for role in roles)
    others = len(roles) - positive
    if min(positive, others) < FEWEST:
        alone = " One kind alone teaches that a stain is, or is no, fNRBC." if not min(positive, others) else ""
        raise UsageError(
            f"{positive} fNRBC and {others} other cells were reviewed, {FEWEST} of each are needed and 25 of each are "
            f"better.{alone} Review more"
        )


def _seen_by_head(parent: Bundle, cells: ReviewedCells, stage: Callable[[], None]) -> SiteCells:
    found = []
    for which in range(SYMMETRIES):
        found.append(features_of(parent.model, turned(cells.crops, which)))
        stage()
    columns = {entry.role: i for i, entry in reversed(list(enumerate(parent.manifest.classes)))}
    labels = [columns.get(role, columns["denominator"]) for role in cells.roles]
    return SiteCells(np.stack(found, axis=1), np.array(labels, np.int64))


def _judged_by_others(
    head: Head, site: SiteCells, replay: Replay, target: int, stage: Callable[[], None]
) -> NDArray[np.float64]:
    """(N, C) probabilities of every cell, by a head tuned on the other folds."""
    fold = _folds(site.labels == target)
    found = np.empty((len(site), len(head.bias2)))
    for index in range(FOLDS):
        kept = fold == index
        found[kept] = site_probabilities(tuned(head, site.where(~kept), replay, target, SEED), site.where(kept))
        stage()
    return found


def _folds(positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) 0..4, with as many fNRBC in each as can be."""
    rng = np.random.default_rng(SEED)
    fold = np.empty(len(positive), np.int64)
    for kind in (positive, ~positive):
        fold[kind] = rng.permutation(np.arange(kind.sum()) % FOLDS)
    return fold


def _gain(before: NDArray[np.float64], after: NDArray[np.float64], positive: NDArray[np.bool_]) -> Interval:
    """By how much the surprise falls, both kinds weighing as much; over cells drawn again within their kinds."""
    gains = _surprise(before, positive) - _surprise(after, positive)
    kinds = gains[positive], gains[~positive]
    rng = np.random.default_rng(SEED)
    drawn = [sum(kind[rng.integers(len(kind), size=len(kind))].mean() for kind in kinds) / 2 for _ in range(RESAMPLES)]
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(float(sum(kind.mean() for kind in kinds) / 2), float(low), float(high))


def _surprise(wanted: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    likely = np.clip(np.where(positive, wanted, 1 - wanted), 1e-3, 1)
    return np.asarray(-np.log(likely))


def _home(head: Head, parent: Bundle) -> tuple[Interval, Interval]:
    """Sensitivity and specificity on what nothing was trained on at home."""
    assert parent.replay is not None
    target, labels = parent.manifest.target, parent.replay.heldout_labels
    decided = decide(head.probabilities(parent.replay.heldout_features), target, parent.manifest.indeterminate)
    positive = labels == target
    right = ((decided == target) == positive) & (decided != UNDECIDED)
    return (
        share(int(right[positive].sum()), int(positive.sum())),
        share(int(right[~positive].sum()), int((~positive).sum())),
    )


def _require_home_kept(before: tuple[Interval, Interval], after: tuple[Interval, Interval]) -> None:
    for what, old, new in zip(("sensitivity", "specificity"), before, after, strict=True):
        if new.value < old.value - HOME_LOSS:
            raise UsageError(
                f"the tuned network forgets: on the bundle's own held-out cells the {what} falls from "
                f"{100 * old.value:.1f} to {100 * new.value:.1f} %, {100 * HOME_LOSS:g} points are allowed; look for "
                "wrong labels among the reviewed cells, or review more"
            )
