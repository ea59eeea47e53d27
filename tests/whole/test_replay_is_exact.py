"""A replay of recorded frames gives the same record: every pose, every step of the count, bit for bit."""

import hashlib
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.hand import hand_path
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.journal.journal import Journal
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import SessionMeta

UM = 0.125
BEGAN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
CONTENT = (
    "SELECT * FROM frames ORDER BY session, frame",
    "SELECT * FROM events ORDER BY seq",
)
"""What was seen and counted. When it was told, and under which epoch, is each run's own."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand with rests and turns, dust and drift."""
    folder = tmp_path_factory.mktemp("recorded") / "pan"
    slide = SimulatedSlide.make(17, "giemsa", 60, UM)
    path = hand_path(slide.image.shape, (960, 1280), 17, 70)
    write_frames(folder, SimulatedMicroscope(slide, path, seed=17, optics=Optics(dust=12, focus_drift_px=0.1)))
    return folder / "frames"


def journal_of(frames: Path, path: Path) -> Path:
    """Count recorded frames into a journal of their own."""
    bundle = load_bundle(None)
    source = open_source(frames, UM)
    with closing(source), closing(OnnxClassifier(bundle)) as classifier, Journal.open(path) as journal:
        analyser = Analyser(UM, classifier, bundle.manifest)
        journal.begin("s1", BEGAN, SessionMeta("fnrbc", bundle.id, source.name, UM))
        for frame in iter(source.read, None):
            journal.record(analyser.analyse(frame))
        last = analyser.finish()
        journal.end(BEGAN, analyser.tally(), True, last)
    return path


def content_hash(path: Path) -> str:
    """Hash all that a journal says of its sessions, floats to their last bit."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(path)) as connection:
        for query in CONTENT:
            for row in connection.execute(query):
                digest.update(repr(row).encode())
    return digest.hexdigest()


def events(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT count(*) FROM events").fetchone()
    return int(found)


def test_two_replays_write_journals_of_the_same_content(recorded: Path, tmp_path: Path) -> None:
    first, second = (journal_of(recorded, tmp_path / name) for name in ("a.sqlite", "b.sqlite"))

    assert events(first) > 10
    assert content_hash(first) == content_hash(second)
    with closing(sqlite3.connect(second)) as connection:
        connection.execute("UPDATE frames SET row_px = row_px + 1e-9 WHERE frame = 50")
        connection.commit()
    assert content_hash(first) != content_hash(second)  # or the hash would prove nothing
