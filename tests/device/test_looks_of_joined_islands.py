"""Islands that turn out to be one: where they were looked at is remembered on the one that stays, resumed or not."""

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.daemon.checkpoint import CheckpointFile, restored
from fnrbc_device.daemon.checkpoint import snapshot as written
from fnrbc_device.daemon.recorder import Recorder
from fnrbc_device.daemon.resume import Resume
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.journal.journal import Journal
from fnrbc_device.model.bundle import load_bundle
from records import META

UM = 0.125
PLACES = np.concatenate(
    [
        (80.0, 100.0) + np.arange(8)[:, None] * (10.0, 40.0),
        (1400.0, 1900.0) + np.arange(8)[:, None] * (10.0, 40.0),
        (60.0, 1750.0) + np.arange(24)[:, None] * (2.0, -60.0),
    ]
)
"""A hand that lets go twice, onto new ground each time, and from there goes to where it began."""
BEGUN = (PLACES[0], PLACES[8], PLACES[16])
"""Where each island begins."""


@pytest.fixture(scope="module")
def fresh():
    bundle = load_bundle(None)
    classifier = OnnxClassifier(bundle)
    yield lambda: Analyser(UM, classifier, bundle.manifest)
    classifier.close()


@pytest.fixture(scope="module")
def frames():
    slide = SimulatedSlide.make(31, "giemsa", 200, UM)
    microscope = SimulatedMicroscope(slide, PLACES, seed=31, optics=Optics(exposure=0.0, focus_drift_px=0.0))
    frames = list(iter(microscope.read, None))
    microscope.close()
    return frames


def looks(analyser):
    """(n, 3) island, and row and column, px, of each look; the last one twice, as it is known to the next frame."""
    last = analyser._lookout._looked
    return np.vstack([analyser._lookout._ground._looks[:, :3], (last.island, last.row_px, last.col_px)])


def assert_where_the_hand_was(analyser, islands):
    """Whether the looks lie on islands that there are, at places of the hand."""
    found = looks(analyser)
    assert set(found[:, 0]) <= set(islands)
    for island, row, col in found:
        assert np.hypot(*(PLACES - BEGUN[int(island)] - (row, col)).T).min() < 1.0


def test_what_was_looked_at_before_a_join_lies_where_the_hand_was(fresh, frames):
    analyser, moved = fresh(), 0
    for frame in frames:
        step = analyser.analyse(frame)
        if step.joins:
            moved = len(looks(analyser))
            assert_where_the_hand_was(analyser, {0, 1})

    assert moved > 5
    assert analyser.islands == {0, 1}
    assert_where_the_hand_was(analyser, {0, 1})


def test_a_session_goes_on_the_same_from_a_checkpoint_after_a_join(fresh, frames):
    whole = fresh()
    left = iter(frames)
    joined = next(frame.index for frame in left if whole.analyse(frame).joins)
    keyframes = {one.number: one.grey for one in whole.placing.registration.keyframes}

    resumed, _ = restored(written(whole, joined), fresh, keyframes)

    assert joined < len(frames) - 3
    assert np.array_equal(looks(resumed), looks(whole))
    for frame in left:
        one, other = whole.analyse(frame), resumed.analyse(frame)
        assert (one.events, one.pose, one.marks) == (other.events, other.pose, other.marks)
    assert np.array_equal(looks(resumed), looks(whole))


class Gone:
    """A source that shows nothing again."""

    name, pixel_size_um = "camera", UM

    def read(self):
        return None

    def close(self):
        pass


def test_a_join_that_the_record_alone_knows_moves_the_looks_of_the_checkpoint(fresh, frames, tmp_path):
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        keeping = Recorder(journal, tmp_path, SystemClock(), RecordSettings())
        opening = keeping.begin(META, lambda _: fresh(), 0)
        joined = False
        for frame in frames:
            step = opening.analyser.analyse(frame)
            keeping.write(step, opening.analyser)
            joined = joined or bool(step.joins)
            if not joined:
                CheckpointFile(tmp_path, opening.session).write(opening.analyser, frame.index)
        assert joined

        analyser = Resume(journal, opening.session, tmp_path, fresh).analyser(Gone(), lambda: True)

    assert analyser.islands == {0, 1}
    assert_where_the_hand_was(analyser, {0, 1})
