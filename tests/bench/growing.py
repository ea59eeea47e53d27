"""What grows with the session, and how fast: cost for one more of the same, with a few and with many of them before.

    python tests/bench/growing.py

Each line says the processor time a link, crop, frame or cell for three sizes, and the last over the first: 1 where a
session that is longer makes none of them dearer. A step that is quadratic says 16 where the sizes lie 16 apart.
"""

import argparse
import gc
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from costs import FAR_PX, SHAPE, fill
from fnrbc_device.counting.cell import View
from fnrbc_device.counting.ledger import Ledger
from fnrbc_device.counting.merging import agrees, merge
from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.queries import Kept
from fnrbc_device.journal.read_only import reading
from fnrbc_device.learning.drift import drifts
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Join, Pose
from fnrbc_device.sessions.labels import kept_cells
from fnrbc_device.vision.keyframes import Keyframes
from fnrbc_device.vision.relocation import Proposal, Relocation, Sight
from records import META, NOON

STEP: Final = runpy.run_path(str(Path(__file__).parents[1] / "device" / "conftest.py"))["step"]
PIXEL_UM: Final = 0.125
TURNS: Final = 3
"""The least of so many counts: what else the machine does only adds."""



def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS), help=f"of {', '.join(SUBJECTS)}")
    cv2.setNumThreads(1)
    for name in parser.parse_args().subjects:
        cost, sizes = SUBJECTS[name]
        with tempfile.TemporaryDirectory() as folder:
            costs = [cost(Path(folder), size) for size in sizes]
        said = ", ".join(f"{size}: {us:.1f} us" for size, us in zip(sizes, costs, strict=True))
        times = sizes[-1] // sizes[0]
        print(f"{name:9} {said}; {times} times as many, {costs[-1] / costs[0]:.2f} times as dear", flush=True)


def verify(folder: Path, links: int) -> float:
    """``fnrbc verify``, a link of a record: an event each tenth frame, half of the messages let go of."""
    path = _record(folder, links)
    return _least(lambda: prove(path)) / links


def drift(folder: Path, cells: int) -> float:
    """``fnrbc drift``, a cell whose crop is kept."""
    path, bundle = _record(folder, cells, crops=True), load_bundle(None)

    def told() -> None:
        with reading(path) as connection:
            drifts(kept_cells(connection, "s1"), bundle)

    return _least(told) / cells


def relocate(_folder: Path, kept: int) -> float:
    """A frame after a loss, by the keyframes that are kept: pictures with nothing in common."""
    rng = np.random.default_rng(0)
    greys = [_spots(rng) for _ in range(64)]
    keyframes = Keyframes()
    for number in range(kept):
        keyframes.add(Pose(number // 64, 0.0, 1200.0 * (number % 64)), number, greys[number % 64], 4.0, 0.5)
    relocation, last = Relocation(keyframes), keyframes.get(kept - 1)
    assert last is not None
    sight = Sight(kept + 1, last.pose, last.density())
    relocation.search(sight)
    return _least(lambda: [relocation.search(sight) for _ in range(10)]) / 10


def join(_folder: Path, cells: int) -> float:
    """A cell of 1,000 on an island that is joined to one of so many: agreed on and moved."""
    took = []
    for _ in range(TURNS):
        ledger = Ledger(PIXEL_UM, SHAPE)
        fill(ledger, cells)
        for cell in ledger.of_island(0)[:1_000]:
            ledger.lay(cell, Pose(1, cell.row_px, cell.col_px))
        took.append(_spent(partial(_joined, ledger, Join(1, 0, 0.0, 0.0))))
    return min(took) / 1_000


def _joined(ledger: Ledger, made: Join) -> None:
    assert agrees(ledger, Proposal(made, (FAR_PX, FAR_PX, FAR_PX + SHAPE[0], FAR_PX + SHAPE[1])), PIXEL_UM)
    merge(ledger, made, PIXEL_UM)


def paint(_folder: Path, frames: int) -> float:
    """A frame on the slide map, by the frames that were painted: all of them side by side."""
    image, slide_map = np.full((*SHAPE, 3), 200, np.uint8), SlideMap(PIXEL_UM, SHAPE)
    for number in range(frames):
        slide_map.paint(Pose(0, SHAPE[0] * (number // 40), SHAPE[1] * (number % 40)), image)
    back_and_forth = [Pose(0, 0.0, 20.0 * shift) for shift in range(40)]
    return _least(lambda: [slide_map.paint(one, image) for one in back_and_forth]) / len(back_and_forth)


SUBJECTS: Final[dict[str, tuple[Callable[[Path, int], float], tuple[int, ...]]]] = {
    "verify": (verify, (2_000, 8_000, 32_000)),
    "relocate": (relocate, (128, 512, 2_048)),
    "join": (join, (2_000, 8_000, 32_000)),
    "paint": (paint, (100, 400, 1_600)),
    "drift": (drift, (25, 100, 400)),
}


def _record(folder: Path, links: int, *, crops: bool = False) -> Path:
    """A session of so many frames; each counts a cell with its crop, or every tenth one without."""
    path = folder / f"{links}.sqlite"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    with Journal.open(path) as journal:
        journal._connection.execute("PRAGMA synchronous = OFF")
        journal._wait_for_disk = lambda wait: None
        journal.begin("s1", NOON, META)
        for index in range(links):
            new = [index + 1] if crops or index % 10 == 0 else []
            journal.record(STEP(index, new), _kept(new, rng) if crops else Kept())
    with closing(Outbox(path)) as outbox:
        told = outbox.pending(0, links)
        half = told[: len(told) // 2]
        outbox.acknowledge([Acknowledgement(one.seq, "acked", "") for one in half], NOON)
        outbox.prune(NOON + timedelta(days=1), 10**9)
    return path


def _kept(cells: list[int], rng: np.random.Generator) -> Kept:
    picture = cv2.GaussianBlur(rng.integers(0, 255, (120, 120, 3)).astype(np.uint8), (0, 0), 4)
    return Kept({cell: [View(1.0, 0, picture, picture, 24.0)] for cell in cells})


def _spots(rng: np.random.Generator) -> Any:
    grey = np.full((240, 320), 240, np.uint8)
    for row, col in rng.integers(0, (240, 320), (60, 2)).tolist():
        cv2.circle(grey, (col, row), int(rng.integers(4, 8)), 150, -1)
    return grey


def _least(work: Callable[[], object]) -> float:
    """Least processor time of some turns, us."""
    return min(_spent(work) for _ in range(TURNS))


def _spent(work: Callable[[], object]) -> float:
    with _no_garbage():
        before = time.process_time()
        work()
        return 1e6 * (time.process_time() - before)


@contextmanager
def _no_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
