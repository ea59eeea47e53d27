"""What a batch has to do, what of it is done already, and doing the rest."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import fnrbc_device
from fnrbc_device.batch.counting import Order, count_one
from fnrbc_device.batch.fingerprint import Fingerprint, fingerprint
from fnrbc_device.batch.progress import Progress
from fnrbc_device.batch.rows import Basis, BatchFolder, Row
from fnrbc_device.batch.run import Batch, run
from fnrbc_device.batch.sources import Source
from fnrbc_device.batch.table import Table
from fnrbc_device.batch.workers import require_same_everywhere
from fnrbc_device.errors import UsageError
from fnrbc_device.language import ENGLISH
from fnrbc_device.model.bundle import Bundle

if TYPE_CHECKING:
    from distributed import Client

_NAMED: Final = 3
"""Sources that are named where many have something in common."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work."""

    connect: Callable[[], AbstractContextManager["Client"]]
    may_come_back: bool
    """Its scheduler runs by itself, and may be started again."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Sources to be counted with a bundle."""

    sources: Sequence[Source]
    bundle: Path | None
    """None for the one that is shipped."""
    basis: Basis
    language: str = ENGLISH
    """Of reports that are made from now on; no count rests on it."""


def asked(sources: Sequence[Source], bundle: Path | None, opened: Bundle, language: str) -> Asked:
    """Sources to be counted with a bundle by this fnrbc."""
    basis = Basis(opened.id, fnrbc_device.__version__)
    return Asked(sources, bundle.resolve() if bundle else None, basis, language)


def count_all(what: Asked, folder: BatchFolder, crew: Crew, stop: threading.Event) -> dict[str, Any]:
    """Count what is not counted yet, and write the tables; gives the content of ``summary.json``.

    The folder is held by this process. However this ends, the tables say what is done.
    """
    table = Table(folder, what.sources)
    orders = []
    seen = {source: fingerprint(source.path) for source in what.sources}
    reasons: dict[str, list[Source]] = {}
    for source, row in table.lines.items():
        reason = _reason(row, source, seen[source], what.basis)
        if reason is None:
            _rename(folder, table, row, source)
            continue
        if row is not None:
            reasons.setdefault(reason, []).append(source)
            table.forget(source)
        orders.append(Order(source, seen[source].digest, what.bundle, what.basis, folder.work, language=what.language))
    sizes = {str(order.source.path): seen[order.source].size for order in orders}
    _say(reasons)
    do(Batch(folder, deque(orders), count_one, Progress(sizes), table, stop), what, crew)
    return table.summary(what.basis, sum(table.lines[order.source] is not None for order in orders))


def do(batch: Batch, what: Asked, crew: Crew) -> None:
    """Have all of it done, and write the table, however that ends."""
    batch.folder.empty_work()
    batch.table.write()
    try:
        if batch.open:
            run(batch, partial(_alike, what, batch.folder.work, crew), may_come_back=crew.may_come_back)
    except BaseException:
        _leave(batch)
        with suppress(OSError):  # what went wrong first is what has to be said
            batch.table.write()
        raise
    _leave(batch)
    batch.table.write()


def _leave(batch: Batch) -> None:
    batch.progress.end()
    batch.folder.remove_work()


def require_outside(out: Path, sources: Iterable[Source]) -> None:
    """Refuse to write into a source: it would be another one with each row."""
    for source in sources:
        if source.path in (out.resolve(), *out.resolve().parents):
            raise UsageError(f"--out {out} lies in the source {source.path}; choose a folder outside of all sources")


@contextmanager
def _alike(what: Asked, work: Path, crew: Crew) -> Iterator["Client"]:
    """Connect to workers, all of which are held against this machine before they do anything."""
    with crew.connect() as client:
        require_same_everywhere(client, what.basis, what.bundle, work)
        yield client


def _reason(row: Row | None, source: Source, seen: Fingerprint, basis: Basis) -> str | None:
    """Why a source is to be counted; None where it is done."""
    if row is None:
        return ""
    stale = row.stale(source, seen.digest, basis)
    return stale or ("failed before" if row.state == "failed" else None)


def _rename(folder: BatchFolder, table: Table, row: Row | None, source: Source) -> None:
    """Take over the specimen's name, on which no count rests."""
    if row is not None and row.specimen != source.specimen:
        folder.rewrite(row.model_copy(update={"specimen": source.specimen}), source)
        table.done(source)


def _say(reasons: dict[str, list[Source]]) -> None:
    for reason, sources in reasons.items():
        named = ", ".join(str(source.path) for source in sources[:_NAMED])
        more = f" and {len(sources) - _NAMED} more" if len(sources) > _NAMED else ""
        print(f"counted again, {reason}: {named}{more}", file=sys.stderr)
