"""Many devices on one broker: from the count to the dashboard, messages a second, and what the broker needs.

``python tests/bench/fleet.py [--devices 1 10 50 200] [--seconds 20] [--each-second] [--json]``. Each device has a
journal and the publisher of a real one; it counts ``RATE_HZ`` cells a second, with a tally after each frame and its
health. Devices share ``PROCESSES`` processes. A dashboard in a process of its own hears all states and the log. The
journals lie in memory where there is room: in a fleet each device has a disk of its own, and one disk brings some 460
commits a second.
Percents are of one core; where others use this machine, the simulated devices bring fewer records than they should.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from multiprocessing.synchronize import Event, Semaphore
from pathlib import Path

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fnrbc_device.health import Health
from fnrbc_device.host.clock import SystemClock, iso_utc
from fnrbc_device.journal.journal import Journal
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.mqtt.state_reporter import StateReporter
from fnrbc_device.records import CountEvent, Frame, Pose, SessionMeta, Step, Tally, Verdict
from mosquitto import Mosquitto

RATE_HZ = 2.0
"""Cells a second and device: a slide of 600 nucleated cells in five minutes."""

PROCESSES = 8
MEMORY = Path("/dev/shm")
EMPTY = np.zeros((4, 4, 3), np.uint8)
HEALTH = Health("counting", (), 30.0, 100.0, 1.0, 10.0, 20.0)


class FleetDevice:
    """A device that counts without looking: the record and the publishing are the real ones."""

    def __init__(self, folder: Path, port: int, name: str) -> None:
        self._journal = Journal.open(folder / f"{name}.sqlite", name)
        self._publisher = Publisher(folder / f"{name}.sqlite", MqttSettings(port=port, device=name))
        now, clock = datetime.now(timezone.utc), SystemClock()
        self._journal.begin("s1", now, SessionMeta("fleet", "none", "simulated", 0.1))
        self._reporter = StateReporter(self._publisher, name, "none", "simulated", clock)
        self._reporter.introduce(self._journal.log_state)
        self._reporter.begin("s1", now, self._journal.last_seq)
        self._publisher.start()
        self._cells = 0

    def count(self) -> None:
        self._cells += 1
        verdict = Verdict("fnrbc", "target", 0.9, 0.9)
        event = CountEvent("counted", self._cells, verdict, 1, 0, 0, 0, 0, 10, 0.4, 3, 0, "")
        tally = Tally(fnrbc=self._cells, cells=self._cells, frames=self._cells)
        frame = Frame(self._cells, self._cells / RATE_HZ, EMPTY)
        step = Step(frame, Pose(1, 0, 0), None, [], [event], tally, 0.0, 1.0, {})
        seq = self._journal.record(step)
        self._reporter.tell(tally, seq)
        self._reporter.tell_health(HEALTH, seq)

    def close(self) -> None:
        self._publisher.stop(5)
        self._journal.close()


def run_devices(folder: Path, port: int, names: list[str], ready: Semaphore, stop: Event) -> None:
    """Run some devices of the fleet, spread over each period as real ones would be."""
    devices = [FleetDevice(folder, port, name) for name in names]
    ready.release()
    pause_s = 1 / RATE_HZ / len(devices)
    due_s = time.monotonic()
    while not stop.is_set():
        for device in devices:
            device.count()
            due_s += pause_s
            time.sleep(max(0.0, due_s - time.monotonic()))
    for device in devices:
        device.close()


def listen(port: int, start: Event, stop: Event, result: "multiprocessing.Queue[dict[str, float]]") -> None:
    """Be the dashboard: how late each record is when it is heard, by the clock that both share."""
    late_ms: list[float] = []
    heard = 0

    def on_message(_client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        nonlocal heard
        if not start.is_set():
            return
        heard += 1
        if message.topic.endswith("/log/cell"):
            late_ms.append(1000 * time.monotonic() - json.loads(message.payload)["mono_ms"])

    client = paho.Client(CallbackAPIVersion.VERSION2, "dashboard", protocol=paho.MQTTv5)
    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("fnrbc/#", qos=1)
    client.connect("127.0.0.1", port)
    while not stop.is_set():
        client.loop(0.1)
    client.disconnect()
    p50, p99 = np.percentile(late_ms, [50, 99]) if late_ms else (0.0, 0.0)
    late = {"p50_ms": round(float(p50), 1), "p99_ms": round(float(p99), 1)}
    result.put({"heard": heard, "records": len(late_ms), **late})


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_s() -> float:
    """What all processes of this machine have used of its cores."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    user, nice, system, _, _, interrupts, soft = map(int, fields)
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(count: int, seconds: float, folder: Path, each_second: bool) -> dict[str, float]:
    """Run a fleet of ``count`` devices; figures of the time after all of them were up."""
    (folder / "mosquitto").mkdir()
    broker = Mosquitto(folder / "mosquitto", each_second=each_second)
    broker.start()
    pid = int(subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()[0])
    start, stop, stop_listening = (multiprocessing.Event() for _ in range(3))
    result: multiprocessing.Queue[dict[str, float]] = multiprocessing.Queue()
    names = [f"d{number:03d}" for number in range(count)]
    groups = [names[first::PROCESSES] for first in range(min(PROCESSES, count))]
    dashboard = multiprocessing.Process(target=listen, args=(broker.port, start, stop_listening, result))
    ready = multiprocessing.Semaphore(0)
    fleet = [
        multiprocessing.Process(target=run_devices, args=(folder, broker.port, group, ready, stop)) for group in groups
    ]
    for process in (dashboard, *fleet):
        process.start()
    for _ in groups:
        assert ready.acquire(timeout=120), "the fleet does not start"
    time.sleep(5)
    start.set()
    ours = [process.pid or 0 for process in (dashboard, *fleet)]
    before, before_s = (cpu_s(pid), sum(map(cpu_s, ours)), busy_s()), time.monotonic()
    time.sleep(seconds)
    wall_s = time.monotonic() - before_s
    after = (cpu_s(pid), sum(map(cpu_s, ours)), busy_s())
    share, simulation, busy = (100 * (one - other) / wall_s for one, other in zip(after, before, strict=True))
    memory = resident_mb(pid)
    start.clear()
    stop_listening.set()
    figures = result.get(timeout=30)
    stop.set()
    for process in (dashboard, *fleet):
        process.join(30)
    broker.stop()
    return {
        "devices": count, "records_wanted_per_s": RATE_HZ * count,
        "records_per_s": round(figures["records"] / wall_s, 1), "messages_per_s": round(figures["heard"] / wall_s, 1),
        "p50_ms": figures["p50_ms"], "p99_ms": figures["p99_ms"],
        "broker_cpu_percent": round(share, 1), "broker_mb": round(memory, 1),
        "simulation_cpu_percent": round(simulation), "others_cpu_percent": round(busy - share - simulation),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 10, 50, 200])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--each-second", action="store_true", help="the broker writes to disk once a second")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = []
    for count in given.devices:
        with tempfile.TemporaryDirectory(prefix="fnrbc-fleet-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
            rows.append(measure(count, given.seconds, Path(folder), given.each_second))
        if not given.json:
            print(rows[-1] | {"at": iso_utc(datetime.now(timezone.utc))}, flush=True)
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
