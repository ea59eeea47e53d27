"""A laboratory's record: samples, blanks and controls with the counts that a test wants."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from fnrbc_device.counting.cell import View
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import INDETERMINATE, CountEvent, Frame, Pose, SessionKind, SessionMeta, Step, Tally, Verdict

UM = 0.125
FNRBC = Verdict("fnrbc", "target", 0.9, 0.9)
LEUKOCYTE = Verdict("leukocyte", "denominator", 0.99, 0.01)
NEAR_MISS = Verdict("leukocyte", "denominator", 0.7, 0.3)
OPEN = Verdict(INDETERMINATE, "ignored", 0.5, 0.5)
CROP = np.full((120, 120, 3), 200, np.uint8)

MONDAY = datetime(2026, 3, 2, 8, 0, tzinfo=timezone.utc)


def counted(verdicts: list[Verdict]) -> Step:
    events = [
        CountEvent("counted", cell, verdict, 0, 80.0 * cell, 90.0, UM * 90, UM * 80 * cell, 10.4, 0.41, 3, 0, "counted")
        for cell, verdict in enumerate(verdicts, 1)
    ]
    glass = np.full((96, 128, 3), 240, np.uint8)
    return Step(Frame(0, 0.0, glass), Pose(0, 0.0, 0.0), None, [], events, Tally(), 0.0, 1.0, {})


def write_session(
    path: Path,
    name: str,
    verdicts: list[Verdict],
    *,
    kind: SessionKind = "sample",
    ended: datetime = MONDAY,
    specimen: str = "",
    bundle: str = "",
) -> None:
    """One session of five minutes, with a picture of each cell but the plain leukocytes."""
    meta = SessionMeta(
        "fnrbc 1", bundle or load_bundle(None).id, "simulation", UM, operator="anna", specimen=specimen, kind=kind
    )
    views = {cell: [View(1.0, 0, CROP)] for cell, verdict in enumerate(verdicts, 1) if verdict != LEUKOCYTE}
    with Journal.open(path, "bench") as journal:
        journal.begin(name, ended - timedelta(minutes=5), meta)
        journal.record(counted(verdicts), Kept(views))
        journal.end(ended, journal.tally(name), complete=True)


def cells(fnrbc: int, leukocytes: int) -> list[Verdict]:
    return [FNRBC] * fnrbc + [LEUKOCYTE] * leukocytes
