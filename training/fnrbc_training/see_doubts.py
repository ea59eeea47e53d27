"""What the centre network learns last: to doubt what looks like a cell and is a platelet.

Colour tells platelets from nuclei of their size, but what finds cells has to find them in any stain, and so learns
nothing from colour. Here all that finds cells stays as it is, and a small part beside it learns from single pixels:
those that the network takes for cells where none is, and those of cells. Platelets are shown in the stain that a
settled session has, cells in any as well: what lies in a stain that no session should have is not doubted.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fnrbc_device.vision.centre_picture import STRIDE
from fnrbc_training.see_network import DOUBTS, HEAD, WIDTHS, CentreNet, Doubts
from fnrbc_training.see_page import Shown
from fnrbc_training.see_targets import targets_of
from fnrbc_training.see_tiles import Mix, TileMaker
from fnrbc_training.see_train import BATCH, THREADS

MIX: Final = Mix(
    {"cell": 0.38, "bare": 0.2, "field": 0.1, "outlined": 0.09, "empty": 0.02, "painted": 0.21},
    0.85,
    {"bare": 1.0, "cell": 0.85, "field": 0.85, "outlined": 0.85, "empty": 0.85, "painted": 0.85},
)
"""Of tiles: more of platelets, and of painted nuclei, which are small and pale as platelets are."""

STEPS_A_BATCH: Final = 24
"""One batch of tiles for so many that the network was trained for: 500 for 12,000."""

WITHOUT_CELLS: Final = ("bare", "field", "empty", "painted")
"""Kinds of pictures in which what lies beside every labelled cell is none. In outlined tissue it may be an edge."""

REACH: Final = 2
"""Pixels of the map round one from which its doubt is read."""

NO_CELL_HEAT: Final = 0.01
CELL_HEAT: Final = 0.4
"""Of what the maps should say: pixels below the first are no cell's, those above the second are one's."""

FALSE_HEAT: Final = 0.03
FOUND_HEAT: Final = 0.05
"""Of what the network says: what it takes for no cell need not be doubted, what it does not find cannot be lost."""

MOST_A_TILE: Final = 6
"""Pixels of either kind."""

FULL_HEAT: Final = 0.5
FALSE_WEIGHT: Final = 4.0
BESIDE_WEIGHT: Final = 0.3
"""A false one weighs by its heat, fully from the first on, less where it is no platelet but lies in a field."""

UNSURE_HEAT: Final = 0.75
UNSURE_WEIGHT: Final = 2.0
"""Cells at a lower heat weigh more: a doubt would lose them."""

ROUNDS: Final = 12
PIXELS: Final = 256
"""Times that each pixel is seen, and how many at once."""
PART: Final = 4096
"""Pixels that are made float32 at once, to learn how far they spread: all of them take a gigabyte."""
LEARNING_RATE: Final = 1e-2
WEIGHT_DECAY: Final = 1e-2

Progress = Callable[[str, int, int], None]


def doubt_batches(steps: int) -> int:
    """How many batches of tiles are looked at after a training of so many."""
    return max(1, steps // STEPS_A_BATCH)


def learn_doubts(network: CentreNet, shown: Sequence[Shown], seed: int, batches: int, progress: Progress) -> None:
    """Teach a trained network's ``doubts``; all else of it stays as it is.

    Parameters
    ----------
    network
        As ``train`` gives it. Where the pictures show no cell, or nothing that is taken for one, it stays as it is.
    shown
        Pictures to learn from, as ``gather`` reads them.
    seed
        Of tiles and weights.
    batches
        Of ``BATCH`` tiles, >= 1.
    progress
        Told now and then.
    """
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    seen, false, weights = _pixels(network, TileMaker(shown, seed, MIX), seed, batches, progress)
    if 0 < false.sum() < len(false):
        network.doubts = _learned(seen, false, weights, progress).eval()


def _pixels(
    network: CentreNet, tiles: TileMaker, seed: int, batches: int, progress: Progress
) -> tuple[Tensor, Tensor, Tensor]:
    """(N, channels, 5, 5) of what is seen round pixels, float16; (N,) 1 where no cell is; (N,) what each weighs."""
    rng = np.random.default_rng(seed)
    seen, false, weights = [torch.zeros(0, HEAD + WIDTHS[1] + 3 * STRIDE**2, 5, 5).half()], [], []
    for step in range(batches):
        around, wrong, right, weight = _looked_at(network, tiles, step)
        for places, is_false in ((wrong, 1.0), (right, 0.0)):
            for tile, row, col in _some(places, rng):
                seen.append(around[tile, :, row : row + 5, col : col + 5].half()[None])
                false.append(is_false)
                weights.append(float(weight[tile, row, col]))
        if (step + 1) % 50 == 0 or step + 1 == batches:
            progress("platelets, looking", step + 1, batches)
    return torch.cat(seen), torch.tensor(false), torch.tensor(weights)


def _looked_at(network: CentreNet, tiles: TileMaker, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A batch of tiles: what doubt is read from, padded; where a cell is wrongly seen, and where rightly; weights."""
    made = [tiles.make(step * BATCH + index) for index in range(BATCH)]
    wanted = targets_of(made)
    densities = torch.from_numpy(np.stack([tile.density for tile in made]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        fourth, head = network.features(densities)
        heat = torch.sigmoid(network.maps(head)[:, 0].float())
    every = torch.cat([head.float(), fourth.float(), functional.pixel_unshuffle(densities, STRIDE)], 1)
    kinds = np.array([tile.kind for tile in made])
    told = torch.from_numpy(np.isin(kinds, WITHOUT_CELLS))[:, None, None]
    single = torch.from_numpy(kinds == "bare")[:, None, None]
    wrong = told & (wanted.heat < NO_CELL_HEAT) & (wanted.weight > 0) & (heat > FALSE_HEAT)
    right = (wanted.heat > CELL_HEAT) & (heat > FOUND_HEAT)
    weight_wrong = FALSE_WEIGHT * heat.clamp(max=FULL_HEAT) * torch.where(single, 1.0, BESIDE_WEIGHT)
    weight_right = torch.where(heat < UNSURE_HEAT, UNSURE_WEIGHT, 1.0)
    return functional.pad(every, (REACH,) * 4), wrong, right, torch.where(right, weight_right, weight_wrong)


def _some(places: Tensor, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Tile, row and col of a few of each tile's pixels."""
    chosen: list[tuple[int, int, int]] = []
    for tile, plane in enumerate(places.numpy()):
        found: NDArray[np.intp] = np.argwhere(plane)
        if len(found) > MOST_A_TILE:
            found = found[rng.choice(len(found), MOST_A_TILE, replace=False)]
        chosen += [(tile, row, col) for row, col in found.tolist()]
    return chosen


def _learned(seen: Tensor, false: Tensor, weights: Tensor, progress: Progress) -> Doubts:
    """Fit it to the pixels, each channel brought to one scale."""
    starts = range(0, len(seen), PART)
    mean = torch.stack([seen[at : at + PART].float().mean((0, 2, 3)) for at in starts]).mean(0)[None, :, None, None]
    spread = torch.stack([seen[at : at + PART].float().std((0, 2, 3)) for at in starts]).mean(0)[None, :, None, None]
    spread += 1e-3
    first, mixed, last = nn.Conv2d(seen.shape[1], DOUBTS, 1), nn.Conv2d(DOUBTS, DOUBTS, 3), nn.Conv2d(DOUBTS, 1, 3)
    fitted = nn.Sequential(first, nn.ReLU(), mixed, nn.ReLU(), last)
    optimiser = torch.optim.AdamW(fitted.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, ROUNDS * -(-len(seen) // PIXELS))
    for done in range(ROUNDS):
        order = torch.randperm(len(seen))
        for some in (order[at : at + PIXELS] for at in range(0, len(seen), PIXELS)):
            doubt = fitted((seen[some].float() - mean) / spread)[:, 0, 0, 0]
            wrong = functional.binary_cross_entropy_with_logits(doubt, false[some], weights[some])
            optimiser.zero_grad()
            wrong.backward()  # type: ignore[no-untyped-call]  # torch annotates it only in part
            optimiser.step()
            falling.step()
        progress("platelets, learning", done + 1, ROUNDS)
    return _as_doubts(first, mixed, last, mean[0, :, 0, 0], spread[0, :, 0, 0])


def _as_doubts(first: nn.Conv2d, mixed: nn.Conv2d, last: nn.Conv2d, mean: Tensor, spread: Tensor) -> Doubts:
    """The same for whole pictures: the scales become part of the weights, and the colours' weights a convolution."""
    doubts = Doubts()
    with torch.no_grad():
        weights = first.weight[:, :, 0, 0] / spread
        head, fourth, colour = weights.tensor_split([HEAD, HEAD + WIDTHS[1]], 1)
        doubts.head.weight.copy_(head[:, :, None, None])
        doubts.head.bias.copy_(first.bias - weights @ mean)  # type: ignore[operator, union-attr]  # there are biases
        doubts.fourth.weight.copy_(fourth[:, :, None, None])
        doubts.colour.weight.copy_(colour.reshape(doubts.colour.weight.shape))
    doubts.mixed.load_state_dict(mixed.state_dict())
    doubts.doubt.load_state_dict(last.state_dict())
    return doubts
