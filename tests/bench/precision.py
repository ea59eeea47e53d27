"""What a lower precision costs and gains: a checkpoint exported three times, held against itself, timed in turns.

    tests/bench/precision.py build/pnet.pt

Patches a second are those of onnxruntime on one thread of this processor; only their ratios mean anything, and
nothing of what a GPU makes of each. A precision that fails its proof is shown all the same.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from fnrbc_device.inference.onnx_classifier import open_session
from fnrbc_export.proof import prove_model
from fnrbc_export.to_onnx import convert, lowered, proof_set
from fnrbc_training import checkpoint as checkpoints

PRECISIONS = ("fp32", "fp16", "int8")
REPEATS = 7
BATCH = 64


def rates(models, crops):
    """Patches a second of each model: the best of several turns, taken one after the other."""
    sessions = {name: open_session(model, 3) for name, model in models.items()}
    best = dict.fromkeys(models, 0.0)
    for _ in range(REPEATS):
        for name, session in sessions.items():
            began = time.perf_counter()
            for start in range(0, len(crops), BATCH):
                session.run(None, {"crops": crops[start : start + BATCH]})
            best[name] = max(best[name], len(crops) / (time.perf_counter() - began))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    checkpoint = checkpoints.load(parser.parse_args().checkpoint)
    network = checkpoint.network()
    against = proof_set(network, checkpoint)
    whole = convert(network)
    models = {precision: lowered(whole, precision, checkpoint) for precision in PRECISIONS}
    patches = rates(models, np.ascontiguousarray(against.crops[: 4 * BATCH]))
    print("| precision | largest difference | changed decisions | sensitivity | specificity | MB | patches/s, ratio |")
    print("|---|---|---|---|---|---|---|")
    for precision, model in models.items():
        proof = prove_model(model, precision, against)
        print(
            f"| {precision} | {proof.largest_difference:.2g} | {proof.changed_decisions} of {proof.heldout} | "
            f"{100 * proof.model.sensitivity:.2f} % | {100 * proof.model.specificity:.2f} % | {len(model) / 1e6:.2f} | "
            f"{patches[precision] / patches['fp32']:.2f} |" + ("" if proof.passed else f" {'; '.join(proof.failures)}")
        )


if __name__ == "__main__":
    main()
