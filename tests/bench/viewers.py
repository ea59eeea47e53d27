"""What viewers of the live page cost the counting, in one run, over real sockets.

    python tests/bench/viewers.py --viewers 20 --phases 8 --seconds 5

The analyser counts as fast as it can, in turns with nobody looking and with all viewers, who are another process.
Beside frames/s the processor time is said, which other work on the machine does not change: of the counting thread a
frame, and of all other threads of this process a second. Memory is said after each turn with viewers.
"""

import argparse
import json
import select
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.health import HealthMonitor
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Frame
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView, Snapshot

CONNECT_TIMEOUT_S = 20.0
ASK = b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


def look(url: str, viewers: int) -> None:
    """Read as many streams as viewers have until the input ends; prints the bytes each of them got."""
    where = urlsplit(url)
    streams = [socket.create_connection((where.hostname, where.port), CONNECT_TIMEOUT_S) for _ in range(viewers)]
    got = dict.fromkeys(streams, 0)
    for stream in streams:
        stream.sendall(ASK)
    ended = False
    while not ended:
        ready, _, _ = select.select([*streams, sys.stdin], [], [], 1.0)
        for stream in ready:
            if stream is sys.stdin:
                ended = True
            else:
                got[stream] += len(stream.recv(1 << 20))
    print(json.dumps(list(got.values())))


def rss_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


@dataclass(frozen=True, slots=True)
class Turn:
    """What some seconds of counting came to."""

    fps: float
    ms_a_frame: float
    """Processor time of the counting thread."""
    others: float
    """Processor time of all other threads, a second."""


class Counting:
    """Counts a pan that goes back and forth for ever."""

    def __init__(self, live: LiveView, seed: int) -> None:
        slide = SimulatedSlide.make(seed, "giemsa", 60)
        microscope = SimulatedMicroscope(slide, seed=seed)
        images = [microscope.read().image for _ in range(120)]
        self._images = cycle([*images, *images[::-1]])
        self._bundle = load_bundle(None)
        self._analyser = Analyser(slide.pixel_size_um, OnnxClassifier(self._bundle), self._bundle.manifest)
        self._live, self._health, self._frames = live, HealthMonitor(), 0

    def run(self, seconds: float) -> Turn:
        """Count for a time."""
        began, first = time.monotonic(), self._frames
        mine, all_threads = time.thread_time(), time.process_time()
        while (now := time.monotonic()) - began < seconds:
            step = self._analyser.analyse(Frame(self._frames, now, next(self._images)))
            self._health.watch(step, now, now, 0)
            um, seen = self._analyser.pixel_size_um, self._analyser.slide_map
            health = self._health.snapshot("counting", now)
            self._live.show(Snapshot(step, "s", "running", health, um, self._bundle.id, True, seen))
            self._frames += 1
        frames, mine = self._frames - first, time.thread_time() - mine
        others = time.process_time() - all_threads - mine
        return Turn(frames / (now - began), 1e3 * mine / frames, others / (now - began))


def bench(viewers: int, phases: int, seconds: float, seed: int) -> dict[str, object]:
    """Take turns."""
    live = LiveView()
    server = WebServer(live)
    server.start()
    counting = Counting(live, seed)
    counting.run(seconds)
    alone, watched, rss, got = [], [], [], []
    for phase in range(phases):
        if phase % 2 == 0:
            alone.append(counting.run(seconds))
            continue
        command = [sys.executable, __file__, "--look", server.url, "--viewers", str(viewers)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as others:
            while server.viewers < viewers:
                counting.run(0.2)
            watched.append(counting.run(seconds))
            got = json.loads(others.communicate("\n", timeout=CONNECT_TIMEOUT_S)[0])
        while server.viewers:
            counting.run(0.2)
        rss.append(rss_mb())
    server.stop()
    # Each turn with viewers is held against the turn before it: the machine may have other work.
    pairs = list(zip(alone, watched, strict=True))
    return {
        "viewers": viewers,
        "fps_alone": [round(one.fps, 1) for one in alone],
        "fps_watched": [round(one.fps, 1) for one in watched],
        "fps_ratio_median": round(statistics.median(w.fps / a.fps for a, w in pairs), 3),
        "ms_a_frame_alone": [round(one.ms_a_frame, 2) for one in alone],
        "ms_a_frame_watched": [round(one.ms_a_frame, 2) for one in watched],
        "ms_ratio_median": round(statistics.median(w.ms_a_frame / a.ms_a_frame for a, w in pairs), 3),
        "other_threads_alone": round(statistics.median(one.others for one in alone), 3),
        "other_threads_watched": round(statistics.median(one.others for one in watched), 3),
        "kb_a_viewer": [round(min(got) / 1e3), round(max(got) / 1e3)],
        "rss_mb": [round(one, 1) for one in rss],
    }


def main() -> None:
    """Run the bench, or be its viewers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--phases", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.look:
        look(asked.look, asked.viewers)
    else:
        print(json.dumps(bench(asked.viewers, asked.phases, asked.seconds, asked.seed), indent=2))


if __name__ == "__main__":
    main()
