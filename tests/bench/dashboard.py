"""Two simulated microscopes, a broker and Node-RED with the shipped flow: a picture of its dashboard in Chromium.

``npm install --prefix FOLDER node-red@4 @flowfuse/node-red-dashboard`` first (version 5 needs Node 22), then
``python tests/bench/dashboard.py FOLDER [--out out/bench/dashboard.png] [--seconds 15]``.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

# A script finds its neighbours; what tests share lies one folder further.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView
from mosquitto import Mosquitto, free_port

FLOW = Path(__file__).resolve().parents[2] / "deploy" / "dashboards" / "node-red.json"


def count(port: int, folder: Path, number: int, stop: threading.Event) -> threading.Thread:
    """Start a device that counts a slide of its own."""
    slide = SimulatedSlide.make(40 + number, "giemsa", 250)
    setup = Setup(
        source=SimulatedMicroscope(slide, seed=40 + number, fps=10),
        bundle=load_bundle(None),
        pixel_size_um=slide.pixel_size_um,
        journal_path=folder / f"journal-{number}.sqlite",
        mqtt=MqttSettings(port=port, device=f"scope-{number}"),
        live=LiveView(),
        simulated=True,
    )
    thread = threading.Thread(target=Daemon(setup).run, args=(stop,))
    thread.start()
    return thread


def start_node_red(modules: Path, folder: Path, broker_port: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start Node-RED with the shipped flow; returns it and its port."""
    port = free_port()
    folder.mkdir()
    shutil.copy(FLOW, folder / "flows.json")
    shutil.copy(modules / "package.json", folder / "package.json")
    (folder / "node_modules").symlink_to((modules / "node_modules").resolve())
    settings = f"module.exports = {{uiHost: '127.0.0.1', uiPort: {port}, flowFile: 'flows.json'}}"
    (folder / "settings.js").write_text(settings)
    command = ["node", str(modules / "node_modules" / "node-red" / "red.js"), "-u", str(folder)]
    environment = os.environ | {"FNRBC_BROKER": "127.0.0.1", "FNRBC_PORT": str(broker_port)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL), port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/bench/dashboard.png"))
    parser.add_argument("--seconds", type=float, default=15)
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fnrbc-dashboard-")))
        (folder / "mosquitto").mkdir()
        broker = Mosquitto(folder / "mosquitto")
        broker.start()
        stack.callback(broker.stop)
        for number in (1, 2):
            stack.callback(count(broker.port, folder, number, stop).join, 30)
        stack.callback(stop.set)
        node_red, port = start_node_red(given.modules, folder / "node-red", broker.port)
        stack.callback(node_red.wait, 20)
        stack.callback(node_red.terminate)
        time.sleep(given.seconds)
        assert node_red.poll() is None, "Node-RED has ended; start it by hand to see why"
        subprocess.run(
            [
                "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900",
                "--virtual-time-budget=15000", f"--screenshot={given.out.resolve()}",
                f"http://127.0.0.1:{port}/dashboard/fnrbc",
            ],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    print(given.out)


if __name__ == "__main__":
    main()
