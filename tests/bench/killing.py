"""Kills the daemon at random moments of simulated sessions, and holds each session's end against an undisturbed run.

python tests/bench/killing.py --kills 200 --seed 1000
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from fnrbc_device.camera.simulated.slide import SimulatedSlide
from mortal import Mortal, held_to_truth, recorded, standing

KILLS_A_SESSION = 20
CELLS, FRAMES = 60, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--live", action="store_true", help="a camera whose lost frames do not come again")
    options = parser.parse_args()
    kind = "live" if options.live else "recording"
    struck, seed, wrong = 0, options.seed, 0
    while struck < options.kills:
        mortal = Mortal(seed, CELLS, FRAMES)
        with tempfile.TemporaryDirectory() as name:
            killed = Path(name) / "killed"
            killed.mkdir()
            here = mortal.killed_until_it_ends(killed, kind, min(KILLS_A_SESSION, options.kills - struck), seed)
            right, words = live(killed, seed) if options.live else recording(mortal, Path(name), killed)
            resumed = len(recorded(killed, "SELECT 1 FROM audit WHERE kind = 'resumed'"))
        mortal.close()
        print(f"seed {seed}: {here} kills, {resumed} resumed, {words}", flush=True)
        struck, wrong, seed = struck + here, wrong + (not right), seed + 1
    print(f"{struck} kills in {seed - options.seed} sessions, {wrong} sessions with a wrong count")
    sys.exit(wrong > 0)


def recording(mortal, folder, killed):
    """Whether a recording was counted as without a kill: the same cells at the same places."""
    (folder / "undisturbed").mkdir()
    mortal.killed_until_it_ends(folder / "undisturbed", "recording", 0, 0)
    expected, found = standing(folder / "undisturbed"), standing(killed)
    return expected == found, f"{len(found)} cells, {len(expected)} undisturbed, the same: {expected == found}"


def live(killed, seed):
    """Whether all cells that the recorded frames show are counted: what passed while no daemon ran, nobody saw."""
    held = held_to_truth(killed, SimulatedSlide.make(seed, "giemsa", CELLS), FRAMES)
    words = f"{held.found} cells of {held.wanted} that were seen, {len(held.twice)} twice"
    return held.found == held.wanted and not held.twice, words


if __name__ == "__main__":
    main()
