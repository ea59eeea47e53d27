"""Frames that changed a count, a journal with a session in it, and publishers of that journal."""

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.counting.journal import Journal, SessionMeta
from fnrbc_device.publishing.mqtt import Publisher
from fnrbc_device.publishing.settings import MqttSettings
from fnrbc_device.records import BadFrame, CountEvent, Frame, Pose, Step, Tally, Verdict

CLASSES = (
    ("fnrbc", "target"),
    ("leukocyte", "denominator"),
    ("other", "ignored"),
    ("indeterminate", "ignored"),
)


def step(index: int, cells: list[int], event: str = "counted", reason: str = "") -> Step:
    """A frame that changed the count of some cells. The class goes by the cell's number."""
    events = [_count_event(cell, event, index) for cell in cells]
    frame = Frame(index, index / 30, np.zeros((4, 4, 3), np.uint8), f"{index:06d}.jpg")
    bad = BadFrame(index, index / 30, "unreadable", "nothing in it")
    return Step(
        frame=bad if reason else frame,
        pose=None if reason else Pose(1, 1.5 * index, 2.5 * index),
        reason=reason or None,  # type: ignore[arg-type]
        marks=[],
        events=events,
        tally=Tally(),
        speed_um_s=0.0,
        sharpness=1.0,
        stages_ms={},
    )


def _count_event(cell: int, event: str, frame: int) -> CountEvent:
    class_name, role = CLASSES[cell % 4]
    verdict = Verdict(class_name, role, 0.9, 0.9 if role == "target" else 0.1)  # type: ignore[arg-type]
    return CountEvent(
        event=event,  # type: ignore[arg-type]
        cell=cell,
        verdict=verdict,
        island=1,
        row_px=10.25 * cell,
        col_px=3.125 * cell,
        x_um=1.0 * cell,
        y_um=2.0 * cell,
        diameter_um=10.5,
        nucleus_ratio=0.4,
        views=3,
        best_frame=frame,
        reason="seen three times",
    )


@pytest.fixture
def make_step() -> Callable[..., Step]:
    return step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is, or will be."""
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A journal with a session begun."""
    with Journal.open(path) as journal:
        started = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
        journal.begin("s1", started, SessionMeta("0.1.0", "b", "simulation", 0.125))
        yield journal


@pytest.fixture
def publish(path: Path, journal: Journal) -> Iterator[Callable[..., Publisher]]:
    """Start publishers of the journal, and stop them after the test."""
    publishers: list[Publisher] = []

    def start(port: int, **settings: object) -> Publisher:
        publishers.append(Publisher(path, MqttSettings(port=port, **settings)))  # type: ignore[arg-type]
        publishers[-1].start()
        return publishers[-1]

    yield start
    assert all(publisher.stop(10.0) for publisher in publishers)
