"""Reads a GigE Vision camera on loopback for a while, and says what became of every picture.

    python tests/bench/gige.py --seconds 60 --fps 25 --lose 0

The camera is Aravis' fake one, a process of its own (Debian's aravis-tools-cli); ``--lose`` packets in a thousand.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter

sys.path.append("/usr/lib/python3/dist-packages")  # the system's gi, which no wheel brings

from fnrbc_device.camera.aravis import AravisDriver
from fnrbc_device.camera.tuning import Tuning
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.records import Frame

FAKE = "arv-fake-gv-camera-0.8"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--lose", type=int, default=0)
    options = parser.parse_args()
    if shutil.which(FAKE) is None:
        sys.exit(f"{FAKE} is not installed; install aravis-tools-cli")
    command = [FAKE, "-i", "127.0.0.1", "-r", str(options.lose)]
    fake = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    camera = WatchedCamera("gige", lambda: AravisDriver("", Tuning(fps=options.fps)), options.fps, 0.1)
    try:
        result = watched(camera, options.seconds)
    finally:
        camera.close()
        fake.kill()
        fake.wait(5)
    print(json.dumps(result, indent=2))
    sys.exit(result["unexplained"] != 0)


def watched(camera: WatchedCamera, seconds: float) -> dict[str, object]:
    """Read for so long; each number that the camera gave is a good picture, an incomplete one or known to be lost."""
    first = camera.read()
    assert first is not None
    started, lost, index = time.monotonic(), camera.lost_pictures, first.index
    kinds: Counter[str] = Counter()
    troubles: set[str] = set()
    while time.monotonic() - started < seconds:
        frame = camera.read()
        assert frame is not None
        index = frame.index
        kinds["good" if isinstance(frame, Frame) else "incomplete"] += 1
        troubles.add(camera.trouble)
    took = time.monotonic() - started
    lost = camera.lost_pictures - lost
    return {
        "seconds": round(took, 1),
        "good": kinds["good"],
        "incomplete": kinds["incomplete"],
        "lost_by_number": lost,
        "unexplained": index - first.index - sum(kinds.values()) - lost,
        "fps": round((index - first.index) / took, 2),
        "troubles": sorted(troubles - {""}),
        "opened": camera.opened,
    }


if __name__ == "__main__":
    main()
