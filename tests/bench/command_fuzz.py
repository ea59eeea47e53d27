"""A hundred thousand fuzzed commands for a daemon over a real broker: what they change, and what they leave behind.

``python tests/bench/command_fuzz.py [--commands 100000] [--seed N] [--json]``; exit code 1 where one had an effect.
The daemon counts nothing meanwhile, so that all that grows is the commands'. Each is stale at best.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from chaos import Child, environment_is_ours, fnrbc
from fleet import resident_mb
from fnrbc_device.contract.commands import VERBS
from fnrbc_device.host.clock import iso_utc
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.journal.proof import prove
from fuzz import fuzzed
from mosquitto import Mosquitto, free_port

CONFIG = """
state_dir = "{folder}/state"
[session]
start = "by_hand"
[camera]
kind = "simulated"
[mqtt]
port = {port}
site = "lab"
device = "bench"
[web]
enabled = false
"""
BROKER = """
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
"""
"""Keeps nothing from the device, however slow it is."""

BASE = "fnrbc/v1/lab/bench"
WARM_UP = 2000
"""Commands before memory is first looked at: what is used once is used up to here."""


BATCH = 10_000
"""Commands on their way at once: paho refuses more than 65,535."""


class Sender:
    """Sends commands, as fast as the broker takes them, and hears the device's states."""

    def __init__(self, port: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._good = json.dumps({"id": "r1", "ts": "2026-03-01T12:00:00Z", "from_seq": 1, "to_seq": 9}).encode()
        self.states: list[str] = []
        self.online = self.answered = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "fuzz", protocol=paho.MQTTv5)
        self._client.max_queued_messages_set(0)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe([(f"{BASE}/session", 1), (f"{BASE}/availability", 1), (f"{BASE}/reply/after", 1)])
        self._client.loop_start()

    def send(self, count: int) -> None:
        verbs, users = [*VERBS, "reboot", "PAUSE", "..", "pause "], ["anna", "A", "a" * 100, "bert", "%s"]
        for number in range(1, count + 1):
            topic = f"{BASE}/cmd/{self._random.choice(users)}/{self._random.choice(verbs)}"
            retain = self._random.random() < 0.01
            sent = self._client.publish(topic, fuzzed(self._random, self._good), qos=1, retain=retain)
            if number in (count, number // BATCH * BATCH):
                sent.wait_for_publish(300)

    def wait_for_answer(self, seconds: float) -> bool:
        """Ask whether the device still answers, until it does: what was sent before is dealt with by then."""
        until_s = time.monotonic() + seconds
        while not self.answered and time.monotonic() < until_s:
            now = iso_utc(datetime.now(timezone.utc))
            self._client.publish(f"{BASE}/cmd/after/ping", json.dumps({"id": now.replace(":", ""), "ts": now}), qos=1)
            time.sleep(1)
        return self.answered

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/session"):
            self.states.append(json.loads(message.payload)["state"])
        elif "/reply/" in message.topic:
            self.answered |= json.loads(message.payload)["accepted"]
        else:
            self.online = message.payload == b"online"


def run(folder: Path, commands: int, seed: int) -> dict[str, object]:
    (folder / "mosquitto").mkdir()
    port = free_port()
    broker = Mosquitto(folder / "mosquitto", conf=BROKER.format(port=port), port=port)
    broker.start()
    (folder / "fnrbc.toml").write_text(CONFIG.format(folder=folder, port=broker.port))
    device = Child(fnrbc("run", "--config", folder / "fnrbc.toml"), folder / "device.log")
    sender = Sender(broker.port, seed)
    journal = folder / "state" / "journal.sqlite"
    try:
        device.start()
        deadline = time.monotonic() + 60
        while not sender.online:
            assert time.monotonic() < deadline, (folder / "device.log").read_text()
            time.sleep(0.1)
        sender.send(WARM_UP)
        time.sleep(2)
        before, began_s = (resident_mb(device.pid), journal_bytes(journal)), time.monotonic()
        sender.send(commands - WARM_UP)
        answered = sender.wait_for_answer(120)
        took_s = time.monotonic() - began_s
        after = (resident_mb(device.pid), journal_bytes(journal))
        code = device.end(signal.SIGTERM)
    finally:
        device.end(signal.SIGKILL)
        sender.close()
        broker.stop()
    records = audit(journal)
    return {
        "seed": seed, "commands": commands, "a_second": round((commands - WARM_UP) / took_s),
        "accepted": sum(one["outcome"] == "accepted" for one in records), "states": sender.states,
        "records": len(records), "refusals_they_stand_for": sum(one["times"] for one in records),
        "still_answers": answered, "codes": sorted({one["code"] for one in records}),
        "exit_code": code, "fault": prove(journal).fault,
        "grew_mb": round(after[0] - before[0], 1), "journal_grew_kb": round((after[1] - before[1]) / 1000),
    }  # fmt: skip


def journal_bytes(journal: Path) -> int:
    return sum(one.stat().st_size for one in journal.parent.glob("journal.sqlite*"))


def audit(journal: Path) -> list[dict[str, object]]:
    with closing(Outbox(journal)) as outbox:
        messages = [*outbox.pending(0, 10_000), *outbox.again(1, 10_000, 10_000)]
    return [json.loads(one.payload) for one in messages if one.topic == "log/audit"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    environment_is_ours()
    with tempfile.TemporaryDirectory(prefix="fnrbc-fuzzing-") as folder:
        result = run(Path(folder), given.commands, given.seed)
    print(json.dumps(result) if given.json else "\n".join(f"{name}: {value}" for name, value in result.items()))
    unharmed = result["still_answers"] and not result["accepted"]
    sys.exit(bool(not unharmed or result["exit_code"] or result["fault"] or set(result["states"]) - {"idle"}))


if __name__ == "__main__":
    main()
