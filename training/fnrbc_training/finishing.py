"""What comes after the last epoch: calibration and limits on the tuning part, figures on the held-out one."""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, PREPROCESSING_ID
from fnrbc_training import metrics
from fnrbc_training.baseline import background_auc
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.dataset import CLASSES, DENOMINATOR, ROLES, TARGET, CropSet
from fnrbc_training.metrics import Performance
from fnrbc_training.pnet import parameters
from fnrbc_training.recipe import Recipe
from fnrbc_training.report import model_card

SIMULATED_PROOF: Final = 128
"""Simulated tuning crops that the export is proved with, beside all held-out ones."""

CALIBRATION: Final = 512
"""Real tuning crops that set the ranges of an int8 export. Ranges from 1,024 crops gave probabilities as far off as
those from 256 (0.063 and 0.060 at most)."""

AT_ONCE: Final = 256
"""Crops that a network is shown in one batch: 60 MB of its widest features."""


def predict(network: nn.Module, crops: Image) -> NDArray[np.float32]:
    """(N, columns) what a network gives for (N, 120, 120, 3) crops, in batches."""
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        parts = [network(torch.from_numpy(crops[i : i + AT_ONCE]).to(device)) for i in range(0, len(crops), AT_ONCE)]
    return torch.cat(parts).cpu().numpy()


def network_text(recipe: Recipe) -> str:
    """Name a training as the manifest does."""
    return f"{recipe.net}, {recipe.epochs} epochs, {recipe.augmentation}, seed {recipe.seed}"


def finished(network: nn.Module, crops: CropSet, recipe: Recipe) -> tuple[Checkpoint, Performance]:
    """Calibrate a trained network, measure it, and gather all that its bundle will say of it."""
    tuning, heldout = crops.part("tuning"), crops.part("heldout")
    # Painted cells are told apart too easily to say how sure the network may be of real ones.
    tuning_real = tuning.where(~tuning.simulated)
    logits = predict(network, tuning_real.crops)
    temperature = metrics.choose_temperature(logits, tuning_real.labels)
    wanted = metrics.softmax(logits, temperature)[:, TARGET]
    kinds = tuning_real.labels == TARGET, tuning_real.labels == DENOMINATOR
    threshold = metrics.choose_threshold(wanted, kinds[0])
    band = metrics.choose_band(wanted, threshold)
    probabilities = metrics.softmax(predict(network, heldout.crops), temperature)
    performance = metrics.measure(probabilities, heldout.labels, heldout.originals, CLASSES, TARGET, band)
    about = _about(crops, recipe, temperature, threshold, band, performance)
    laboratories = np.array([str(name).split("/")[0] for name in heldout.groups])
    about["metrics"]["counts"] = metrics.class_counts(
        probabilities, heldout.labels, heldout.originals, laboratories, ROLES, TARGET, band
    )
    kept = heldout.labels == TARGET, heldout.labels == DENOMINATOR
    false = tuple(
        metrics.false_positives_per_thousand(*of, threshold)
        for of in ((wanted, *kinds), (probabilities[:, TARGET], *kept))
    )
    card = model_card(about, performance, crops.sources, background_auc(crops), parameters(network), false)
    painted = tuning.where(np.flatnonzero(tuning.simulated)[:SIMULATED_PROOF])
    finished = Checkpoint(
        net=recipe.net,
        state=network.state_dict(),
        about=about,
        card=card,
        proof_crops=np.concatenate([heldout.crops, painted.crops]),
        proof_labels=np.concatenate([heldout.labels, painted.labels]),
        proof_heldout=np.arange(len(heldout) + len(painted)) < len(heldout),
        calibration_crops=tuning_real.crops[:: -(-len(tuning_real) // CALIBRATION)],
        seen=np.unique(crops.where(crops.parts != "heldout").digests),
    )
    return finished, performance


def _about(
    crops: CropSet,
    recipe: Recipe,
    temperature: float,
    threshold: float,
    band: tuple[float, float],
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
        "threshold": threshold,
        "indeterminate": list(band),
        "temperature": temperature,
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
