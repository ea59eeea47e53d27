"""Trains the centre network: one seed, one result."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fnrbc_training.see_network import CentreNet
from fnrbc_training.see_page import Shown
from fnrbc_training.see_targets import Targets, loss_of, targets_of
from fnrbc_training.see_tiles import TileMaker

BATCH: Final = 24
STEPS: Final = 12000
LEARNING_RATE: Final = 3e-3
"""At its peak, after the warm-up; falls to zero along a cosine."""
WARM_UP: Final = 0.05
WEIGHT_DECAY: Final = 1e-4
AVERAGED: Final = 0.05
"""Share of all steps over which the weights are averaged."""
STEEPEST: Final = 10.0
"""Norm that a step's gradient is cut to."""
THREADS: Final = 1
"""Fixed, since sums in another order give other last digits."""
TILES_TIMEOUT_S: Final = 300.0
"""For one batch, which takes a tenth of a second: longer, and the machine hangs."""
SETTLING_STEPS: Final = 100
"""Batches over which the normalisation's statistics are taken in the end; the running ones lag behind the weights."""

Progress = Callable[[str, int, int], None]


def train(shown: Sequence[Shown], seed: int, steps: int, progress: Progress) -> CentreNet:
    """Train a network.

    Parameters
    ----------
    shown
        Pictures to learn from, as ``gather`` reads them.
    seed
        Of weights and tiles.
    steps
        Batches of ``BATCH`` tiles, >= 1.
    progress
        Told now and then, with the loss.

    Returns
    -------
    CentreNet
        Its weights averaged over the last steps; ready to be used, and in doubt of nothing. See ``learn_doubts``.
    """
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    network = CentreNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own words
    average = get_ema_multi_avg_fn(1 - 1 / max(AVERAGED * steps, 1.0))  # type: ignore[no-untyped-call]  # in part only
    averaged = AveragedModel(network, multi_avg_fn=average)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    network.train()
    mean = 0.0
    for step, (seen, wanted) in enumerate(_batches(TileMaker(shown, seed), steps)):
        _set_rate(optimiser, step / steps)
        with torch.autocast("cpu", torch.bfloat16):
            maps = network.undoubted(seen)
        loss = loss_of(maps.float(), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
        torch.nn.utils.clip_grad_norm_(network.parameters(), STEEPEST)
        optimiser.step()
        averaged.update_parameters(network)
        mean += (float(loss.detach()) - mean) / min(step + 1, 100)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            progress(f"seeing, loss {mean:.3f}", step + 1, steps)
    settled = cast(CentreNet, averaged.module)
    _settle_normalisation(settled, TileMaker(shown, seed + 1))
    settled.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # as above
    return settled.eval()


def _batches(tiles: TileMaker, steps: int) -> Iterator[tuple[Tensor, Targets]]:
    """Make the next batch while this one trains."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(_batch, tiles, 0)
        for step in range(steps):
            made = pending.result(timeout=TILES_TIMEOUT_S)
            if step + 1 < steps:
                pending = pool.submit(_batch, tiles, step + 1)
            yield made


def _batch(tiles: TileMaker, step: int) -> tuple[Tensor, Targets]:
    made = [tiles.make(step * BATCH + index) for index in range(BATCH)]
    seen = torch.from_numpy(np.stack([tile.density for tile in made]))
    return seen.to(memory_format=torch.channels_last), targets_of(made)


def _settle_normalisation(network: CentreNet, tiles: TileMaker) -> None:
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
    network.train()
    with torch.no_grad():
        for seen, _ in _batches(tiles, SETTLING_STEPS):
            network.undoubted(seen)


def _set_rate(optimiser: torch.optim.Optimizer, done: float) -> None:
    """Set the learning rate for a share of the training that is done, 0..1."""
    falling = 0.5 * (1 + np.cos(np.pi * max(0.0, (done - WARM_UP) / (1 - WARM_UP))))
    for group in optimiser.param_groups:
        group["lr"] = LEARNING_RATE * min(done / WARM_UP + 0.01, float(falling))
