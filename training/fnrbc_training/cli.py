"""The command line of the training: cut, styles, fit, see, evaluate, compare."""

import json
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from fnrbc_device.commands.exit_codes import run
from fnrbc_device.commands.program import program, with_examples
from fnrbc_device.errors import UsageError
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import USUAL_SEEING, Interval
from fnrbc_device.vision.seeing import CentreModel
from fnrbc_training import dataset
from fnrbc_training.augmentation import Augmentation
from fnrbc_training.bylaboratory import said_of_worst, table
from fnrbc_training.cutting import MOST_DROPPED, cut, require_most_found
from fnrbc_training.dataset import CropSet
from fnrbc_training.evaluation import Evaluation, evaluate
from fnrbc_training.pnet import NetName, Normalisation
from fnrbc_training.recipe import Recipe
from fnrbc_training.splitting import contradictions
from fnrbc_training.stylecells import measured_in
from fnrbc_training.styles import SHIPPED as SHIPPED_STYLES
from fnrbc_training.styles import load as load_styles
from fnrbc_training.styles import save as save_styles

EXAMPLES: Final = {
    "cut": ("fnrbc-train cut --data cells --out crops.npz",),
    "fit": ("fnrbc-train fit --data crops.npz --out pnet.pt",),
    "see": ("fnrbc-train see --data fields --out see.pt",),
    "styles": ("fnrbc-train styles laboratory-a --pixel-size-um 0.125 --source 'laboratory A' --out styles.json",),
    "evaluate": ("fnrbc-train evaluate --data elsewhere",),
    "compare": ("fnrbc-train compare --data cells --out compared",),
}

app = program("Dataset, training and evaluation of P-net.")

Folders = Annotated[
    list[Path], typer.Option("--data", help="A dataset: class folders, or a CSV of cells, and dataset.toml.")
]
Painted = Annotated[list[Path] | None, typer.Option("--simulated", help="A dataset of painted cells: never held out.")]


def main() -> NoReturn:
    """Run ``fnrbc-train``."""
    with_examples(app, EXAMPLES)
    run(app)


@app.command("cut")
def cut_command(
    data: Folders,
    out: Annotated[Path, typer.Option(help="The .npz to write.")],
    simulated: Painted = None,
    most_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="Fails where no cell is found at more than this share of the places.")
    ] = MOST_DROPPED,
) -> None:
    """Cut labelled pictures into crops, as the device would."""
    crops = cut(data, simulated or [], progress)
    require_most_found(crops, most_dropped)
    dataset.save(crops, out)
    for source in crops.sources:
        missed = ", ".join(f"{name} {count}" for name, count in sorted(source.missed.items()))
        print(f"{source.name}: {source.pictures} pictures, {source.duplicates} duplicates dropped")
        print(f"  no cell where one is said to be: {missed or 0}")
        for readers, kappa in source.kappas.items():
            print(f"  Cohen's kappa of {readers}: {kappa:.3f}")
    if contradicting := contradictions(crops):
        print(f"look alike under two labels, have them read again: {contradicting}")
    print(f"{len(crops)} crops in {out}, SHA-256 {crops.sha256()}")


@app.command("fit")
def fit_command(
    data: Annotated[Path, typer.Option("--data", help="The .npz that cut wrote.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write.")],
    epochs: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    net: Annotated[NetName, typer.Option(help="pnet is the paper's Net2.")] = "pnet",
    augmentation: Annotated[Augmentation, typer.Option()] = "styles",
    normalisation: Annotated[Normalisation, typer.Option(help="none carries no style.")] = "none",
    styles: Annotated[
        Path | None, typer.Option(help="Styles of other laboratories, as styles wrote them; without, the shipped ones.")
    ] = None,
    measure: Annotated[
        list[Path] | None, typer.Option(help="A set of other laboratories, cut: measured for the card, not learned.")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="A folder for TensorBoard's event files.")] = None,
) -> None:
    """Train a network; a killed run goes on where it was when started again. Several processes: torchrun."""
    # torch takes seconds to import: only where it is needed.
    from fnrbc_training.events import EventFile
    from fnrbc_training.parallel import joined
    from fnrbc_training.train import fit

    crops, recipe = dataset.load(data), Recipe(net, epochs, augmentation, seed, normalisation)
    elsewhere = [dataset.load(path) for path in measure or []]
    laboratories = load_styles(styles or SHIPPED_STYLES) if augmentation == "styles" else ()
    with joined() as ranks, ExitStack() as opened:
        curves = opened.enter_context(closing(EventFile(events))) if events and ranks.first else None
        performance = fit(crops, recipe, out, progress, curves, ranks, laboratories, elsewhere)
    if performance is not None:
        print(f"{out}: held out, accuracy {_shown(performance.accuracy)}")


@app.command("see")
def see_command(
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Class folders, fields with boxes, outlined fields, or fields without a cell."),
    ],
    out: Annotated[Path | None, typer.Option(help="The checkpoint to write.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Batches; without, as many as are known to do.")] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Train nothing: say whether this bundle's network learned from just this.")
    ] = None,
) -> None:
    """Train the network that finds cells."""
    from fnrbc_training.see_command import compare_with, train_and_save

    if (out is None) == (compare is None):
        raise UsageError("give either --out, a checkpoint to write, or --compare, a bundle to hold them against")
    if compare is not None:
        print(compare_with(data, seed, load_bundle(compare).manifest.seeing, progress))
    if out is not None:
        print(train_and_save(data, out, seed, steps, progress))


@app.command("styles")
def styles_command(
    pictures: Annotated[list[Path], typer.Argument(help="Folders of pictures, one a laboratory, no labels needed.")],
    pixel_size_um: Annotated[float, typer.Option(min=0.02, max=2.0, help="Of the pictures.")],
    source: Annotated[str, typer.Option(help="Who made them, under which licence.")],
    out: Annotated[Path, typer.Option(help="The .json to write; laboratories that it has already stay in it.")],
    most: Annotated[int, typer.Option(min=10, help="Cells of each laboratory, evenly chosen.")] = 120,
) -> None:
    """Measure how laboratories stain, as numbers that can be laid on cells of others."""
    known = {lab.name: lab for lab in load_styles(out)} if out.exists() else {}
    for folder in pictures:
        lab = measured_in(folder, pixel_size_um, source, most, progress)
        known[lab.name] = lab
        print(f"{lab.name}: {len(lab.cells)} cells")
    save_styles(list(known.values()), out)


@app.command("evaluate")
def evaluate_command(
    data: Folders,
    bundle: Annotated[Path | None, typer.Option(help="A bundle; without, the shipped one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Measure a bundle on pictures that it was neither trained nor tuned on, cells found as the device finds them."""
    measured = load_bundle(bundle)
    with closing(open_centres(measured, USUAL_SEEING)) as centres:
        found = evaluate(_crops(data, centres.model), measured)
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)


@app.command("compare")
def compare_command(
    data: Folders,
    out: Annotated[Path, typer.Option(help="The folder for the report, its figures and the checkpoints.")],
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Of each network on all data.")] = 24,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    measure: Annotated[
        list[Path] | None, typer.Option(help="A set of other laboratories, cut: measured, not learned.")
    ] = None,
) -> None:
    """Repeat the paper's comparison, Net1 with Net2, and lay P-net beside them, by laboratory; goes on where it was."""
    from fnrbc_training.comparison import compare
    from fnrbc_training.comparison_page import write_page

    elsewhere = [dataset.load(path) for path in measure or []]
    print(write_page(compare(_crops(data), out, epochs, seed, progress, load_styles(), elsewhere), out))


def progress(what: str, done: int, total: int) -> None:
    """Show how far long work is, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _crops(data: list[Path], model: CentreModel | None = None) -> CropSet:
    """Cut datasets, or read the one set that was cut before."""
    sets = [path for path in data if path.suffix == ".npz"]
    if not sets:
        return cut(data, [], progress, model)
    if len(data) > 1:
        raise UsageError(f"{len(data)} --data with {sets[0]} among them; give one .npz alone, or folders only")
    return dataset.load(sets[0])


def _print(found: Evaluation) -> None:
    performance = found.performance
    print(f"worst: {said_of_worst(found.laboratories)}\n\n{table(found.laboratories)}\n\nall together:")
    for name in ("accuracy", "sensitivity", "specificity"):
        print(f"{name:<12} {_shown(getattr(performance, name))}")
    print(f"{'ece':<12} {100 * performance.ece:.2f} %")
    print(f"{'false':<12} {found.false_positives:.1f} taken for fNRBC a thousand leukocytes")
    print(f"{performance.n} cells, {performance.indeterminate} indeterminate (counted as wrong)")
    print(f"{found.left_out} cells left out: the bundle was trained or tuned on them")
    for name, row in performance.confusion.items():
        print(f"  {name:<14} " + "  ".join(f"{column} {count}" for column, count in row.items()))


def _shown(interval: Interval) -> str:
    return f"{100 * interval.value:.2f} % ({100 * interval.low:.2f} to {100 * interval.high:.2f})"
