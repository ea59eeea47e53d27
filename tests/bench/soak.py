"""Lets the daemon count many simulated frames, and looks whether it grows, leaks or falls behind.

    python tests/bench/soak.py --frames 100000 --fps 30

Memory is said as medians of the second and of the last tenth of the run; latency from the camera to the tally, which
on a machine shared with others is theirs too, and beside it the counting thread's own time on a processor. Another
process looks at the live page meanwhile.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fnrbc_device.camera.simulated.hand import hand_path
from fnrbc_device.camera.simulated.microscope import FRAME_SHAPE, SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.daemon.run import share_the_processor
from fnrbc_device.host.malloc import keep_large_buffers
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView


class Watch(LiveView):
    """Notes what the process takes, and how late each tally is."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self._every = max(1, frames // 200)
        self._frames = 0
        self.rss_kb: list[int] = []
        # Written to now: lists that grew with the frames would be taken for a growth of the daemon.
        self._late_ms, self._busy_ms = (np.full(frames + 1000, np.nan) for _ in range(2))
        self._thread_s = 0.0

    def show(self, snapshot) -> None:
        super().show(snapshot)
        if snapshot.step is None:
            return
        self._late_ms[self._frames] = 1e3 * (time.monotonic() - snapshot.step.frame.captured_at_s)
        before, self._thread_s = self._thread_s, time.thread_time()
        self._busy_ms[self._frames] = 1e3 * (self._thread_s - before)
        self._frames += 1
        if self._frames % self._every == 0:
            self.rss_kb.append(rss_kb())

    @property
    def late_ms(self) -> np.ndarray:
        return self._late_ms[: self._frames]

    @property
    def busy_ms(self) -> np.ndarray:
        return self._busy_ms[1 : self._frames]


def rss_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def held() -> dict[str, int]:
    descriptors = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own is gone by now
            descriptors.append(str(entry.readlink()))
    return {
        "threads": threading.active_count(),
        "sockets": sum("socket" in one for one in descriptors),
        "files": sum(one.startswith("/") and not one.startswith("/proc") for one in descriptors),
    }


@contextlib.contextmanager
def page_open(live: LiveView, viewers: int) -> Iterator[None]:
    """So many look at the page, in a process of their own."""
    if not viewers:
        yield
        return
    server = WebServer(live)
    server.start()
    bench = Path(__file__).with_name("viewers.py")
    command = [sys.executable, str(bench), "--look", server.url, "--viewers", str(viewers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as others:
        while server.viewers < viewers:
            time.sleep(0.1)
        yield
        others.communicate("\n", timeout=20.0)
    server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--viewers", type=int, default=1)
    options = parser.parse_args()
    keep_large_buffers()
    share_the_processor()
    slide = SimulatedSlide.make(options.seed, "giemsa", options.cells)
    path = hand_path(slide.image.shape, FRAME_SHAPE, options.seed, options.frames)[: options.frames]
    watch, before = Watch(options.frames), held()
    with tempfile.TemporaryDirectory() as folder, page_open(watch, options.viewers):
        setup = Setup(
            source=SimulatedMicroscope(slide, path, seed=options.seed, fps=options.fps),
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=Path(folder) / "journal.sqlite",
            mqtt=MqttSettings(enabled=False),
            live=watch,
        )
        tally = Daemon(setup).run(threading.Event())
        fault = prove(setup.journal_path).fault
        journal_mb = setup.journal_path.stat().st_size / 1e6
    tenth = max(1, len(watch.rss_kb) // 10)
    second, last = np.median(watch.rss_kb[tenth : 2 * tenth]), np.median(watch.rss_kb[-tenth:])
    result = {
        "frames": tally.frames,
        "dropped": tally.frames_dropped,
        "cells": tally.cells,
        "rss_mb_second_tenth": round(second / 1e3, 1),
        "rss_mb_last_tenth": round(last / 1e3, 1),
        "growth_percent": round(100 * (last / second - 1), 2),
        "late_ms_p50": round(float(np.percentile(watch.late_ms, 50)), 1),
        "late_ms_p99": round(float(np.percentile(watch.late_ms, 99)), 1),
        "late_share_over_two_intervals": round(float(np.mean(watch.late_ms > 2e3 / options.fps)), 4),
        "busy_ms_p50": round(float(np.percentile(watch.busy_ms, 50)), 1),
        "busy_ms_p99": round(float(np.percentile(watch.busy_ms, 99)), 1),
        "busy_ms_most": round(float(watch.busy_ms.max()), 1),
        "two_intervals_ms": round(2e3 / options.fps, 1),
        "left_over": {name: number - before[name] for name, number in held().items() if number > before[name]},
        "journal_mb": round(journal_mb, 1),
        "audit": fault or "whole",
    }
    print(json.dumps(result, indent=2))
    sys.exit(bool(result["left_over"] or fault))


if __name__ == "__main__":
    main()
