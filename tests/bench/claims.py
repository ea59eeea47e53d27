"""How often the claim's interval holds the truth, and how often a blank slide passes for a positive one.

``python tests/bench/claims.py [--slides 10000] [--sensitivity 0.95] [--false 0.008] [--seed 1]`` prints a table: for
each prevalence and number of leukocytes, and each number of cells that sensitivity and false calls are known from,
the share of drawn slides whose 95 % interval holds the true ratio and, in brackets, the share that is told to lie above
blank. Each slide comes with a measurement of the network of its own: both errors are drawn.
"""

import argparse
from dataclasses import dataclass

import numpy as np

from fnrbc_device.counting.claim import claim
from fnrbc_device.records import ErrorCounts

PREVALENCES = (0.0, 1e-4, 1e-3, 1e-2, 0.1)
LEUKOCYTES = (100, 1000, 10_000, 100_000)
KNOWN_FROM = (100, 1000, 10_000)


@dataclass(frozen=True)
class Cell:
    """One cell of the table, in shares of its slides."""

    covered: float
    above_blank: float


def simulate(
    slides: int,
    prevalence: float,
    leukocytes: int,
    known: int,
    sensitivity: float,
    false: float,
    rng: np.random.Generator,
) -> Cell:
    """Draw slides with so many fNRBC for each leukocyte, and ask each for its claim."""
    targets, others = rng.poisson(prevalence * leukocytes, slides), rng.poisson(leukocytes, slides)
    found, wrong = rng.binomial(targets, sensitivity), rng.binomial(others, false)
    measured = rng.binomial(known, sensitivity, slides), rng.binomial(known, false, slides)
    covered = above = asked = 0
    for called, cells, right, mistaken in zip(found + wrong, targets + others, *measured, strict=True):
        errors = ErrorCounts(int(right), int(known - right), int(known - mistaken), int(mistaken), "site", "drawn")
        said = claim(int(called), int(cells - called), [errors])
        if said is None or said.corrected is None:
            continue
        asked += 1
        covered += said.corrected.low <= 100 * prevalence <= said.corrected.high
        above += said.state == "above_blank"
    return Cell(covered / asked, above / asked)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--sensitivity", type=float, default=0.95)
    parser.add_argument("--false", type=float, default=0.008)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    print(f"sensitivity {asked.sensitivity}, false calls {asked.false}, {asked.slides} slides, seed {asked.seed}")
    print("prevalence  leukocytes " + "".join(f"{f'known from {n}':>22}" for n in KNOWN_FROM))
    for prevalence in PREVALENCES:
        for leukocytes in LEUKOCYTES:
            row = [
                simulate(asked.slides, prevalence, leukocytes, known, asked.sensitivity, asked.false, rng)
                for known in KNOWN_FROM
            ]
            figures = "".join(f"{100 * one.covered:13.1f} ({100 * one.above_blank:5.1f})" for one in row)
            print(f"{prevalence:10g} {leukocytes:11d} {figures}", flush=True)


if __name__ == "__main__":
    main()
