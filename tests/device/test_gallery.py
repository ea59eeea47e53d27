"""The pictures that are held for a report while a count runs, however many cells it finds."""

import gc
import weakref

import numpy as np
import pytest

from fnrbc_device.counting.cell import View
from fnrbc_device.records import CountEvent, Verdict
from fnrbc_device.reporting.gallery import Gallery
from fnrbc_device.vision.surroundings import surroundings

FRAME = np.full((480, 640, 3), 200, np.uint8)


CANDIDATE, ANOTHER = Verdict("fnrbc", "target", 0.9, 0.9), Verdict("leukocyte", "denominator", 0.9, 0.0)


@pytest.mark.parametrize("verdict", [CANDIDATE, ANOTHER])
def test_what_lies_round_a_cell_is_let_go_once_it_is_counted(verdict: Verdict) -> None:
    gallery = Gallery(threshold=0.5)
    views = [View(1.0, 0, np.zeros((120, 120, 3), np.uint8), surroundings(FRAME, (240.0, 320.0), 0.105))]
    assert views[0].around is not None
    crop, around = weakref.ref(views[0].crop), weakref.ref(views[0].around.seen)

    gallery.see([CountEvent("counted", 1, verdict, 0, 0, 0, 0, 0, 9.0, 0.4, 3, 0, "")], {1: views})
    del views
    gc.collect()

    assert crop() is not None
    assert around() is None
