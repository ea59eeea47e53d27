"""What a site's calibration gains by 20, 50 and 100 reviewed cells: simulated laboratories, and one real one.

    tests/bench/calibrating.py --home build/crops.npz --elsewhere build/elsewhere.npz [--bundle DIR] [--sites 6]

A simulated laboratory is the held-out cells of the first source in a stain drawn at random: another mixing of optical
densities, strength, hue and sharpness, wider than any that the training lays on. Half of the k cells are fNRBC, or as
many as there are. The others of that laboratory judge: sensitivity at the threshold that lets 10 of a thousand of them
through, before and after. Each k is drawn several times; intervals are exact (Clopper-Pearson) over the cells of all
simulated laboratories in one draw each, and take cells as independent. The real laboratory has hardly more than 100
cells: there each tenth of all is judged by a head that learned from the other nine.
"""

import argparse
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from fnrbc_device.errors import UsageError
from fnrbc_device.inference.second_look import SYMMETRIES, turned
from fnrbc_device.intervals import share
from fnrbc_device.learning.calibration import ReviewedCells, auc, calibrate
from fnrbc_device.learning.tuning import SiteCells, site_probabilities, tuned
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.head import features_of
from fnrbc_training import dataset
from fnrbc_training.colours import hue_and_saturation
from fnrbc_training.styles import densities, shown

SIZES = (20, 50, 100)
DRAWS = 3
FALSE = 0.010
WRONG = 0.1
TENTHS = 10
MIXING, STRENGTH, HUE, SATURATION, BLUR = 0.3, (0.5, 1.9), 45.0, (0.3, 1.9), 2.5
AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


def in_a_stain(crops, seed):
    rng = np.random.default_rng((seed, 77))
    mix = np.exp(rng.uniform(*np.log(STRENGTH))) * (np.eye(3) + rng.normal(0, MIXING, (3, 3)))
    hue = hue_and_saturation(rng.uniform(-HUE, HUE), np.exp(rng.uniform(*np.log(SATURATION))))
    sigma = rng.uniform(0, BLUR)
    laid = []
    for crop in crops:
        stained = shown(np.maximum(cv2.transform(densities(crop), mix.astype(np.float32)), 0))
        coloured = np.clip(cv2.transform(stained.astype(np.float32), hue), 0, 255).astype(np.uint8)
        laid.append(cv2.GaussianBlur(coloured, (0, 0), sigma) if sigma > 0.3 else coloured)
    return np.stack(laid)


def seen_by_head(bundle, crops, positive):
    found = [features_of(bundle.model, turned(crops, which)) for which in range(SYMMETRIES)]
    return SiteCells(np.stack(found, axis=1), np.where(positive, bundle.manifest.target, 1))


def found_at(wanted, positive):
    """fNRBC found at the threshold that lets as many others through as may be, of how many."""
    others = np.sort(wanted[~positive])[::-1]
    limit = others[min(int(FALSE * len(others)), len(others) - 1)]
    return int((wanted[positive] > limit).sum()), int(positive.sum())


def drawn(positive, k, seed):
    """k rows, half of them fNRBC or as many as leave as many to judge by."""
    rng = np.random.default_rng((seed, k))
    kinds = [rng.permutation(np.flatnonzero(kind)) for kind in (positive, ~positive)]
    fnrbc = min(k // 2, len(kinds[0]) // 2)
    chosen = np.zeros(len(positive), bool)
    chosen[kinds[0][:fnrbc]] = True
    chosen[kinds[1][: k - fnrbc]] = True
    return chosen


def mislabelled(site, chosen, seed, target):
    """The chosen ones with one label in ten exchanged."""
    rng = np.random.default_rng((seed, 5))
    some = site.where(chosen)
    labels = some.labels.copy()
    for row in rng.choice(len(labels), max(1, round(WRONG * len(labels))), replace=False):
        labels[row] = 1 if labels[row] == target else target
    return SiteCells(some.features, labels)


def told(bundle, sites, k):
    """One line of the table: over all sites, pooled, in each draw; before, after, and after with wrong labels."""
    target = bundle.manifest.target
    counts = np.zeros((3, DRAWS, 2), int)
    areas = np.zeros((3, DRAWS, len(sites)))
    for number, site in enumerate(sites):
        for draw in range(DRAWS):
            chosen = drawn(site.labels == target, k, 100 * number + draw)
            taught = site.where(chosen), mislabelled(site, chosen, draw, target)
            heads = [bundle.head, *(tuned(bundle.head, one, bundle.replay, target, 1) for one in taught)]
            rest = site.where(~chosen)
            for row, head in enumerate(heads):
                wanted = site_probabilities(head, rest)[:, target]
                counts[row, draw] += found_at(wanted, rest.labels == target)
                areas[row, draw, number] = auc(wanted, rest.labels == target)
    return counts, areas


def told_in_turn(bundle, site):
    """The same over all cells of one site, each judged by a head that learned from the other nine tenths."""
    target = bundle.manifest.target
    counts, areas = np.zeros((3, DRAWS, 2), int), np.zeros((3, DRAWS, 1))
    positive = site.labels == target
    for draw in range(DRAWS):
        rng = np.random.default_rng((draw, 9))
        tenth = np.empty(len(positive), int)
        for kind in (positive, ~positive):
            tenth[kind] = rng.permutation(np.arange(kind.sum()) % TENTHS)
        wanted = np.zeros((3, len(positive)))
        for held in range(TENTHS):
            chosen = tenth != held
            taught = site.where(chosen), mislabelled(site, chosen, 10 * draw + held, target)
            heads = [bundle.head, *(tuned(bundle.head, one, bundle.replay, target, 1) for one in taught)]
            wanted[:, ~chosen] = [site_probabilities(head, site.where(~chosen))[:, target] for head in heads]
        for row, one in enumerate(wanted):
            counts[row, draw], areas[row, draw, 0] = found_at(one, positive), auc(one, positive)
    return counts, areas


def line(name, k, counts, areas):
    words = []
    for row in range(3):
        found, of = counts[row].mean(axis=0)
        one = share(round(found), round(of))
        words.append(f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f}), {areas[row].mean():.3f}")
    print(f"| {name} | {k} | {' | '.join(words)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--elsewhere", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--sites", type=int, default=6)
    asked = parser.parse_args()
    bundle = load_bundle(asked.bundle)
    home = dataset.load(asked.home).part("heldout")
    source = home.laboratories()[np.flatnonzero(home.labels == dataset.TARGET)[0]]
    home = home.where((home.laboratories() == source) & (home.labels != 2))
    positive = home.labels == dataset.TARGET
    sites = [seen_by_head(bundle, in_a_stain(home.crops, seed), positive) for seed in range(1, asked.sites + 1)]
    real = dataset.load(asked.elsewhere)
    real = real.where(real.labels != 2)
    there = seen_by_head(bundle, real.crops, real.labels == dataset.TARGET)
    print(f"bundle {bundle.id[:12]}; sensitivity at {1000 * FALSE:.0f} false a thousand and area under the ROC curve")
    print("| laboratory | cells | before | after | after, one label in ten wrong |\n|---|---|---|---|---|")
    for k in SIZES:
        line(f"{len(sites)} simulated, of {source}", k, *told(bundle, sites, k))
    for k in SIZES[:2]:
        line(f"real, of {len(there)} cells", k, *told(bundle, [there], k))
    line("real, each tenth in turn", f"{len(there) * (TENTHS - 1) // TENTHS}", *told_in_turn(bundle, there))
    negatives = np.flatnonzero(~positive)[:50]
    try:
        calibrate(bundle, ReviewedCells(home.crops[negatives], ["denominator"] * len(negatives)), "negatives", AT)
        print("50 leukocytes alone: taken, which is wrong")
    except UsageError as error:
        print(f"50 leukocytes alone: refused ({error})")


if __name__ == "__main__":
    main()
