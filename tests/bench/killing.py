"""Kills the daemon at random moments of simulated sessions, and holds each session's end against an undisturbed run.

python tests/bench/killing.py --kills 200 --seed 1000
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from mortal import Mortal, recorded, standing

KILLS_A_SESSION = 20
FRAMES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--live", action="store_true", help="a camera whose lost frames do not come again")
    options = parser.parse_args()
    kind = "live" if options.live else "recording"
    struck, seed, wrong = 0, options.seed, 0
    while struck < options.kills:
        mortal = Mortal(seed, cells=60, frames=FRAMES)
        with tempfile.TemporaryDirectory() as name:
            undisturbed, killed = Path(name) / "undisturbed", Path(name) / "killed"
            undisturbed.mkdir()
            killed.mkdir()
            mortal.killed_until_it_ends(undisturbed, kind, 0, seed)
            here = mortal.killed_until_it_ends(killed, kind, min(KILLS_A_SESSION, options.kills - struck), seed)
            expected, found = standing(undisturbed), standing(killed)
            same = expected == found if kind == "recording" else len(expected) == len(found)
            resumed = len(recorded(killed, "SELECT 1 FROM audit WHERE kind = 'resumed'"))
        mortal.close()
        struck, wrong, seed = struck + here, wrong + (not same), seed + 1
        counted = f"{len(found)} cells of {len(expected)}, same: {same}"
        print(f"seed {seed - 1}: {here} kills, {resumed} resumed, {counted}", flush=True)
    print(f"{struck} kills in {seed - options.seed} sessions, {wrong} sessions with another count")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
