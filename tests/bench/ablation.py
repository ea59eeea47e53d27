"""What each ingredient of P-net's training is worth: networks that lack one of them, all of one length.

    tests/bench/ablation.py --data build/crops.npz --elsewhere build/elsewhere.npz [--epochs 12] [--seeds 1 2]
        [--variants all "no munich" ...]

Every network is asked once about each cell. Shown are the area under the ROC curve at home (held out) and elsewhere,
and how many of a thousand leukocytes of the other laboratories pass at the threshold that finds 98 % of the fNRBC at
home.
A laboratory that was left out is measured whole. Networks of few epochs rank ingredients; their figures are not those
of the bundle. What is trained stays in `out/bench/ablation`, and is not trained again.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from fnrbc_device.learning.calibration import auc
from fnrbc_training import checkpoint, dataset, metrics
from fnrbc_training.dataset import DENOMINATOR, TARGET
from fnrbc_training.finishing import predict
from fnrbc_training.recipe import Recipe
from fnrbc_training.styles import load as load_styles
from fnrbc_training.train import fit

FOUND = 0.98
OUT = Path("out/bench/ablation")

AUGMENTATIONS = {"no styles": "wide", "narrow": "appearance", "symmetries": "symmetries"}
NORMALISATIONS = {"group": "group", "batch": "batch"}


def without(crops, name):
    kept = crops.where(crops.laboratories() != name)
    return dataclasses.replace(kept, sources=tuple(source for source in crops.sources if source.name != name))


def trained(variant, crops, epochs, seed):
    """A network, and the laboratory that it did not see."""
    left_out = variant.removeprefix("no ") if variant.startswith("no ") else ""
    given = without(crops, left_out) if left_out in {source.name for source in crops.sources} else crops
    labs = tuple(lab for lab in load_styles() if lab.name != left_out)
    recipe = Recipe(
        "pnet", epochs, AUGMENTATIONS.get(variant, "styles"), seed, NORMALISATIONS.get(variant, "none")
    )  # fmt: skip
    path = OUT / f"{variant.replace(' ', '-')}-{epochs}-{seed}.pt"
    if not path.exists():
        fit(given, recipe, path, lambda *_: None, laboratories=labs)
    return checkpoint.load(path)


def told(found, crops, elsewhere):
    temperature, network = float(found.about["temperature"]), found.network().network

    def wanted(some):
        return metrics.softmax(predict(network, some.crops), temperature)[:, TARGET]

    unseen = crops.where(~crops.simulated & ~np.isin(crops.digests, found.seen))
    held, labs = wanted(unseen), unseen.laboratories()
    home = labs == labs[np.flatnonzero(unseen.labels == TARGET)[0]]
    positive = unseen.labels == TARGET
    limit = np.sort(held[home & positive])[int((1 - FOUND) * (home & positive).sum())]
    row = [f"{auc(held[home], positive[home]):.4f}"]
    for name in sorted(set(labs) - set(labs[home])):
        here = (labs == name) & (unseen.labels == DENOMINATOR)
        row.append(f"{name} {1000 * (held[here] >= limit).mean():.0f} of {here.sum()}")
    for one in elsewhere:
        there = one.where(one.labels != 2)
        score, right = wanted(there), there.labels == TARGET
        false = f"{1000 * (score[~right] >= limit).mean():.0f}"
        row.append(f"{auc(score, right):.3f}, {false}" if right.any() else false)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--elsewhere", type=Path, nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--variants", nargs="*", default=["all", "no munich", "no styles", "narrow", "group"])
    asked = parser.parse_args()
    crops, elsewhere = dataset.load(asked.data), [dataset.load(path) for path in asked.elsewhere]
    names = " | ".join(f"{path.stem}: area, false" for path in asked.elsewhere)
    print(f"{asked.epochs} epochs; false of a thousand, at the threshold that finds {FOUND:.0%} at home")
    print(f"| training | seed | home: area | other laboratories: false | {names} |")
    print("|---" * (4 + len(elsewhere)) + "|")
    for seed in asked.seeds:
        for variant in asked.variants:
            row = told(trained(variant, crops, asked.epochs, seed), crops, elsewhere)
            print(f"| {variant} | {seed} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
