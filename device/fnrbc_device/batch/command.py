"""``fnrbc batch``: an archive counted source by source, on all cores of this machine or on a cluster."""

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fnrbc_device.batch import options
from fnrbc_device.commands.report_language import ReportLanguage, report_language
from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.host.signals import stopped_by_signal
from fnrbc_device.records import USUAL_SEEING

# What is imported inside functions is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.batch.job import Crew
    from fnrbc_device.batch.sources import Settings
    from fnrbc_device.model.bundle import Bundle

WAIT_S: Final = 60.0

BEFORE: Final = "before"
"""Folder of the counts by the bundle that is compared with, in the batch's own."""

SHIPPED_NAME: Final = "shipped"
"""Names the bundle that fnrbc ships, where there is no file of that name."""


class BatchOpenError(FnrbcError):
    """Some source failed, or was counted in part."""


def batch(
    out: options.Out,
    sources: options.Sources = None,
    bundle: options.BundleFile = None,
    compare: options.Compare = None,
    pixel_size_um: options.PixelSize = None,
    kind: options.Kind = "sample",
    seeing: options.Seeing = USUAL_SEEING,
    allow_left_out: options.AllowLeftOut = 0.0,
    exchange_red_blue: options.ExchangeRedBlue = False,
    stage_axes: options.StageAxes = "",
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    tls_ca: options.Pem = None,
    tls_cert: options.Pem = None,
    tls_key: options.Pem = None,
    wait: options.Wait = WAIT_S,
    dashboard: options.Dashboard = None,
    language: ReportLanguage = None,
    as_json: options.AsJson = False,
) -> None:
    """Count many sources, one row each; the same command goes on where it was."""
    from fnrbc_device.batch.sources import Settings
    from fnrbc_device.commands.counted_files import require_writable

    require_writable(out)
    spoken = report_language(language)
    # Workers of a cluster have another working folder.
    out = out.resolve()
    usual = Settings(
        pixel_size_um=pixel_size_um,
        kind=kind,
        seeing=seeing,
        exchange_red_blue=exchange_red_blue,
        allow_left_out=allow_left_out,
        stage_axes=stage_axes,
    )
    usual.require_possible()
    stop = threading.Event()
    with _held(out), stopped_by_signal(stop), ExitStack() as started:
        crew = _crew(scheduler, workers, dashboard, (tls_ca, tls_cert, tls_key), wait, stop, started)
        done = _count(sources or [], usual, bundle, compare, out, spoken, crew, stop)
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
    language: str,
    crew: "Crew",
    stop: threading.Event,
) -> _Done:
    from fnrbc_device.batch.changes import COMPARISON, compare_all, sources_in
    from fnrbc_device.batch.changes import in_words as changes_in_words
    from fnrbc_device.batch.job import asked, count_all, require_outside
    from fnrbc_device.batch.rows import BatchFolder
    from fnrbc_device.batch.sources import sources_of
    from fnrbc_device.batch.table import TABLE, in_words

    earlier = _earlier_batch(compare)
    sources = sources_in(earlier) if earlier and not given else sources_of(given, usual)
    require_outside(out, sources)
    wanted = asked(sources, bundle, _proved(bundle), language)
    if compare is not None and earlier is None:
        other = compare if str(compare) != SHIPPED_NAME else None
        before = asked(sources, other, _proved(compare), language)
        earlier = out / BEFORE
        count_all(before, BatchFolder(earlier), crew, stop)
    summary = count_all(wanted, BatchFolder(out), crew, stop)
    words = in_words(summary, out / TABLE)
    if earlier is not None and not stop.is_set():
        found = compare_all(wanted, out, earlier, crew, stop)
        summary = {**summary, "comparison": found}
        words = f"{words}\n{changes_in_words(found, out / COMPARISON)}"
    return _Done(summary, words)


def _proved(bundle: Path | None) -> "Bundle":
    """Load a bundle; one that is not ours is proved where it can do no harm."""
    from fnrbc_device.inference.proof_apart import prove_apart
    from fnrbc_device.model.bundle import load_bundle

    if bundle is None or (str(bundle) == SHIPPED_NAME and not bundle.exists()):
        return load_bundle(None)
    model = load_bundle(bundle)
    prove_apart(model)
    return model


def _earlier_batch(compare: Path | None) -> Path | None:
    """The folder of an earlier batch; None where nothing, or a bundle, is to be compared with."""
    from fnrbc_device.batch.rows import ROW

    if compare is None or not compare.is_dir() or not any((one / ROW).is_file() for one in compare.iterdir()):
        return None
    return compare.resolve()


def _crew(
    scheduler: str | None,
    workers: int | None,
    dashboard: int | None,
    tls: Sequence[Path | None],
    wait_s: float,
    stop: threading.Event,
    started: ExitStack,
) -> "Crew":
    from fnrbc_device.batch.job import Crew
    from fnrbc_device.batch.local import workers_here
    from fnrbc_device.batch.workers import Tls, is_open_network, require_address, workers_at

    if scheduler is None:
        if any(tls):
            raise UsageError("--tls-ca, --tls-cert and --tls-key go with --scheduler; workers here have their own keys")
        number = workers or len(os.sched_getaffinity(0))
        # Started when there is something to do, and once for all that there is.
        client = cache(lambda: started.enter_context(workers_here(number, dashboard)))
        return Crew(lambda: nullcontext(client()), may_come_back=False)
    if workers is not None or dashboard is not None:
        raise UsageError("--workers and --dashboard are for this machine; a --scheduler has its own")
    require_address(scheduler)
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
    uncompared = len(summary["comparison"]["not_compared"]) if "comparison" in summary else 0
    if summary["failed"] or summary["incomplete"]:
        raise BatchOpenError(
            f"{summary['failed']} of {summary['sources']} sources failed and {summary['incomplete']} are incomplete; "
            "batch.csv says why, and the same command tries those that failed again"
        )
    if uncompared:
        raise BatchOpenError(
            f"{uncompared} of {summary['sources']} sources could not be compared; comparison.csv says why"
        )
