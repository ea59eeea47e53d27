"""The command ``fnrbc``."""

import json
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import fnrbc_device
from fnrbc_device.batch.command import batch
from fnrbc_device.commands import bundle as bundle_command
from fnrbc_device.commands import exit_codes as command
from fnrbc_device.commands import user as user_command
from fnrbc_device.commands.backup import backup, restore
from fnrbc_device.commands.calibrate import calibrate
from fnrbc_device.commands.examples import EXAMPLES
from fnrbc_device.commands.follow import follow
from fnrbc_device.commands.program import program, with_examples
from fnrbc_device.commands.progress import progress
from fnrbc_device.commands.report_language import ReportLanguage, report_language
from fnrbc_device.commands.validate import validate
from fnrbc_device.errors import UsageError
from fnrbc_device.host.malloc import keep_large_buffers
from fnrbc_device.texts import RESEARCH_USE_ONLY

# The configuration is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config


class FoundBy(Enum):
    """What finds the cells."""

    threshold = "threshold"
    network = "network"
    both = "both"


class StainLook(Enum):
    """Stains of the simulated slide."""

    giemsa = "giemsa"
    he = "he"


class SlideKind(Enum):
    """What is on a slide."""

    sample = "sample"
    blank = "blank"
    control = "control"



# Modules with heavy imports are imported by the command that needs them: `fnrbc --help` stays quick.
app = program(f"Counts fetal nucleated red blood cells under a microscope. {RESEARCH_USE_ONLY}")

PixelSize = Annotated[
    float | None,
    typer.Option("--pixel-size-um", help="Size of a pixel on the slide, um: camera pixel over magnification."),
]
BundlePath = Annotated[
    Path | None, typer.Option("--bundle", help="Model bundle, a folder or a zip. [default: the one shipped]")
]
ConfigPath = Annotated[Path | None, typer.Option("--config", help="TOML file. [default: /etc/fnrbc/fnrbc.toml]")]


@app.command()
def count(
    source: Annotated[Path, typer.Argument(help="A folder of frames in name order, a video, an image or a slide.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for summary.json, cells.csv, poses.csv, report.html.")],
    bundle: BundlePath = None,
    pixel_size_um: PixelSize = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", help="The --out of an earlier count of the same frames: writes what changed."),
    ] = None,
    kind: Annotated[SlideKind, typer.Option("--kind", help="What is on the slide.")] = SlideKind.sample,
    allow_left_out: Annotated[
        float,
        typer.Option("--allow-left-out", min=0.0, max=1.0, help="Share of the pictures given that may be left out."),
    ] = 0.0,
    exchange_red_blue: Annotated[
        bool, typer.Option("--exchange-red-blue", help="The camera gave blue for red: set it right.")
    ] = False,
    seeing: Annotated[
        FoundBy, typer.Option("--seeing", help="What finds cells: the threshold, the network, or where both agree.")
    ] = FoundBy.both,
    everything: Annotated[
        bool, typer.Option("--everything/--new-ground", help="Look at each frame, or at those that show something new.")
    ] = False,
    stage_axes: Annotated[
        str, typer.Option("--stage-axes", help="Of a motorised stage: right,down in the picture, as -x,y; or none.")
    ] = "",
    record: Annotated[
        bool, typer.Option("--record", help="Of a slide file: put it into the device's record, to review and sign it.")
    ] = False,
    specimen: Annotated[str, typer.Option("--specimen", help="As written on the slide; with --record.")] = "",
    language: ReportLanguage = None,
    config: ConfigPath = None,
) -> None:
    """Count recorded frames of a panned slide, or a scanned slide, each cell once."""
    from fnrbc_device.commands.count_source import Asked, count_source
    from fnrbc_device.commands.counted_files import in_words, require_writable, write
    from fnrbc_device.commands.left_out import require_counted

    if specimen and not record:
        raise UsageError("--specimen goes into the device's record; give --record beside it, or leave it out")
    require_writable(out)
    spoken = report_language(language, config)
    device = _device(config) if record else None
    asked = Asked(
        source, out, bundle, pixel_size_um, compare, kind.value, allow_left_out, exchange_red_blue, seeing.value,
        stage_axes, specimen, everything,
    )  # fmt: skip
    with progress("frames") as begin:
        done = count_source(asked, begin, _told("note"), _told("warning"), device)
    counted = done.counted
    write(counted, out, done.name, done.bundle, spoken)
    if doubt := counted.scale.doubt(done.pixel_um, "--pixel-size-um"):
        print(f"warning: {doubt}", file=sys.stderr)
    print(json.dumps(counted.summary, indent=2) if as_json else in_words(counted, out))
    require_counted(counted.summary)


@app.command()
def demo(
    seconds: Annotated[float | None, typer.Option(min=1, help="End by itself after this time.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 for any free one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated slide and hand.")] = 0,
    look: Annotated[StainLook, typer.Option(help="Stain of the simulated slide.")] = StainLook.giemsa,
    fps: Annotated[float, typer.Option(min=1, max=120, help="Frames a second.")] = 30.0,
) -> None:
    """Watch it count: a simulated microscope, a broker and the page, nothing to install or set."""
    from fnrbc_device.commands.demo import run_demo

    run_demo(seconds=seconds, port=port, seed=seed, look=look.value, fps=fps)


@app.command()
def run(config: ConfigPath = None) -> None:
    """Count live: camera to MQTT, until stopped."""
    from fnrbc_device.config import load_config
    from fnrbc_device.daemon.run import run_service

    run_service(load_config(config), config)


@app.command()
def check(config: ConfigPath = None) -> None:
    """Say what is missing on this machine, and how to mend it."""
    from fnrbc_device.commands.check import check as look
    from fnrbc_device.config import load_config

    faults = 0
    for finding in look(load_config(config)):
        faults += finding.state == "fault"
        print(f"{finding.what:14} {finding.state:9} {finding.words}", flush=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def verify(
    target: Annotated[str, typer.Argument(help="A state folder, a journal, or a session of this device.")],
    against: Annotated[
        Path | None, typer.Option("--against", help="What `fnrbc follow` keeps, or an earlier backup: held together.")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Prove a session's record unbroken, or point at what was changed."""
    from fnrbc_device.commands.verify import verify as prove
    from fnrbc_device.config import load_config

    print(prove(target, load_config(config).state_dir, against))


@app.command()
def reviewed(
    out: Annotated[Path, typer.Option("--out", help="A new folder for the dataset.")],
    session: Annotated[
        list[str] | None, typer.Option("--session", help="May be given several times. [default: all reviewed ones]")
    ] = None,
    reviewed_only: Annotated[
        bool, typer.Option("--reviewed-only", help="Leave out the sample of leukocytes that nobody reviewed.")
    ] = False,
    stain: Annotated[str, typer.Option(help="Of the slides.")] = "not stated",
    source: Annotated[str, typer.Option(help="Whose slides they are.")] = "cells reviewed on this device",
    config: ConfigPath = None,
) -> None:
    """Write reviewed cells as a dataset that fnrbc-train cut takes."""
    from fnrbc_device.config import load_config
    from fnrbc_device.journal.schema import JOURNAL_NAME
    from fnrbc_device.learning import dataset as writing

    dataset = writing.gather(load_config(config).state_dir / JOURNAL_NAME, session or [], reviewed_only)
    writing.write(dataset, out, stain, source)
    print(dataset.in_words(out))


@app.command()
def drift(
    session: Annotated[str, typer.Argument(help="A session of this device.")],
    bundle: BundlePath = None,
    config: ConfigPath = None,
) -> None:
    """Say how a session's cells look different from those that the bundle in use was measured on."""
    from fnrbc_device.config import load_config
    from fnrbc_device.daemon.active_bundle import bundle_for
    from fnrbc_device.journal.read_only import reading
    from fnrbc_device.journal.schema import JOURNAL_NAME
    from fnrbc_device.learning import drift as drifting
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.sessions.labels import of_sessions
    from fnrbc_device.sessions.recorded_stain import recorded_stain

    settings = load_config(config)
    model = load_bundle(bundle or bundle_for(settings))
    cells = of_sessions(settings.state_dir / JOURNAL_NAME, [session])[session]
    print(drifting.in_words(drifting.drifts(cells, model), session))
    with reading(settings.state_dir / JOURNAL_NAME) as connection:
        stain = recorded_stain(connection, session)
    print(f"stain: {stain.in_words() if stain else 'not on record, it was counted by an earlier version'}")


app.add_typer(bundle_command.app, name="bundle")
app.add_typer(user_command.app, name="user")
app.command()(batch)
app.command()(follow)
app.command()(backup)
app.command()(restore)
app.command()(validate)
app.command()(calibrate)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="An empty or new folder.")],
    cells: Annotated[int, typer.Option(min=1, help="Nucleated cells on the slide, or single-cell crops.")] = 500,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    pan: Annotated[bool, typer.Option("--pan", help="Frames of a pan with truth, instead of single cells.")] = False,
    look: Annotated[StainLook | None, typer.Option(help="Of a pan: the stain. [default: giemsa]")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Of a pan: how many. [default: the whole slide]")] = None,
) -> None:
    """Write simulated pictures with exact truth: single cells to train on, or a pan to count."""
    from fnrbc_device.camera.simulated.files import write_dataset, write_frames
    from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
    from fnrbc_device.camera.simulated.slide import SimulatedSlide

    if not pan and (look or frames):
        raise UsageError("--look and --frames are of a pan; give --pan beside them, or leave them out")
    if not pan:
        written = write_dataset(out, cells, seed)
        print(", ".join(f"{number} {name}" for name, number in written.items()), "->", out)
        return
    microscope = SimulatedMicroscope(SimulatedSlide.make(seed, (look or StainLook.giemsa).value, cells), seed=seed)
    number = write_frames(out, microscope, frames=frames)
    print(f"{number} frames at {microscope.pixel_size_um} um a pixel -> {out}")


@app.command()
def bench(
    source: Annotated[Path | None, typer.Argument(help="Frames. [default: simulated ones]")] = None,
    pixel_size_um: PixelSize = None,
    bundle: BundlePath = None,
    frames: Annotated[int, typer.Option(min=2, help="How many at most.")] = 200,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Measured beside one thread. [default: one a core]")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="A bundle, threshold, network, both, everything or new_ground: counted beside."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure each stage's cost a frame, beside the least that any count must do, in one run."""
    from fnrbc_device.commands import bench as benching

    result = benching.bench(source, pixel_size_um, bundle, frames, threads, against)
    print(json.dumps(result, indent=2) if as_json else benching.as_table(result))


@app.command()
def version() -> None:
    """Say which version this is."""
    print(fnrbc_device.__version__)


def _device(config: Path | None) -> "Config":
    from fnrbc_device.config import load_config

    return load_config(config)


def _told(what: str) -> Callable[[str], None]:
    """Prints a sentence to the terminal, as a note or a warning."""
    return lambda words: print(f"{what}: {words}", file=sys.stderr)


with_examples(app, EXAMPLES)


def main() -> NoReturn:
    """Run the command line; exit 0 done, 1 failed, 2 wrong usage, 78 wrong configuration."""
    keep_large_buffers()
    command.run(app)


if __name__ == "__main__":
    sys.exit(main())
