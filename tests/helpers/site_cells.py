"""Cells of a laboratory that the shipped network does not tell yet, and a record of people who reviewed them."""

from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np

from fnrbc_device.camera.simulated.files import write_dataset
from fnrbc_device.counting.cell import View
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.learning.calibration import ReviewedCells
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import SessionMeta
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_training.cutting import cut
from laboratory import LEUKOCYTE, MONDAY, UM, counted

NAMES = {"target": "fnrbc", "denominator": "leukocyte"}


def site_cells(folder: Path, painted: int, of_each: int) -> ReviewedCells:
    """Painted cells with dyes of their own and a soft lens: the network takes half the leukocytes for fNRBC.

    Colours alone, red and blue exchanged or hue turned round, it tells without being tuned.
    """
    write_dataset(folder, painted, seed=77)
    crops = cut([], [folder], lambda *_: None)
    kinds = [np.flatnonzero(crops.labels == label)[:of_each] for label in (0, 1)]
    roles = ["target"] * len(kinds[0]) + ["denominator"] * len(kinds[1])
    return ReviewedCells(softly_in_other_dyes(crops.crops[np.concatenate(kinds)]), roles)


def softly_in_other_dyes(crops):
    mixing = np.eye(3) + np.random.default_rng(1).normal(0, 0.4, (3, 3))
    density = np.maximum(-np.log((crops.astype(float) + 1) / 256) @ mixing.T, 0)
    shown = np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8)
    return np.stack([cv2.GaussianBlur(crop, (0, 0), 3) for crop in shown])


def write_reviewed(path: Path, site: ReviewedCells) -> None:
    """One session in which somebody named every cell."""
    meta = SessionMeta("fnrbc 1", load_bundle(None).id, "simulation", UM, operator="anna")
    views = {cell: [View(1.0, 0, crop)] for cell, crop in enumerate(site.crops, 1)}
    with Journal.open(path, "bench") as journal:
        journal.begin("s1", MONDAY - timedelta(minutes=5), meta)
        journal.record(counted([LEUKOCYTE] * len(site.crops)), Kept(views))
        journal.end(MONDAY, journal.tally("s1"), complete=True)
    with Decisions(path, "bench", SystemClock()) as reviewing:
        for cell, role in enumerate(site.roles, 1):
            reviewing.decide("s1", cell, "reclassified", "anna", class_name=NAMES[role])
