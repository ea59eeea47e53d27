"""How a bundle's network stands what it should not depend on, and what it costs, on pictures that it never saw.

    tests/bench/network.py shortcut|perturbed|speed [--data ../shared/data/pbc] [--bundle DIR] [--every N] [--json]

Pictures are changed before the device's own segmentation and cropping; ``perturbed`` also changes the crops, behind
them. A cell that is no longer found counts as wrong, and as changed.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import digest_of, load_bundle
from fnrbc_device.records import Detection, Field
from fnrbc_device.vision.preprocessing import CROP_PX, MARGIN_UM, crop
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_export.to_onnx import convert
from fnrbc_training.cutting import central, middle_of
from fnrbc_training.dataset import TARGET
from fnrbc_training.description import describe
from fnrbc_training.labelled import in_class_folders
from fnrbc_training.pnet import Calibrated
from precision import rates

SEAM_UM = 0.6
"""Beyond what a crop shows of a cell: the seam of a cell that was laid elsewhere lies outside the crop's mask."""

LIGHT, HUE_DEGREES, SATURATION, BLUR_PX, QUALITY, NOISE = 0.15, 8.0, 0.2, 1.0, 50, 5.0
"""Hue and saturation: about what scanners of two makers differ by on one slide."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One picture, and the cell in its middle."""

    image: np.ndarray
    field: Field
    cell: Detection
    positive: bool


def lit(image, gain):
    return np.clip(np.rint(image * gain), 0, 255).astype(np.uint8)


def tinted(image, degrees=0.0, saturation=1.0):
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + degrees) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def compressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1], cv2.IMREAD_COLOR)


def noisy(image):
    noise = np.random.default_rng(image.size).normal(0, NOISE, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable] = {
    "as it is": lambda image: image,
    "light +15 %": lambda image: lit(image, 1 + LIGHT),
    "light -15 %": lambda image: lit(image, 1 - LIGHT),
    "hue +8 degrees": lambda image: tinted(image, HUE_DEGREES),
    "hue -8 degrees": lambda image: tinted(image, -HUE_DEGREES),
    "saturation +20 %": lambda image: tinted(image, saturation=1 + SATURATION),
    "saturation -20 %": lambda image: tinted(image, saturation=1 - SATURATION),
    "blur 1 px": lambda image: cv2.GaussianBlur(image, (0, 0), BLUR_PX),
    "JPEG 50": compressed,
    "noise sigma 5": noisy,
}


def cell_of(image, pixel_size_um):
    """What the device finds in a picture's middle, as (field, cell); (field, None) where there is none."""
    field = Segmenter(pixel_size_um).segment(image)
    return field, central(field.detections, middle_of(image), pixel_size_um)


def unseen(data, bundle, every):
    """The held-out blocks' pictures that the bundle never saw and the device finds a cell in."""
    about, reader, found = describe(data), PictureReader(), []
    heldout = [c for c in in_class_folders(data, about, simulated=False) if c.part == "heldout"]
    for listed in heldout[::every]:
        image = reader.read(listed.path)
        field, cell = cell_of(image, about.pixel_size_um)
        if cell is not None and not np.isin(digest_of(image), bundle.seen):
            found.append(Seen(image, field, cell, listed.label == TARGET))
    return found, about.pixel_size_um


def crop_of(image, pixel_size_um):
    field, cell = cell_of(image, pixel_size_um)
    return None if cell is None else crop(image, cell, pixel_size_um, field.background_rgb)


def decisions(crops, bundle):
    """1 fNRBC, 0 something else, -1 indeterminate, -2 not found."""
    shown = [c if c is not None else np.zeros((CROP_PX, CROP_PX, 3), np.uint8) for c in crops]
    classifier = OnnxClassifier(bundle)
    decided = bundle.manifest.decide(classifier.probabilities(np.stack(shown)))
    classifier.close()
    known = np.where(decided < 0, -1, decided == bundle.manifest.target)
    return np.where([c is None for c in crops], -2, known)


def perturbed(pictures, pixel_size_um, bundle):
    """Accuracy under each change, of the picture and of the crop."""
    positive = np.array([p.positive for p in pictures])
    plain = [crop_of(p.image, pixel_size_um) for p in pictures]
    rows = {}
    for name, change in CHANGES.items():
        of_picture = decisions([crop_of(change(p.image), pixel_size_um) for p in pictures], bundle)
        of_crop = decisions([change(c) for c in plain], bundle)
        rows[name] = {
            "picture": float(np.mean(of_picture == positive)),
            "crop": float(np.mean(of_crop == positive)),
            "not_found": int((of_picture == -2).sum()),
        }
    return rows


def shortcut(pictures, pixel_size_um, bundle):
    """Decisions that change when a cell is laid on another class' background, lit as that picture is, or as it was."""
    before = decisions([crop_of(p.image, pixel_size_um) for p in pictures], bundle)
    rng = np.random.default_rng(1)
    sides = {side: [p for p in pictures if p.positive is side] for side in (True, False)}
    others = [sides[not p.positive][rng.integers(len(sides[not p.positive]))] for p in pictures]
    rows = {}
    for name, relit in (("lit as the other", True), ("lit as before", False)):
        laid = [laid_on(p, o, pixel_size_um, relit) for p, o in zip(pictures, others, strict=True)]
        after = decisions([crop_of(image, pixel_size_um) for image in laid], bundle)
        changed = before != after
        rows[name] = {"changed": float(changed.mean()), "of": len(pictures), "not_found": int((after == -2).sum())}
    return rows


def laid_on(cell, other, pixel_size_um, relit):
    """A cell with what a crop shows of it, on another picture whose own cell was wiped out."""
    glass = np.array(other.field.background_rgb)
    gain = glass / np.maximum(cell.field.background_rgb, 1) if relit else np.ones(3)
    own = region(other, pixel_size_um)[..., None]
    empty = other.image * (1 - own) + glass * own
    moved = np.float32([[1, 0, 0], [0, 1, 0]])
    moved[:, 2] = np.subtract(middle_of(other.image), cell.cell.centre_rc)[::-1]
    size = other.image.shape[1::-1]
    shown = cv2.warpAffine(cell.image.astype(np.float32) * gain.astype(np.float32), moved, size)
    mask = cv2.warpAffine(region(cell, pixel_size_um), moved, size)[..., None]
    return np.clip(np.rint(shown * mask + empty * (1 - mask)), 0, 255).astype(np.uint8)


def region(seen, pixel_size_um):
    """(H, W) 1 on a cell and what a crop shows round it, 0 beyond, softly."""
    mask = np.zeros(seen.image.shape[:2], np.float32)
    hull = cv2.convexHull(np.rint(seen.cell.outline_xy).astype(np.int32))
    grown = 2 * round((MARGIN_UM + SEAM_UM) / pixel_size_um) + 1
    cv2.fillConvexPoly(mask, hull, 1.0)
    cv2.polylines(mask, [hull], True, 1.0, thickness=grown)
    return cv2.GaussianBlur(mask, (0, 0), 1.5)


class Reference(nn.Module):
    """The P-net that ours is held against: 16/32/64 channels at full size, 128 features in its head."""

    def __init__(self):
        super().__init__()
        widths = [(3, 16), (19, 32), (35, 64)]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))
            for i, o in widths
        )
        self.halved = nn.AvgPool2d(2)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 15 * 15, 128), nn.ReLU(), nn.Linear(128, 3))

    def forward(self, crops):
        x = crops.to(torch.float32).permute(0, 3, 1, 2) / 255
        y = self.blocks[0](x)
        for block in self.blocks[1:]:
            x = self.halved(x)
            y = block(torch.cat((y, x), dim=1))
        return self.head(y)


def speed(bundle):
    """Patches a second on one thread, in turns, over the reference's."""
    crops = np.random.default_rng(1).integers(0, 256, (256, CROP_PX, CROP_PX, 3), np.uint8)
    models = {"reference": convert(Calibrated(Reference(), 1.0).eval()), "bundle": bundle.model}
    found = rates(models, crops)
    return {name: {"patches_s": round(rate), "ratio": rate / found["reference"]} for name, rate in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", choices=["shortcut", "perturbed", "speed"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pbc"))
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use one picture of so many")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    bundle = load_bundle(asked.bundle)
    if asked.bench == "speed":
        rows = speed(bundle)
    else:
        measure = {"shortcut": shortcut, "perturbed": perturbed}[asked.bench]
        rows = measure(*unseen(asked.data, bundle, asked.every), bundle)
    print(json.dumps(rows, indent=2) if asked.json else table(rows))
    if asked.bench == "shortcut" and not asked.json:
        print(bundle.model_card.partition("## What the background gives away")[2].partition("##")[0].strip())


def table(rows):
    columns = list(next(iter(rows.values())))
    lines = [" | ".join([" " * 18, *columns])]
    lines += [" | ".join([f"{name:<18}", *(shown(row[c], c) for c in columns)]) for name, row in rows.items()]
    return "\n".join(lines)


def shown(value, column):
    if column == "ratio":
        return f"{value:.2f}"
    return f"{100 * value:.2f} %" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
