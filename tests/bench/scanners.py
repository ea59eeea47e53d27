"""Whether bringing crops to the session's stain before the network helps: the same cells through other scanners.

    tests/bench/scanners.py [--data ../shared/data/pbc] [--bundle DIR] [--every 4] [--scanners 6]

A scanner is a random 3 x 3 matrix near the identity on light, with a lamp of its own; beside them stand hue +-8
degrees, saturation +-20 % and light +-15 %. Every picture that the bundle never saw goes through it as a whole, is
looked for a cell in and cut as the device does; a session's stain is learned from all of them. Decisions on the crops
as they are, and on the crops brought to the reference stain by the session's map, are held against those on the
unchanged pictures.
"""

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.second_look import as_counted
from fnrbc_device.model.bundle import digest_of, load_bundle
from fnrbc_device.model.manifest import decide
from fnrbc_device.vision.preprocessing import GLASS, crop
from fnrbc_device.vision.reduction import glass_colour, reduce
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_device.vision.session_stain import SessionStain
from fnrbc_training.colours import hue_and_saturation
from fnrbc_training.cutting import central, middle_of
from fnrbc_training.description import describe
from fnrbc_training.labelled import in_class_folders

MIXING = 0.12
GAIN = 0.1
SHOWN_GLASS = (float(GLASS),) * 3


def scanner(seed):
    """Light through other filters and another lamp: rows sum to the lamp's gain, so that grey stays near grey."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(3) + rng.normal(0, MIXING, (3, 3))
    gain = 1 + rng.uniform(-GAIN, GAIN, 3)
    return matrix / matrix.sum(axis=1, keepdims=True) * gain[:, None]


def perturbations(scanners):
    return {
        "as it is": np.eye(3),
        "light +15 %": np.eye(3) * 1.15,
        "light -15 %": np.eye(3) * 0.85,
        "hue +8": hue_and_saturation(8, 1),
        "hue -8": hue_and_saturation(-8, 1),
        "saturation +20 %": hue_and_saturation(0, 1.2),
        "saturation -20 %": hue_and_saturation(0, 0.8),
        **{f"scanner {seed}": scanner(seed) for seed in range(1, scanners + 1)},
    }


def through(image, matrix):
    return np.clip(np.rint(image.astype(np.float32) @ np.asarray(matrix, np.float32).T), 0, 255).astype(np.uint8)


def cut(images, pixel_size_um):
    """Crops as they are and brought to the reference; None where no cell was found. And whether the stain settled."""
    session, found = SessionStain(), []
    for image in images:
        session.learn(image, pixel_size_um, glass_colour(image))
    segmenter = Segmenter(pixel_size_um)
    for image in images:
        field = segmenter.segment_reduced(reduce(image, pixel_size_um, session.map))
        cell = central(field.detections, middle_of(image), pixel_size_um)
        found.append(None if cell is None else crop(image, cell, pixel_size_um, field.background_rgb))
    return found, session


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pbc"))
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--scanners", type=int, default=6)
    asked = parser.parse_args()
    bundle, about = load_bundle(asked.bundle), describe(asked.data)
    reader, seen = PictureReader(), set(bundle.seen.tolist())
    cells = [c for c in in_class_folders(asked.data, about, False) if c.part == "heldout"][:: asked.every]
    shown = [(cell.label, reader.read(cell.path)) for cell in cells]
    shown = [(label, image) for label, image in shown if digest_of(image) not in seen]
    labels = np.array([label for label, _ in shown])
    target, band = bundle.manifest.target, bundle.manifest.indeterminate
    fnrbc = (labels == target).sum()
    print(f"{len(labels)} pictures of {asked.data.name}, {fnrbc} of them fNRBC; bundle {bundle.id[:12]}")
    print("| pictures | not found | right as they are | right with the session's stain | changed | changed with it |")
    print("|---|---|---|---|---|---|")
    first = None
    with closing(OnnxClassifier(bundle)) as classifier:
        counted = as_counted(classifier, bundle.manifest)
        for name, matrix in perturbations(asked.scanners).items():
            crops, session = cut([through(image, matrix) for _, image in shown], about.pixel_size_um)
            there = np.array([one is not None for one in crops])
            decided = np.full((2, len(crops)), -2)
            plain = np.stack([one for one in crops if one is not None])
            mapped = np.stack([session.map.apply(one, SHOWN_GLASS) for one in plain])
            for row, some in enumerate((plain, mapped)):
                decided[row, there] = decide(counted.probabilities(some), target, band)
            right = [((one == target) == (labels == target)) & (one >= 0) for one in decided]
            first = decided[0] if first is None else first
            changed = [((one == target) != (first == target)).sum() for one in decided]
            print(
                f"| {name} | {(~there).sum()} | {100 * right[0].mean():.1f} % | {100 * right[1].mean():.1f} % | "
                f"{changed[0]} | {changed[1]} |" + (f" stain {session.state}" if session.state != "settled" else ""),
                flush=True,
            )


if __name__ == "__main__":
    main()
