"""``fnrbc batch``: an archive counted source by source, on all cores of this machine or on a cluster."""

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.host.signals import stopped_by_signal
from fnrbc_device.records import USUAL_SEEING, SeeingMethod, SessionKind

# What is imported inside functions is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.batch.job import Crew
    from fnrbc_device.batch.sources import Settings

WAIT_S: Final = 60.0


class BatchOpenError(FnrbcError):
    """Some source failed, or was counted in part."""


def batch(
    out: Annotated[Path, typer.Option("--out", help="Folder for batch.csv, summary.json and a folder a source.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of frames, videos, slides, pictures; or a list: .txt, or .csv with settings."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Model bundle, a folder or a zip. [default: the one shipped]")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", help="A bundle, or the --out of an earlier batch: says what changes, cell by cell."),
    ] = None,
    pixel_size_um: Annotated[
        float | None, typer.Option("--pixel-size-um", help="Of sources where neither list nor files say it.")
    ] = None,
    kind: Annotated[SessionKind, typer.Option("--kind", help="What is on the slides.")] = "sample",
    seeing: Annotated[SeeingMethod, typer.Option("--seeing", help="What finds cells.")] = USUAL_SEEING,
    allow_left_out: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of a source's pictures that may be left out.")
    ] = 0.0,
    exchange_red_blue: Annotated[
        bool, typer.Option("--exchange-red-blue", help="The cameras gave blue for red: set it right.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes on this machine. [default: one a core]")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Of a Dask cluster that runs: tcp://HOST:PORT or tls://HOST:PORT.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option("--tls-ca", help="PEM, with a tls:// scheduler.")] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="PEM, with a tls:// scheduler.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM, with a tls:// scheduler.")] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0.0, help="Seconds to wait for a scheduler, or for a first worker.")
    ] = WAIT_S,
    dashboard: Annotated[
        int | None,
        typer.Option("--dashboard", min=1, max=65535, help="Port on loopback for Dask's page. [default: none]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Count many sources, one row each; the same command goes on where it was."""
    from fnrbc_device.batch.sources import Settings
    from fnrbc_device.commands.count import require_writable
    from fnrbc_device.vision.pixelsize import require_pixel_size

    if pixel_size_um is not None:
        require_pixel_size(pixel_size_um)
    require_writable(out)
    usual = Settings(
        pixel_size_um=pixel_size_um,
        kind=kind,
        seeing=seeing,
        exchange_red_blue=exchange_red_blue,
        allow_left_out=allow_left_out,
    )
    stop = threading.Event()
    crew = _crew(scheduler, workers, dashboard, (tls_ca, tls_cert, tls_key), wait, stop)
    with _held(out), stopped_by_signal(stop):
        done = _count(sources or [], usual, bundle, compare, out, crew, stop)
    if stop.is_set():
        print("ended early; give the same command again to go on", file=sys.stderr)
        raise KeyboardInterrupt
    print(json.dumps(done.summary, indent=2) if as_json else done.words)
    _require_all(done.summary)


@dataclass(frozen=True, slots=True)
class _Done:
    summary: dict[str, Any]
    words: str


def _count(
    given: Sequence[Path],
    usual: "Settings",
    bundle: Path | None,
    compare: Path | None,
    out: Path,
    crew: "Crew",
    stop: threading.Event,
) -> _Done:
    from fnrbc_device.batch.job import asked, count_all, require_outside
    from fnrbc_device.batch.rows import BatchFolder
    from fnrbc_device.batch.sources import sources_of
    from fnrbc_device.batch.table import TABLE, in_words
    from fnrbc_device.inference.proof_apart import prove_apart
    from fnrbc_device.model.bundle import load_bundle

    sources = sources_of(given, usual)
    require_outside(out, sources)
    model = load_bundle(bundle)
    if bundle is not None:
        prove_apart(model)
    summary = count_all(asked(sources, bundle, model), BatchFolder(out), crew, stop)
    return _Done(summary, in_words(summary, out / TABLE))


def _crew(
    scheduler: str | None,
    workers: int | None,
    dashboard: int | None,
    tls: Sequence[Path | None],
    wait_s: float,
    stop: threading.Event,
) -> "Crew":
    from fnrbc_device.batch.job import Crew
    from fnrbc_device.batch.workers import Tls, is_open_network, workers_at, workers_here

    if scheduler is None:
        if any(tls):
            raise UsageError("--tls-ca, --tls-cert and --tls-key go with --scheduler; workers here have their own keys")
        number = workers or len(os.sched_getaffinity(0))
        return Crew(lambda: workers_here(number, dashboard), may_come_back=False)
    if workers is not None or dashboard is not None:
        raise UsageError("--workers and --dashboard are for this machine; a --scheduler has its own")
    if is_open_network(scheduler):
        print(
            f"warning: orders to {scheduler} cross the network unencrypted, and whoever reaches it can run programs on "
            "the workers; use tls:// and --tls-ca, --tls-cert, --tls-key",
            file=sys.stderr,
        )
    return Crew(lambda: workers_at(scheduler, Tls(*tls), wait_s, stop), may_come_back=True)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold the folder alone, made with the rights that the user's other folders have."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be made ({error.strerror}); choose another folder") from error
    with hold_state_folder(out, "fnrbc batch"):
        yield


def _require_all(summary: dict[str, Any]) -> None:
    if summary["failed"] or summary["incomplete"]:
        raise BatchOpenError(
            f"{summary['failed']} of {summary['sources']} sources failed and {summary['incomplete']} are incomplete; "
            "batch.csv says why, and the same command tries those that failed again"
        )
