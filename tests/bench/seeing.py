"""Shows how well the appliance sees: one bench a subcommand, each a small table or one JSON object.

Run ``.venv/bin/python tests/bench/seeing.py --help``; what each bench measures is in README.md beside this file.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from seeing_pictures import Result

BENCHES: Final = {
    "nuclei": ("seeing_nuclei", "nuclei of stained tissue, beside a tuned scikit-image pipeline"),
    "smear": ("seeing_fields", "white cells of blood smears, and what is taken for one"),
    "anaemia": ("seeing_fields", "fields with next to no nucleated cell"),
    "pbc": ("seeing_cells", "the centre cell of real single-cell crops"),
    "threshold": ("seeing_threshold", "both readings of the paper's threshold on all of these"),
    "pixels": ("seeing_pixels", "the pixel size that red cells suggest"),
    "clumps": ("seeing_clumps", "painted pairs that overlap, and painted single cells"),
    "composed": ("seeing_composed", "slides of real cells, with and without dust, vignetting and drift"),
    "methods": ("seeing_methods", "threshold, network and both, on all sets, with and without a stain map"),
    "perturbed": ("seeing_perturbed", "sessions in other stains, light, focus and sizes: what each loses"),
    "fuzz": ("seeing_fuzz", "frames that no microscope shows"),
}
"""Each bench's module and purpose. Modules are loaded when asked for: one needs scikit-image."""

NEXT_TO_THE_PROJECT: Final = Path(__file__).resolve().parents[3] / "shared" / "data"


def main(arguments: list[str] | None = None) -> int:
    """Run one bench; 1 where ``--must`` is given and a wanted figure is missed."""
    asked = vars(_parser().parse_args(arguments))
    name, as_json, must = asked.pop("bench"), asked.pop("json"), asked.pop("must")
    module = importlib.import_module(BENCHES[name][0])
    measure: Callable[..., Result] = getattr(module, f"measure_{name}", None) or module.measure
    try:
        result = measure(**asked)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(result.as_json()) if as_json else as_text(result))
    return int(must and not all(wanted.met for wanted in result.wanted))


def as_text(result: Result) -> str:
    """The result for a person."""
    return "\n".join([f"== {result.bench}", *result.table, *map(str, result.wanted)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    benches = parser.add_subparsers(dest="bench", required=True)
    own = {name: benches.add_parser(name, help=purpose) for name, (_, purpose) in BENCHES.items()}
    for sub in own.values():
        sub.add_argument("--data", type=Path, default=NEXT_TO_THE_PROJECT, help="the folder of real data")
        sub.add_argument("--limit", type=_positive, help="measure on no more than this many of each")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument("--must", action="store_true", help="exit 1 if a wanted figure is missed")
    own["nuclei"].add_argument("--search", action="store_true", help="tune the scikit-image pipeline anew")
    own["nuclei"].add_argument("--pixel-um", type=float, help="one pixel size instead of each picture's own")
    for name in ("smear", "anaemia", "pbc", "clumps"):
        own[name].add_argument("--sheet", type=Path, help="write a PNG of what went wrong, e.g. out/misses.png")
    for name in ("nuclei", "clumps", "perturbed"):
        own[name].add_argument("--method", default="both", choices=["threshold", "network", "both"])
    own["perturbed"].add_argument("--cells", default="pbc", choices=["pbc", "munich", "atlas"])
    own["methods"].add_argument("--bundle", type=Path, help="without, the shipped one")
    own["composed"].add_argument("--seed", type=int, default=31)
    own["composed"].add_argument("--path", default="raster", choices=["raster", "hand", "revisit"])
    own["composed"].add_argument("--keep", type=Path, help="compose into this folder and leave it there")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1; give 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
