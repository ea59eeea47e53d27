"""``fnrbc-train see``: pictures in, a trained and measured centre network out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.model.manifest import SeeingEntry
from fnrbc_training import see_checkpoint
from fnrbc_training.description import DESCRIPTION, describe
from fnrbc_training.see_doubts import doubt_batches, learn_doubts
from fnrbc_training.see_network import CentreNet
from fnrbc_training.see_page import Shown
from fnrbc_training.see_pictures import gather
from fnrbc_training.see_score import as_table, score
from fnrbc_training.see_train import BATCH, STEPS, train

LEAST_HEAT: Final = 0.4
"""Of a peak that is a cell. F1 on tissue (``nuclei``) is highest there; with 0.5 one white cell in fifteen of
``smear_fields`` is lost, with 0.3 there are twice as many false ones on ``anaemia_fields``."""

AGREED_HEAT: Final = 0.2
"""Of the highest heat at a candidate that only the threshold has, from which on it is a cell. At 0.35 two in a hundred
white cells of ``smear_fields`` are lost, at 0.25 none; at 0.15 half of ``pbc``'s platelets stay, at 0.25 a third."""

SOURCES: Final = {
    "boxes.csv": "fields with boxes",
    "labels": "fields with outlined nuclei",
}
"""What is said of folders that do not describe themselves."""

Progress = Callable[[str, int, int], None]


def train_and_save(folders: list[Path], out: Path, seed: int, steps: int | None, progress: Progress) -> str:
    """Train, measure on what was held out, write the checkpoint; returns the measurements.

    Raises
    ------
    UsageError
        A folder is missing, or is of no kind that can be learned from; ``out`` is a folder.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give the name of a file, such as {out / 'see.pt'}")
    _require_folders(folders)
    shown = gather(folders, seed, progress)
    held_out = gather(folders, seed, progress, held_out=True)
    wanted = STEPS if steps is None else steps
    network = train(shown, seed, wanted, progress)
    learn_doubts(network, shown, seed, doubt_batches(wanted), progress)
    how = f"{wanted} batches of {BATCH}, then {doubt_batches(wanted)} for platelets, seed {seed}"
    return save_measured(network, shown, held_out, folders, how, out)


def compare_with(folders: list[Path], seed: int, entry: SeeingEntry | None, progress: Progress) -> str:
    """Gather what a training would learn from, and hold it against what a bundle's network learned from.

    Returns
    -------
    str
        One sentence: it is the same.

    Raises
    ------
    UsageError
        A folder is missing, or is of no kind that can be learned from.
    BundleError
        The bundle has no such network, or its network learned from something else.
    """
    _require_folders(folders)
    shown = gather(folders, seed, progress)
    ours = see_checkpoint.sha256_of(shown)
    if entry is None:
        raise BundleError(f"the bundle has no network that sees; here are {len(shown)} pictures, SHA-256 {ours}")
    if entry.sha256 != ours:
        raise BundleError(
            f"the bundle's network learned from {entry.pictures} pictures, SHA-256 {entry.sha256}; here are "
            f"{len(shown)}, SHA-256 {ours}: give the same folders in the same order and the same seed, or train anew"
        )
    return f"the bundle's network learned from just these {len(shown)} pictures, SHA-256 {ours}"


def _require_folders(folders: list[Path]) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder; give one with pictures to --data")


def save_measured(
    network: CentreNet, shown: list[Shown], held_out: list[Shown], folders: list[Path], how: str, out: Path
) -> str:
    """Measure a network on what was held out and write its checkpoint; returns the measurements."""
    table = as_table(score(network, held_out, LEAST_HEAT))
    about: dict[str, Any] = {
        "network": f"centre network, {sum(one.numel() for one in network.parameters())} parameters, {how}",
        "least_heat": LEAST_HEAT,
        "agreed_heat": AGREED_HEAT,
        "sources": [_source(folder) for folder in folders],
        "card": _card(table, len(shown), how, folders),
    }
    see_checkpoint.save(see_checkpoint.finished(network, shown, held_out, about), out)
    return table


def _source(folder: Path) -> str:
    if (folder / DESCRIPTION).is_file():
        return f"{folder.name}: {describe(folder).source}"
    kind = next((words for name, words in SOURCES.items() if (folder / name).exists()), "fields without a cell")
    return f"{folder.name}: {kind}"


def _card(table: str, pictures: int, how: str, folders: list[Path]) -> str:
    sources = "\n".join(f"- {_source(folder)}" for folder in folders)
    return (
        f"A network says where nucleated cells are. It learned from {pictures} pictures ({how}):\n\n{sources}\n\n"
        f"On pictures of the same sources that it did not learn from, within 3 um:\n\n{table}\n"
    )
