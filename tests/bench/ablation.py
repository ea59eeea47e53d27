"""What each ingredient of P-net's training is worth: networks that lack one of them, all of one length.

    tests/bench/ablation.py --data build/crops.npz --elsewhere build/elsewhere.npz ... [--epochs 12] [--seeds 1 2]
        [--variants all "no munich" ...] [--third]

Shown are, at home (cells held out), the area under the ROC curve and the fNRBC that are found at 3 false of a thousand
leukocytes; and elsewhere, how many of a thousand leukocytes pass at the threshold that finds 98 % of the fNRBC at home,
after the area where there are fNRBC. A laboratory that was left out is measured whole: of the trainings by its cells,
of the styles by those that `--elsewhere` brings. A cell is looked at in two of its symmetries; `all, second look` is
the network of `all`, looked at once, and in all eight where it may be an fNRBC.

With `--third` a network learns from every third group of the training part and is judged at home by the other two, so
that recipes can be chosen and nothing of what is held out be looked at. Networks of few epochs rank ingredients; their
figures are not those of the bundle. What is trained stays in `out/bench/ablation`, and is not trained again.
"""

import argparse
import dataclasses
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np

from fnrbc_device.inference.second_look import turned
from fnrbc_device.learning.calibration import auc
from fnrbc_training import augmentation, checkpoint, dataset, metrics, pnet, train
from fnrbc_training.dataset import DENOMINATOR, TARGET
from fnrbc_training.finishing import looked_at, predict
from fnrbc_training.recipe import Recipe
from fnrbc_training.styles import load as load_styles
from fnrbc_training.variation import BEYOND, varied

FOUND, FALSE = 0.98, 0.003
LOOKS = (0, 5)
OUT = Path("out/bench/ablation")
SEED = 7
"""Of what `--third` leaves out."""

LEFT_OUT = {
    "no munich": {"munich"},
    "no smears": {"bccd", "bccd-640", "raabin"},
    "no munich and no styles": {"munich"},
}
AUGMENTATIONS = {
    "no styles": "wide",
    "no munich and no styles": "wide",
    "narrow": "appearance",
    "symmetries": "symmetries",
}
NORMALISATIONS = {"group": "group", "batch": "batch"}
CHANGES = {
    "not turned": [(augmentation, "varied", lambda crop, rng: varied(crop, rng, NOT_TURNED))],
    "fewer styles": [(augmentation, "STYLED", 0.5), (augmentation, "PLAIN_AMONG_LABORATORIES", 0.35)],
    "fewest styles": [(augmentation, "STYLED", 0.5), (augmentation, "PLAIN_AMONG_LABORATORIES", 0.5)],
    "fewer filters": [
        (train, "build", lambda net, classes, normalisation: pnet.build(net, classes, FEWER, normalisation))
    ],
}
NOT_TURNED = dataclasses.replace(BEYOND, turned=False)
FEWER = (16, 48, 96)
VARIANTS = ["all", "all, second look", *LEFT_OUT, *AUGMENTATIONS, *NORMALISATIONS, *CHANGES]


def without(crops, names):
    kept = crops.where(~np.isin(crops.laboratories(), list(names)))
    return dataclasses.replace(kept, sources=tuple(source for source in crops.sources if source.name not in names))


def third(crops):
    """Every third group of the training part stays in it, with every third painted cell; the others are held out."""
    groups = np.unique(crops.groups[crops.parts != "heldout"])
    chosen = groups[np.random.default_rng(SEED).permutation(len(groups))[::3]]
    training = crops.parts == "training"
    kept = np.isin(crops.groups, chosen) & ~crops.simulated
    kept[np.flatnonzero(crops.simulated & training)[::3]] = True
    parts = np.where(training & ~kept & ~crops.simulated, "heldout", crops.parts)
    known = dataclasses.replace(crops, parts=parts)
    return known.where((crops.parts != "heldout") & ~(crops.simulated & training & ~kept))


def trained(variant, crops, epochs, seed, where):
    labs = tuple(lab for lab in load_styles() if lab.name not in LEFT_OUT.get(variant, ()))
    recipe = Recipe(
        "pnet", epochs, AUGMENTATIONS.get(variant, "styles"), seed, NORMALISATIONS.get(variant, "none")
    )  # fmt: skip
    path = where / f"{variant.partition(',')[0].replace(' ', '-')}-{epochs}-{seed}.pt"
    if not path.exists():
        given = without(crops, LEFT_OUT.get(variant, ()))
        with ExitStack() as changed:
            for module, name, value in CHANGES.get(variant, ()):
                changed.enter_context(patch.object(module, name, value))
            train.fit(given, recipe, path, lambda *_: None, laboratories=labs)
    return checkpoint.load(path)


def told(variant, found, crops, elsewhere):
    temperature, network = float(found.about["temperature"]), found.network().network

    def wanted(some):
        if variant == "all, second look":
            return looked_at(network, some.crops, temperature)[:, TARGET]
        logits = np.mean([predict(network, turned(some.crops, look)) for look in LOOKS], axis=0)
        return metrics.softmax(logits, temperature)[:, TARGET]

    unseen = crops.where(~crops.simulated & ~np.isin(crops.digests, found.seen))
    held, labs = wanted(unseen), unseen.laboratories()
    positive, white = unseen.labels == TARGET, unseen.labels == DENOMINATOR
    home = labs == labs[np.flatnonzero(positive)[0]]
    mine = home & (positive | white)
    strict = np.sort(held[home & white])[::-1][int(FALSE * (home & white).sum())]
    limit = np.sort(held[home & positive])[int((1 - FOUND) * (home & positive).sum())]
    row = [f"{auc(held[mine], positive[mine]):.4f}", f"{100 * (held[home & positive] > strict).mean():.1f} %"]
    others = sorted(set(labs) - set(labs[home]))
    row.append("; ".join(_false(held[(labs == name) & white], limit, name) for name in others))
    for one in elsewhere:
        there = one.where(one.labels != 2)
        score, right = wanted(there), there.labels == TARGET
        area = f"{auc(score, right):.3f}, " if right.any() else ""
        row.append(area + _false(score[~right], limit))
    return row


def _false(score, limit, name=""):
    return f"{name} {1000 * (score >= limit).mean():.0f} of {len(score)}".strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--elsewhere", type=Path, nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--variants", nargs="*", default=VARIANTS)
    parser.add_argument("--third", action="store_true")
    asked = parser.parse_args()
    crops, elsewhere = dataset.load(asked.data), [dataset.load(path) for path in asked.elsewhere]
    crops, where = (third(crops), OUT / "third") if asked.third else (crops, OUT)
    names = " | ".join(path.stem for path in asked.elsewhere)
    print(f"{asked.epochs} epochs; false of a thousand elsewhere, at the threshold that finds {FOUND:.0%} at home")
    print(f"| training | seed | home: area | found at {1000 * FALSE:.0f} false | other laboratories: false | {names} |")
    print("|---" * (5 + len(elsewhere)) + "|")
    for seed in asked.seeds:
        for variant in asked.variants:
            row = told(variant, trained(variant, crops, asked.epochs, seed, where), crops, elsewhere)
            print(f"| {variant} | {seed} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
