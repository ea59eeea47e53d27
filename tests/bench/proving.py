"""What it costs to prove a record, and what becomes of flipped bits in its file and in its write-ahead file.

python tests/bench/proving.py cost --frames 50000 --events 5000
python tests/bench/proving.py flips --database 1000 --wal 300
"""

import argparse
import runpy
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from fnrbc_device.errors import FnrbcError
from fnrbc_device.following.copy_check import held_against
from fnrbc_device.following.devices import FollowedDevice
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.journal.proof import prove
from records import META, NOON, full_record

STEP = runpy.run_path(str(Path(__file__).parents[1] / "device" / "conftest.py"))["step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subject = parser.add_subparsers(dest="subject", required=True)
    cost_of = subject.add_parser("cost")
    cost_of.add_argument("--frames", type=int, default=50_000)
    cost_of.add_argument("--events", type=int, default=5_000)
    flipped = subject.add_parser("flips")
    flipped.add_argument("--database", type=int, default=1000)
    flipped.add_argument("--wal", type=int, default=300)
    flipped.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.subject == "cost":
            cost(Path(name), options.frames, options.events)
        else:
            flips(Path(name), options.database, options.wal, options.seed)


def cost(folder: Path, frames: int, events: int) -> None:
    """Processor time of a proof, for the whole record and for a tenth of it: linear where the ratio is 10."""
    spent = {}
    for share in (10, 1):
        path = folder / f"{share}.sqlite"
        _record(path, frames // share, events // share)
        spent[share] = min(_proved_in(path) for _ in range(3))
        print(f"{frames // share} frames, {events // share} events: {spent[share]:.2f} s of processor time", flush=True)
    print(f"ten times as much took {spent[1] / spent[10]:.1f} times as long")


def _record(path: Path, frames: int, events: int) -> None:
    with Journal.open(path) as journal:
        journal._connection.execute("PRAGMA synchronous = OFF")
        journal._wait_for_disk = lambda wait: None
        journal.begin("s1", NOON, META)
        for index in range(frames):
            first = index * events // frames
            journal.record(STEP(index, list(range(first + 1, (index + 1) * events // frames + 1))))


def _proved_in(path: Path) -> float:
    before = time.process_time()
    proof = prove(path)
    assert proof.fault == "", proof.fault
    return time.process_time() - before


def flips(folder: Path, database: int, wal: int, seed: int) -> None:
    """Flip one bit at a time, and say what was seen, what harmed nothing and what shortened the record."""
    rng = np.random.default_rng(seed)
    whole, copy = folder / "whole", folder / "copy"
    whole.mkdir()
    full_record(whole / "journal.sqlite", STEP)
    _show("database", _flipped(whole, copy, "journal.sqlite", database, rng), database)
    with Journal.open(whole / "journal.sqlite") as journal:
        journal.resume("s3", {})
        for index in range(1, 30):
            journal.record(STEP(index, [100 + index]))
        shutil.copytree(whole, folder / "live")  # with its write-ahead file, as a kill leaves it
    _show("write-ahead file", _flipped(folder / "live", copy, "journal.sqlite-wal", wal, rng), wal)


def _flipped(whole: Path, copy: Path, name: str, times: int, rng: np.random.Generator) -> Counter[str]:
    lab = copy.with_name(f"{copy.name}-lab")
    shutil.rmtree(lab, ignore_errors=True)
    shutil.copytree(whole, copy, dirs_exist_ok=True)
    _follow(copy / "journal.sqlite", lab)
    figures = _figures(copy / "journal.sqlite")
    found: Counter[str] = Counter()
    for _ in range(times):
        shutil.rmtree(copy)
        shutil.copytree(whole, copy)
        content = bytearray((copy / name).read_bytes())
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        (copy / name).write_bytes(content)
        found[_outcome(copy / "journal.sqlite", lab, figures)] += 1
    shutil.rmtree(copy)
    return found


def _outcome(path: Path, lab: Path, figures: list[object]) -> str:
    try:
        if prove(path).fault:
            return "seen"
        now = _figures(path)
        against = held_against(path, lab).fault
    except FnrbcError:
        return "seen"
    if now == figures:
        return "harmless"
    return "shortened, said by --against" if "cut short" in against else "NOT SEEN"


def _figures(path: Path) -> list[object]:
    """All that was counted."""
    from fnrbc_device.journal.read_only import reading

    with reading(path) as connection:
        tables = ("sessions", "frames", "joins", "events", "reviews")
        return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def _follow(path: Path, lab: Path) -> None:
    """The laboratory has every message that is still there."""
    device = FollowedDevice(lab, "fnrbc")
    with closing(Outbox(path)) as outbox:
        oldest = outbox.oldest_seq()
        for message in [*outbox.again(0, 10**6, 10**6), *outbox.pending(0, 10**6)]:
            if message.seq == oldest:
                journal = device._journal(_epoch(message.payload))
                assert journal is not None
                journal.copy.skip_to(oldest)
            device.hear(message.topic, message.payload.encode())
    device.close()


def _epoch(payload: str) -> str:
    import json

    return str(json.loads(payload)["epoch"])


def _show(what: str, found: Counter[str], times: int) -> None:
    print(f"{times} flipped bits in the {what}: " + ", ".join(f"{n} {name}" for name, n in found.most_common()))


if __name__ == "__main__":
    main()
