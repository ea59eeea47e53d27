"""Workers of this machine, for one batch.

Tasks are Python that whoever reaches a scheduler can give it. So these listen on loopback alone, take orders only from
who holds a key made for this run, and open no port for a dashboard unless it is asked for.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from fnrbc_device.batch.workers import require_dask

# Imported where it is used: it takes half a second, and only batches have it.
if TYPE_CHECKING:
    from distributed import Client

_LOOPBACK: Final = "127.0.0.1"
_START_S: Final = 20.0

_LOCAL_SETTINGS: Final[dict[str, Any]] = {
    # A source is counted where it was read, and its result is a line: nothing is to be spilled, moved or held back.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-saturation": 1.0,
    # Two workers may die of a source; then it is tried with nothing beside it, by two more.
    "distributed.scheduler.allowed-failures": 1,
    "distributed.admin.log-length": 100,
    # A worker that is still starting when the batch ends would tell of it before it is told to be quiet.
    "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
}


@contextmanager
def workers_here(number: int, dashboard: int | None) -> Iterator["Client"]:
    """Start worker processes on this machine, one thread each; they end with this one, however it ends.

    Parameters
    ----------
    number
        How many, >= 1.
    dashboard
        Port for Dask's page on loopback; None for none.

    Raises
    ------
    ConfigError
        Dask is not installed.
    """
    require_dask()
    import dask
    from distributed import Client, SpecCluster

    security = _key_of_this_run()
    with dask.config.set(_LOCAL_SETTINGS):
        cluster = SpecCluster(
            scheduler=_scheduler(security, dashboard),
            workers=dict.fromkeys(range(number), _worker(security, number)),
            security=security,
            silence_logs=logging.CRITICAL,
            name="fnrbc batch",
        )
        try:
            with Client(cluster, security=security, set_as_default=False) as client:
                yield client
                _let_all_start(client, number)
        finally:
            cluster.close()


def _let_all_start(client: "Client", number: int) -> None:
    """Wait for those that were started again: ended in the middle of it, they die with a traceback."""
    from distributed import TimeoutError as TookTooLong

    with suppress(TookTooLong):
        client.wait_for_workers(number, timeout=_START_S)


def _key_of_this_run() -> Any:
    from distributed import Security

    return Security.temporary()


def _scheduler(security: Any, dashboard: int | None) -> dict[str, Any]:
    from distributed import Scheduler

    from fnrbc_device.batch.quiet import QuietScheduler

    options = {"host": _LOOPBACK, "protocol": "tls://", "port": 0, "security": security}
    if dashboard is None:
        return {"cls": QuietScheduler, "options": {**options, "dashboard": False}}
    page = {"dashboard": True, "dashboard_address": f"{_LOOPBACK}:{dashboard}"}
    return {"cls": Scheduler, "options": {**options, **page}}


def _worker(security: Any, number: int) -> dict[str, Any]:
    from distributed import Nanny

    from fnrbc_device.batch.quiet import QuietWorker

    options = {
        "host": _LOOPBACK,
        "protocol": "tls://",
        "nthreads": 1,
        "memory_limit": 1.0 / number,
        "security": security,
        "silence_logs": logging.CRITICAL,
        "worker_class": QuietWorker,
        "dashboard": False,
        "config": _LOCAL_SETTINGS,
    }
    return {"cls": Nanny, "options": options}
