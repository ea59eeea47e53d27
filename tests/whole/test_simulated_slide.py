"""A whole simulated slide, panned by the simulated hand: every cell once."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from truth import held_against, offset_of


@pytest.mark.parametrize(("look", "seed", "cells"), [("giemsa", 11, 520), ("he", 12, 60)])
def test_every_cell_of_a_panned_slide_is_counted_once(look, seed, cells):
    slide = SimulatedSlide.make(seed, look, cells)
    microscope = SimulatedMicroscope(slide, seed=seed)
    bundle = load_bundle(None)
    analyser = Analyser(slide.pixel_size_um, OnnxClassifier(bundle), bundle.manifest)

    placed = []
    for _ in range(len(microscope)):
        step = analyser.analyse(microscope.read())
        if step.pose:
            placed.append((step.pose, microscope.pose(step.frame.index)))
    analyser.finish()

    tally = analyser.tally()
    assert tally.islands == 1
    offset = offset_of(*zip(*(((p.row_px, p.col_px), (t.row_px, t.col_px)) for p, t in placed), strict=True))
    counted = list(analyser.cells())
    places = np.array([(cell.row_px, cell.col_px) for cell in counted]) - offset
    truth = np.array([(cell.row_px, cell.col_px) for cell in slide.truth])
    held = held_against(truth, microscope.times_sharp() >= 3, places, slide.pixel_size_um)
    assert held.twice == []
    assert held.wanted >= 0.9 * cells
    assert held.found >= 0.99 * held.wanted

    roles = {"fnrbc": "target", "leukocyte": "denominator"}
    right = [
        roles[slide.truth[true].group] == counted[mine].settled.verdict.role for true, mine in held.nearest.items()
    ]
    assert np.mean(right) >= 0.97
    true_fnrbc = sum(slide.truth[true].group == "fnrbc" for true in held.nearest)
    assert tally.fnrbc == pytest.approx(true_fnrbc, rel=0.05, abs=1)
