"""Work for a batch that is harder than usual: run as a program, it is that batch, on two workers here.

    python deadly.py OUT SOURCE...

A source named ``deadly`` ends whichever worker takes it up, at once and without a word, as a lack of memory does. A
slide is shared out tile by tile, and the first worker that takes up its second region dies of it.
"""

import os
import signal
import sys
import threading
from collections import deque
from pathlib import Path

from fnrbc_device.batch.counting import Order, Outcome, count_one
from fnrbc_device.batch.job import Asked, Crew, do
from fnrbc_device.batch.local import workers_here
from fnrbc_device.batch.progress import Progress
from fnrbc_device.batch.rows import Basis, BatchFolder
from fnrbc_device.batch.run import Batch
from fnrbc_device.batch.sources import Settings, sources_of
from fnrbc_device.batch.table import Table
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.slides import plan


def deadly(order: Order) -> Outcome:
    if order.source.path.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    plan.REGION_TILES = 1
    if order.part is not None and 1 in order.part.regions:
        died = order.part.folder / "died"
        if not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return count_one(order)


def main() -> None:
    import deadly as mine  # by the name under which a worker finds it
    import fnrbc_device
    from fnrbc_device.batch.fingerprint import fingerprint

    out, *given = map(Path, sys.argv[1:])
    folder, sources = BatchFolder(out), sources_of(given, Settings(pixel_size_um=0.125))
    basis = Basis(load_bundle(None).id, fnrbc_device.__version__)
    orders = [Order(one, fingerprint(one.path).digest, None, basis, folder.work) for one in sources]
    batch = Batch(folder, deque(orders), mine.deadly, Progress({}), Table(folder, sources), threading.Event())
    do(batch, Asked(sources, None, basis), Crew(lambda: workers_here(2, None), may_come_back=False))


if __name__ == "__main__":
    main()
