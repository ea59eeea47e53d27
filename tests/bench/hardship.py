"""A minute of kills of the daemon, the broker and the follower over a bad network; the copy must be the journal.

``python tests/bench/hardship.py [--seconds 60] [--seed N] [--json]``; exit code 1 where a record is missing or double.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from chaos import Chaos, Child, copied, differences, environment_is_ours, fnrbc, recorded, wait_for_all
from mosquitto import Mosquitto
from proxy import BadNetwork

CONFIG = """
state_dir = "{folder}/state"
[camera]
kind = "simulated"
seed = {seed}
[mqtt]
port = {port}
site = "lab"
device = "bench"
[web]
enabled = false
"""


def run(folder: Path, seconds: float, seed: int) -> dict[str, object]:
    (folder / "mosquitto").mkdir()
    broker = Mosquitto(folder / "mosquitto")
    broker.start()
    network = BadNetwork(broker.port, seed)
    network.start()
    (folder / "fnrbc.toml").write_text(CONFIG.format(folder=folder, seed=seed, port=network.port))
    device = Child(fnrbc("run", "--config", folder / "fnrbc.toml"), folder / "device.log")
    follower = Child(fnrbc("follow", "--out", folder / "copy", "--port", network.port), folder / "follow.log")
    chaos = Chaos(device, follower, broker, network, seed)
    journal = folder / "state" / "journal.sqlite"
    try:
        device.start()
        follower.start()
        time.sleep(8)  # a slide is made before the first frame
        chaos.rage(seconds, pause_s=4)
        device.start()
        follower.start()
        time.sleep(10)
        device.end(signal.SIGTERM)  # what it has not sent by then is sent by the next start
        device.start()
        wait_for_all(journal, folder / "copy", 60)
    finally:
        device.end(signal.SIGKILL)
        follower.end(signal.SIGTERM)
        network.close()
        broker.stop()
    truth, copy = recorded(journal), copied(folder / "copy")
    # The device is killed while it counts: what it wrote in its last moments had nobody to send it.
    last = min(len(truth), len(copy))
    return {
        "seed": seed, "seconds": seconds, "recorded": len(truth), "copied": len(copy), "events": chaos.events,
        "replayed": sum(row["replayed"] == "true" for row in copy),
        "unsent_at_the_end": len(truth) - last, "wrong": differences(truth[:last], copy)[:10],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(2), "big"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    environment_is_ours()
    with tempfile.TemporaryDirectory(prefix="fnrbc-chaos-") as folder:
        result = run(Path(folder), given.seconds, given.seed)
    print(json.dumps(result) if given.json else "\n".join(f"{name}: {value}" for name, value in result.items()))
    sys.exit(bool(result["wrong"]))


if __name__ == "__main__":
    main()
