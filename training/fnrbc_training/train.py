"""Trains P-net on the processor: one seed one result, and a killed run goes on where it was."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, PREPROCESSING_ID
from fnrbc_training import checkpoint, metrics
from fnrbc_training.augmentation import Augmentation, augment
from fnrbc_training.baseline import background_auc
from fnrbc_training.checkpoint import Checkpoint
from fnrbc_training.dataset import CLASSES, ROLES, TARGET, CropSet, require_learnable
from fnrbc_training.metrics import Performance
from fnrbc_training.pnet import NetName, build, parameters
from fnrbc_training.report import model_card

BATCH: Final = 32
"""With 64, tuning and held-out crops alike were told apart a little worse after as many epochs."""
LEARNING_RATE: Final = 1e-3
"""At its peak, after the warm-up; falls to zero along a cosine."""
WARM_UP: Final = 0.1
"""Share of the steps in which the learning rate rises."""
WEIGHT_DECAY: Final = 1e-2
LABEL_SMOOTHING: Final = 0.03

AVERAGED: Final = 0.08
"""Share of all steps over which the weights are averaged."""

THREADS: Final = 1
"""Fixed, since sums in another order give other last digits, and after an epoch other weights. A second core
augments; two threads here gained nothing and lost much where another process wanted the cores."""

AUGMENTATION_TIMEOUT_S: Final = 120.0
"""For one batch, which takes 0.1 s: longer, and the machine hangs."""

SIMULATED_PROOF: Final = 128
"""Simulated tuning crops that the export is proved with, beside all held-out ones."""

CALIBRATION: Final = 512
"""Real tuning crops that set the ranges of an int8 export. Ranges from 1,024 crops gave probabilities as far off as
those from 256 (0.063 and 0.060 at most)."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many, of how many."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training depends on beside its data."""

    net: NetName
    epochs: int
    augmentation: Augmentation
    seed: int


@dataclass(slots=True, eq=False)
class _Run:
    """A training under way."""

    network: nn.Module
    averaged: AveragedModel
    """The network's weights, averaged over the last steps: what is kept in the end."""
    optimiser: torch.optim.Optimizer
    epoch: int


def fit(crops: CropSet, recipe: Recipe, out: Path, progress: Progress) -> Performance:
    """Train, calibrate on the tuning part, measure on the held-out part, write the checkpoint.

    Parameters
    ----------
    crops
        As ``fnrbc-train cut`` made them.
    recipe
        What to train, for how long.
    out
        Where the checkpoint goes. Beside it, until it is finished, lies its ``.unfinished``.
    progress
        Told after every epoch.

    Raises
    ------
    UsageError
        The set cannot be split, or the unfinished training beside ``out`` is another one.
    FnrbcError
        The checkpoint cannot be written; the last one is intact.
    """
    require_learnable(crops)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    unfinished = out.with_name(out.name + ".unfinished")
    identity = {**asdict(recipe), "data": crops.sha256()}
    training = crops.part("training")
    run = _resumed(unfinished, identity, recipe, len(training))
    while run.epoch < recipe.epochs:
        loss = _train_epoch(run, training, recipe)
        run.epoch += 1
        _keep(run, identity, unfinished)
        progress(f"training, loss {loss:.4f}", run.epoch, recipe.epochs)
    network = run.averaged.module
    _settle_normalisation(network, training, recipe)
    finished, performance = _finished(network, crops, recipe)
    checkpoint.save(finished, out)
    unfinished.unlink()
    return performance


def predict(network: nn.Module, crops: Image) -> NDArray[np.float32]:
    """(N, columns) what a network gives for (N, 120, 120, 3) crops, in batches."""
    network.eval()
    with torch.no_grad():
        parts = [network(torch.from_numpy(crops[i : i + 256])) for i in range(0, len(crops), 256)]
    return torch.cat(parts).numpy()


def _resumed(unfinished: Path, identity: dict[str, Any], recipe: Recipe, crops: int) -> _Run:
    run = _fresh(recipe, steps=recipe.epochs * max(1, crops // BATCH))
    content = checkpoint.read(unfinished)
    if content is None:
        return run
    if content["identity"] != identity:
        raise UsageError(f"{unfinished} is of another recipe or other data; delete it, or finish it first")
    run.network.load_state_dict(content["state"])
    run.averaged.load_state_dict(content["averaged"])
    run.optimiser.load_state_dict(content["optimiser"])
    run.epoch = content["epoch"]
    return run


def _fresh(recipe: Recipe, steps: int) -> _Run:
    torch.manual_seed(recipe.seed)
    network = build(recipe.net, len(CLASSES))
    decay = 1 - 1 / max(AVERAGED * steps, 1.0)
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch annotates it only in part
    averaged = AveragedModel(network, multi_avg_fn=average)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return _Run(network, averaged, optimiser, 0)


def _keep(run: _Run, identity: dict[str, Any], unfinished: Path) -> None:
    content = {
        "identity": identity,
        "state": run.network.state_dict(),
        "averaged": run.averaged.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "epoch": run.epoch,
    }
    checkpoint.write(content, unfinished)


def _train_epoch(run: _Run, training: CropSet, recipe: Recipe) -> float:
    """Train one epoch; returns the mean loss. Depends on nothing but the run and the epoch's number."""
    torch.manual_seed(recipe.seed * 100_003 + run.epoch)
    run.network.train()
    measure = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    batches = list(_batches(len(training), recipe.seed, run.epoch))
    total = 0.0
    shown_ahead = _one_ahead(
        lambda rows: augment(training.crops[rows], rows, recipe.augmentation, run.epoch, recipe.seed), batches
    )
    for step, (rows, shown) in enumerate(shown_ahead):
        _set_rate(run.optimiser, (run.epoch + step / len(batches)) / recipe.epochs)
        loss: Tensor = measure(run.network(torch.from_numpy(shown)), torch.from_numpy(training.labels[rows]))
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
        run.optimiser.step()
        run.averaged.update_parameters(run.network)
        total += float(loss.detach())
    return total / len(batches)


def _settle_normalisation(network: nn.Module, training: CropSet, recipe: Recipe) -> None:
    """Take the normalisation's statistics over one whole epoch; the running ones lag behind the weights."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
    network.train()
    with torch.no_grad():
        for rows in _batches(len(training), recipe.seed, recipe.epochs):
            shown = augment(training.crops[rows], rows, recipe.augmentation, recipe.epochs, recipe.seed)
            network(torch.from_numpy(shown))


def _batches(count: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    order = np.random.default_rng((seed, epoch)).permutation(count)
    # A last batch of a single crop would have no variance to normalise by.
    yield from np.array_split(order, max(1, count // BATCH))


def _one_ahead(
    make: Callable[[NDArray[np.int64]], Image], batches: list[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], Image]]:
    """Augment the next batch while this one trains: it takes a third of the time on one core."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(make, batches[0])
        for rows, following in zip(batches, [*batches[1:], None], strict=True):
            shown = pending.result(timeout=AUGMENTATION_TIMEOUT_S)
            if following is not None:
                pending = pool.submit(make, following)
            yield rows, shown


def _set_rate(optimiser: torch.optim.Optimizer, done: float) -> None:
    """Set the learning rate for a share of the training that is done, 0..1."""
    falling = 0.5 * (1 + np.cos(np.pi * max(0.0, (done - WARM_UP) / (1 - WARM_UP))))
    for group in optimiser.param_groups:
        group["lr"] = LEARNING_RATE * min(done / WARM_UP + 0.01, float(falling))


def _finished(network: nn.Module, crops: CropSet, recipe: Recipe) -> tuple[Checkpoint, Performance]:
    tuning, heldout = crops.part("tuning"), crops.part("heldout")
    # Painted cells are told apart too easily to say how sure the network may be of real ones.
    tuning_real = tuning.where(~tuning.simulated)
    logits = predict(network, tuning_real.crops)
    temperature = metrics.choose_temperature(logits, tuning_real.labels)
    wanted = metrics.softmax(logits, temperature)[:, TARGET]
    threshold = metrics.choose_threshold(wanted, tuning_real.labels == TARGET)
    band = metrics.choose_band(wanted, threshold)
    probabilities = metrics.softmax(predict(network, heldout.crops), temperature)
    performance = metrics.measure(probabilities, heldout.labels, heldout.originals, CLASSES, TARGET, band)
    about = _about(crops, recipe, temperature, threshold, band, performance)
    card = model_card(about, performance, crops.sources, background_auc(crops), parameters(network))
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
        "network": f"{recipe.net}, {recipe.epochs} epochs, {recipe.augmentation}, seed {recipe.seed}",
        "metrics": {
            **performance.figures(),
            "measured_on": f"{len(heldout)} crops of {', '.join(real)}: the contiguous file-number blocks "
            "4, 9, 14 and 19 of 20 of each class, neither trained nor tuned on",
        },
        "training_data": {
            "sha256": crops.sha256(),
            "crops": len(learned),
            "sources": [f"{s.name}: {s.source} ({s.stain})" for s in crops.sources],
            "licences": "Name the sources where a model trained on them ships: "
            + "; ".join(sorted({s.source for s in crops.sources})),
        },
    }
