"""Makes docs/live.webp: the live page while it counts the simulated microscope's slide, as `fnrbc demo` shows it.

.venv/bin/python docs/pictures.py

Runs the demo and a Chromium, and photographs the page. Run it again after the page has changed.
"""

import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from PIL import Image

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from chromium import open_chromium  # noqa: E402 - found by the line before

LIVE: Final = ROOT / "docs" / "live.webp"
WIDTH: Final = 800
SHOTS, EVERY_S = 20, 0.5
MOST_BYTES: Final = 2_000_000


def main() -> None:
    """Take the pictures, and write them as one animation."""
    demo = subprocess.Popen(
        [str(Path(sys.executable).with_name("fnrbc")), "demo", "--seed", "3"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        address = next(found[0] for line in demo.stdout if (found := re.search(r"http://\S+", line)))
        shots = photographed(address)
    finally:
        demo.terminate()
        demo.wait(30)
    first, *others = shots
    first.save(LIVE, save_all=True, append_images=others, duration=int(1000 * EVERY_S), loop=0, quality=60, method=6)
    size = LIVE.stat().st_size
    assert size < MOST_BYTES, f"{LIVE} has {size} bytes, the limit is {MOST_BYTES}"
    print(f"{LIVE.relative_to(ROOT)}: {len(shots)} pictures, {size} bytes")


def photographed(address: str) -> list[Image.Image]:
    """The page, again and again, once there is something on it."""
    with tempfile.TemporaryDirectory() as profile:
        browser = open_chromium(Path(profile))
        try:
            browser.open(address)
            browser.wait_for("Number(document.getElementById('fnrbc').textContent) >= 3", timeout_s=240)
            shots = []
            for _shot in range(SHOTS):
                shots.append(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))
                time.sleep(EVERY_S)
        finally:
            browser.close()
    return [shot.resize((WIDTH, round(shot.height * WIDTH / shot.width)), Image.Resampling.LANCZOS) for shot in shots]


if __name__ == "__main__":
    main()
