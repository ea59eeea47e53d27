"""Trains P-net: one seed one result, and a killed run goes on where it was.

Beside the classes that count, the network learns to name what the data calls each cell (neutrophil, monocyte, ...)
from the same features. What names them is left out of what is kept, so that it costs nothing later.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_training import checkpoint
from fnrbc_training.augmentation import augment
from fnrbc_training.dataset import CLASSES, CropSet, require_apart, require_learnable
from fnrbc_training.events import Curves
from fnrbc_training.finishing import finished, predict
from fnrbc_training.metrics import Performance
from fnrbc_training.parallel import ALONE, Ranks
from fnrbc_training.pnet import PNet, build, fold, standardise
from fnrbc_training.recipe import Recipe
from fnrbc_training.splitting import require_no_leak
from fnrbc_training.styles import Laboratory
from fnrbc_training.styling import Styling

BATCH: Final = 32
"""With 64, tuning and held-out crops alike were told apart a little worse after as many epochs."""
LEARNING_RATE: Final = 2e-3
"""At its peak, after the warm-up; falls to zero along a cosine."""
WARM_UP: Final = 0.1
"""Share of the steps in which the learning rate rises."""
WEIGHT_DECAY: Final = 1e-2
LABEL_SMOOTHING: Final = 0.03

NAMING: Final = 0.5
"""Weight of naming what the data calls a cell, beside telling the classes. Of 821 real cells held back from the
training part the mean surprise after 24 epochs was 0.036 without and 0.032 with it; with 1.0 it was no lower."""

AVERAGED: Final = 0.08
"""Share of all steps over which the weights are averaged."""

THREADS: Final = 1
"""Fixed, since sums in another order give other last digits, and after an epoch other weights. A second core
augments; two threads here gained nothing and lost much where another process wanted the cores."""

AUGMENTATION_TIMEOUT_S: Final = 120.0
"""For one batch, which takes 0.1 s: longer, and the machine hangs."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many, of how many."""


class Taught(nn.Module):
    """A network with what it is taught by beside its classes: the names that the data has for the cells."""

    def __init__(self, network: PNet, names: int) -> None:
        super().__init__()
        self.network = network
        self.naming = nn.Linear(network.hidden_features, names)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and (N, names) of crops (N, 120, 120, 3) uint8 RGB."""
        hidden = self.network.hidden(crops)
        return self.network.decided(hidden), self.naming(hidden)


@dataclass(slots=True, eq=False)
class _Run:
    """A training under way."""

    taught: Taught
    together: nn.Module
    """The same, in step with the other processes."""
    averaged: AveragedModel
    """The same, its weights averaged over the last steps: what is kept in the end."""
    optimiser: torch.optim.Optimizer
    styling: Styling | None
    epoch: int


def fit(
    crops: CropSet,
    recipe: Recipe,
    out: Path,
    progress: Progress,
    curves: Curves | None = None,
    ranks: Ranks = ALONE,
    laboratories: Sequence[Laboratory] = (),
    elsewhere: Sequence[CropSet] = (),
) -> Performance | None:
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
    curves
        Given the figures of every epoch.
    ranks
        The processes that train together. Only the first writes.
    laboratories
        Whose styles are laid on the crops beside those of the data's own sources.
    elsewhere
        Sets of other laboratories to measure on: nothing is learned from them, and the card tells their figures.

    Returns
    -------
    Performance or None
        On the held-out crops; None from all processes but the first.

    Raises
    ------
    UsageError
        The set cannot be split, its split leaks, ``out`` is a folder, or the unfinished training
        beside it is another one.
    FnrbcError
        The checkpoint cannot be written; the last one is intact.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file, such as {out / 'pnet.pt'}")
    require_learnable(crops)
    require_no_leak(crops)
    require_apart(crops, elsewhere)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    unfinished = out.with_name(out.name + ".unfinished")
    training = crops.part("training")
    styling = Styling.of(training, tuple(laboratories)) if recipe.augmentation == "styles" else None
    styles = styling.sha256() if styling else ""
    identity = {**asdict(recipe), "data": crops.sha256(), "styles": styles, "processes": ranks.count}
    run = _resumed(unfinished, identity, _fresh(recipe, training, styling, ranks))
    while run.epoch < recipe.epochs:
        loss = _train_epoch(run, training, recipe, ranks)
        run.epoch += 1
        if ranks.first:
            _keep(run, identity, unfinished)
            _report(run, loss, crops, recipe, progress, curves)
    if not ranks.first:
        return None
    network = cast(Taught, run.averaged.module).network
    _settle_normalisation(network, training, recipe, run.styling, ranks)
    fold(network)
    complete, performance = finished(network.cpu(), crops, recipe, styling, elsewhere)
    checkpoint.save(complete, out)
    unfinished.unlink()
    return performance


def _report(run: _Run, loss: float, crops: CropSet, recipe: Recipe, progress: Progress, curves: Curves | None) -> None:
    if curves is not None:
        tuning = crops.part("tuning")
        right = predict(run.taught.network, tuning.crops).argmax(axis=1) == tuning.labels
        rate = run.optimiser.param_groups[0]["lr"]
        figures = {"loss": loss, "learning_rate": rate, "tuning/right": float(right.mean())}
        curves.add(figures, run.epoch)
    progress(f"training, loss {loss:.4f}", run.epoch, recipe.epochs)


def _resumed(unfinished: Path, identity: dict[str, Any], run: _Run) -> _Run:
    content = checkpoint.read(unfinished)
    if content is None:
        return run
    if content["identity"] != identity:
        raise UsageError(f"{unfinished} is of another recipe or other data; delete it, or finish it first")
    run.taught.load_state_dict(content["state"])
    run.averaged.load_state_dict(content["averaged"])
    run.optimiser.load_state_dict(content["optimiser"])
    run.epoch = content["epoch"]
    return run


def _fresh(recipe: Recipe, training: CropSet, styling: Styling | None, ranks: Ranks) -> _Run:
    torch.manual_seed(recipe.seed)
    network = build(recipe.net, len(CLASSES), normalisation=recipe.normalisation)
    standardise(network)
    taught = Taught(network, len(np.unique(training.originals))).to(ranks.device)
    steps = recipe.epochs * max(1, len(training) // BATCH)
    decay = 1 - 1 / max(AVERAGED * steps, 1.0)
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch annotates it only in part
    averaged = AveragedModel(taught, multi_avg_fn=average)
    optimiser = torch.optim.AdamW(taught.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return _Run(taught, ranks.together(taught), averaged, optimiser, styling, 0)


def _keep(run: _Run, identity: dict[str, Any], unfinished: Path) -> None:
    content = {
        "identity": identity,
        "state": run.taught.state_dict(),
        "averaged": run.averaged.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "epoch": run.epoch,
    }
    checkpoint.write(content, unfinished)


def _train_epoch(run: _Run, training: CropSet, recipe: Recipe, ranks: Ranks) -> float:
    """Train one epoch; returns the mean loss. Depends on nothing but the run and the epoch's number."""
    torch.manual_seed((recipe.seed * 100_003 + run.epoch) * ranks.count + ranks.index)
    run.together.train()
    measure = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    names = np.unique(training.originals, return_inverse=True)[1]
    whole = list(_batches(len(training), recipe.seed, run.epoch))
    batches = [ranks.share(rows) for rows in whole if len(rows) >= ranks.count]
    total = 0.0
    shown_ahead = _one_ahead(
        lambda rows: augment(training.crops[rows], rows, recipe.augmentation, run.epoch, recipe.seed, run.styling),
        batches,
    )
    for step, (rows, shown) in enumerate(shown_ahead):
        _set_rate(run.optimiser, (run.epoch + step / len(batches)) / recipe.epochs)
        crops, labels, named = (
            torch.from_numpy(v).to(ranks.device) for v in (shown, training.labels[rows], names[rows])
        )
        # Half the time on processors that multiply bfloat16; weights, losses and steps stay in float32.
        with torch.autocast(ranks.device.type, torch.bfloat16):
            logits, naming = (out.float() for out in run.together(crops))
        loss: Tensor = measure(logits, labels) + NAMING * measure(naming, named)
        run.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
        run.optimiser.step()
        run.averaged.update_parameters(run.taught)
        total += float(loss.detach())
    return total / len(batches)


def _settle_normalisation(
    network: nn.Module, training: CropSet, recipe: Recipe, styling: Styling | None, ranks: Ranks
) -> None:
    """Take batch normalisation's statistics over one whole epoch; the running ones lag behind the weights."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not layers:
        return
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
    network.train()
    with torch.no_grad():
        for rows in _batches(len(training), recipe.seed, recipe.epochs):
            shown = augment(training.crops[rows], rows, recipe.augmentation, recipe.epochs, recipe.seed, styling)
            network(torch.from_numpy(shown).to(ranks.device))


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
