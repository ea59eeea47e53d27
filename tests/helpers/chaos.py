"""Chaos between a counting device and whoever keeps its log: kills of both and of the broker, and a bad network."""

import contextlib
import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fnrbc_device.reporting.spreadsheet import guarded
from proxy import BadNetwork


class KillableBroker(Protocol):
    port: int

    def start(self) -> None: ...

    def kill(self) -> None: ...


class Child:
    """A process that is killed and started again."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = list(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        if self._process is None or self._process.poll() is not None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def end(self, by: signal.Signals) -> int:
        """End it; returns its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(by)
        return self._process.wait(30)


@dataclass
class Chaos:
    """Everything that can go wrong, at random moments."""

    device: Child
    follower: Child
    broker: KillableBroker
    network: BadNetwork
    seed: int
    events: dict[str, int] = field(default_factory=dict)

    def rage(self, seconds: float, pause_s: float) -> None:
        """Let things go wrong for a time; afterwards all is up again."""
        rng = random.Random(self.seed)
        things: list[Callable[[], None]] = [
            self._kill_device, self._kill_broker, self._kill_follower,
            self._stall, self.network.cut, self.network.reset,
        ]  # fmt: skip
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.2, 1.8) * pause_s)
            thing = rng.choice(things)
            self.events[thing.__name__] = self.events.get(thing.__name__, 0) + 1
            thing()
        self.network.flow()

    def _kill_device(self) -> None:
        self.device.end(signal.SIGKILL)
        self.device.start()

    def _kill_follower(self) -> None:
        self.follower.end(signal.SIGKILL)
        self.follower.start()

    def _kill_broker(self) -> None:
        self.broker.kill()
        time.sleep(0.1)
        self.broker.start()

    def _stall(self) -> None:
        self.network.stall()
        time.sleep(0.5)
        self.network.flow()


def fnrbc(*words: object) -> list[str]:
    return [sys.executable, "-m", "fnrbc_device.cli", *map(str, words)]


def recorded(journal: Path) -> list[dict[str, object]]:
    """What the journal's log holds: the truth."""
    with closing(sqlite3.connect(journal)) as database:
        rows = database.execute("SELECT payload FROM outbox ORDER BY seq").fetchall()
    return [json.loads(payload) for (payload,) in rows]


def copied(folder: Path) -> list[dict[str, str]]:
    """What a follower kept of one device."""
    files = list(folder.glob("*.csv"))
    if not files:
        return []
    assert len(files) == 1, files
    with files[0].open(newline="") as file:
        return list(csv.DictReader(file))


def differences(truth: list[dict[str, object]], copy: list[dict[str, str]]) -> list[str]:
    """What is missing, double, out of order or not as it was recorded; the mark of a replay aside."""
    found = []
    if [row["seq"] for row in copy] != [str(one["seq"]) for one in truth]:
        found.append(f"numbers: {len(truth)} recorded, {len(copy)} copied")
    for one, row in zip(truth, copy, strict=False):
        wrong = [name for name, value in one.items() if name != "replayed" and row[name] != in_csv(value)]
        found += [f"record {one['seq']}: {name} is {row[name]!r}, not {one[name]!r}" for name in wrong]
    return found


def in_csv(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return json.dumps(value)
    return guarded(value) if isinstance(value, str) else str(value)


def wait_for_records(journal: Path, count: int, timeout_s: float) -> None:
    """Wait until a journal holds so many records; a device that starts takes its time on a busy machine."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.OperationalError):  # not made yet
            if len(recorded(journal)) >= count:
                return
        time.sleep(0.1)


def wait_for_all(journal: Path, folder: Path, timeout_s: float) -> None:
    """Wait until a follower has as many records as the journal, which has come to rest, or time runs out."""
    deadline = time.monotonic() + timeout_s
    rests_since, before = time.monotonic(), -1
    while time.monotonic() < deadline:
        now = len(recorded(journal))
        if now != before:
            rests_since, before = time.monotonic(), now
        elif time.monotonic() - rests_since > 1.0 and len(copied(folder)) >= now:
            return
        time.sleep(0.2)


def environment_is_ours() -> None:
    """Children must run the same sources as we do."""
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
