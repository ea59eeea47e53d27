"""What comes after the last epoch: calibration and limits on the tuning part, figures on the held-out one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fnrbc_device.inference.second_look import SYMMETRIES, look_twice, turned
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, PREPROCESSING_ID
from fnrbc_training import metrics
from fnrbc_training.baseline import background_auc
from fnrbc_training.bylaboratory import by_laboratory
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.dataset import CLASSES, ROLES, TARGET, CropSet
from fnrbc_training.metrics import Performance
from fnrbc_training.operating import THRESHOLD
from fnrbc_training.pnet import parameters
from fnrbc_training.recipe import Recipe
from fnrbc_training.report import Card, model_card
from fnrbc_training.styling import Styling

SIMULATED_PROOF: Final = 128
"""Simulated tuning crops that the export is proved with, beside all held-out ones."""

CALIBRATION: Final = 512
"""Real tuning crops that set the ranges of an int8 export. Ranges from 1,024 crops gave probabilities as far off as
those from 256 (0.063 and 0.060 at most)."""

SECOND_LOOK_FROM: Final = 0.02
"""Of the fNRBC's probability. On 510 held-out leukocytes false positives fell from 9.8 to 3.9 of a thousand at a
sensitivity of 98 %. Other limits were not measured."""

REPLAYED: Final = 500
"""Cells of each class that a bundle brings for a site's calibration, as 320 numbers each: 0.6 MB in all."""

AT_ONCE: Final = 256
"""Crops that a network is shown in one batch: 60 MB of its widest features."""


def predict(network: nn.Module, crops: Image) -> NDArray[np.float32]:
    """(N, columns) what a network gives for (N, 120, 120, 3) crops, in batches."""
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        parts = [network(torch.from_numpy(crops[i : i + AT_ONCE]).to(device)) for i in range(0, len(crops), AT_ONCE)]
    return torch.cat(parts).cpu().numpy()


def looked_at(network: nn.Module, crops: Image, temperature: float) -> NDArray[np.float64]:
    """(N, classes) calibrated probabilities, as a device counts them: what may be an fNRBC is looked at twice."""

    def classify(some: Image) -> NDArray[np.float32]:
        return metrics.softmax(predict(network, some), temperature).astype(np.float32)

    return look_twice(classify, crops, TARGET, SECOND_LOOK_FROM).astype(np.float64)


def network_text(recipe: Recipe) -> str:
    """Name a training as the manifest does."""
    return f"{recipe.net}, {recipe.epochs} epochs, {recipe.augmentation}, seed {recipe.seed}"


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What the tuning part settles."""

    temperature: float
    threshold: float
    band: tuple[float, float]


def finished(
    network: nn.Module,
    crops: CropSet,
    recipe: Recipe,
    styling: Styling | None = None,
    elsewhere: Sequence[CropSet] = (),
) -> tuple[Checkpoint, Performance]:
    """Calibrate a trained network, measure it, and gather all that its bundle will say of it.

    Parameters
    ----------
    network
        Trained, not calibrated.
    crops
        What it was trained on, with what was held out.
    recipe
        Of the training.
    styling
        Lays the styles of other laboratories on every second cell that a site's calibration replays.
    elsewhere
        Sets of other laboratories, nothing of which was trained on: measured, and told in the card.
    """
    tuning, heldout = crops.part("tuning"), crops.part("heldout")
    # Painted cells are told apart too easily to say how sure the network may be of real ones.
    tuning_real = tuning.where(~tuning.simulated)
    settled = _settled(network, tuning_real)
    probabilities = looked_at(network, heldout.crops, settled.temperature)
    performance = metrics.measure(probabilities, heldout.labels, heldout.originals, CLASSES, TARGET, settled.band)
    about = _about(crops, recipe, settled, performance)
    about["metrics"]["counts"] = metrics.class_counts(
        probabilities, heldout.labels, heldout.originals, heldout.laboratories(), ROLES, TARGET, settled.band
    )
    laboratories = [
        laboratory
        for measured in (dataclasses.replace(heldout, sources=crops.sources), *elsewhere)
        for laboratory in by_laboratory(
            measured,
            looked_at(network, measured.crops, settled.temperature),
            settled.band,
            crops.seen(),
        )
    ]
    said = Card(
        about, performance, tuple(laboratories), crops.sources,
        tuple(source for measured in elsewhere for source in measured.sources),
        background_auc(crops), parameters(network),
    )  # fmt: skip
    painted = tuning.where(np.flatnonzero(tuning.simulated)[:SIMULATED_PROOF])
    replayed = _replayed(crops.part("training"), styling, recipe.seed)
    finished = Checkpoint(
        net=recipe.net,
        state=network.state_dict(),
        about=about,
        card=model_card(said),
        proof_crops=np.concatenate([heldout.crops, painted.crops]),
        proof_labels=np.concatenate([heldout.labels, painted.labels]),
        proof_heldout=np.arange(len(heldout) + len(painted)) < len(heldout),
        calibration_crops=tuning_real.crops[:: -(-len(tuning_real) // CALIBRATION)],
        replay_crops=replayed.crops,
        replay_labels=replayed.labels,
        proof_names=np.concatenate([_full_names(heldout), _full_names(painted)]),
        seen=crops.seen(),
    )
    return finished, performance


def _full_names(crops: CropSet) -> NDArray[np.str_]:
    """(N,) laboratory/class."""
    names = zip(crops.laboratories(), crops.originals, strict=True)
    return np.array([f"{laboratory}/{original}" for laboratory, original in names], dtype=np.str_)


def _replayed(training: CropSet, styling: Styling | None, seed: int) -> CropSet:
    """Cells that a calibration shows beside its own: of every class as many, every second in another style."""
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(training.labels == column) for column in range(len(CLASSES))]
    rows = np.sort(np.concatenate([rng.permutation(kind)[:REPLAYED] for kind in kinds]))
    chosen = training.where(rows)
    if styling is None:
        return chosen
    styled = [
        styling.lay(crop, int(row), rng) if index % 2 else crop
        for index, (row, crop) in enumerate(zip(rows, chosen.crops, strict=True))
    ]
    return dataclasses.replace(chosen, crops=np.stack(styled))


def _settled(network: nn.Module, tuning: CropSet) -> Settled:
    # As cells near the threshold are looked at: in all symmetries.
    logits = np.mean([predict(network, turned(tuning.crops, which)) for which in range(SYMMETRIES)], axis=0)
    temperature = metrics.choose_temperature(logits, tuning.labels)
    wanted = looked_at(network, tuning.crops, temperature)[:, TARGET]
    return Settled(temperature, THRESHOLD, metrics.choose_band(wanted, THRESHOLD))


def _about(
    crops: CropSet,
    recipe: Recipe,
    settled: Settled,
    performance: Performance,
) -> dict[str, Any]:
    """Gather the manifest's fields that the training settles."""
    heldout = crops.part("heldout")
    real = sorted({str(name).split("/")[0] for name in heldout.groups})
    learned = crops.where(crops.parts != "heldout")
    return {
        "preprocessing_id": PREPROCESSING_ID,
        "crop_px": CROP_PX,
        "pixel_size_um": CROP_PIXEL_SIZE_UM,
        "classes": [{"name": n, "role": r} for n, r in zip(CLASSES, ROLES, strict=True)],
        "threshold": settled.threshold,
        "indeterminate": list(settled.band),
        "temperature": settled.temperature,
        "second_look_from": SECOND_LOOK_FROM,
        "network": network_text(recipe),
        "metrics": {
            **performance.figures(),
            "measured_on": f"{len(heldout)} crops of {', '.join(real)}: whole groups (of class folders the contiguous "
            "file-number blocks 4, 9, 14 and 19 of 20 of each class), neither trained nor tuned on",
        },
        "training_data": {
            "sha256": crops.sha256(),
            "crops": len(learned),
            "sources": [f"{s.name}: {s.source} ({s.stain})" for s in crops.sources],
            "licences": "Name the sources where a model trained on them ships: "
            + "; ".join(sorted({s.source for s in crops.sources})),
        },
    }
