"""A journal with something in every table: a session that was signed off, one that ended, and one cut off."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from fnrbc_device.counting.cell import View
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Acknowledgement, Outbox
from fnrbc_device.journal.queries import Kept
from fnrbc_device.records import Join, Pose, SessionMeta
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.details import Describing
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_device.vision.keyframes import Keyframe
from fnrbc_device.vision.surroundings import Surroundings

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
META = SessionMeta("0.2.0", "b", "simulation", 0.125, operator="anna", specimen="S-17")
SHAPE = (270, 360)


def full_record(path: Path, make_step) -> None:
    """Write it: s1 signed off, s2 ended, s3 cut off; some messages acknowledged, some let go of, an alarm raised."""
    crop = np.full((120, 120, 3), 180, np.uint8)
    view = View(1.0, 0, crop, Surroundings(crop, (0, 0), 120, 24.0))
    with Journal.open(path) as journal:
        for number, session in enumerate(("s1", "s2")):
            journal.begin(session, NOON + timedelta(hours=number), META)
            journal.record(make_step(0, [4, 5]), Kept({4: [view]}, [_keyframe(1)], SHAPE))
            journal.record(make_step(1, [], reason="blurred"))
            journal.record(replace(make_step(2, [8]), joins=[Join(2, 1, 3.0, 4.0)]))
            journal.record(make_step(3, [4], event="retracted"))
            tally = replace(journal.tally(session), unique_area_mm2=1.5, revisit_share=0.25)
            mosaics = Kept(mosaics=[Mosaic(1, crop, np.full(crop.shape[:2], 255, np.uint8), (-3.0, 4.0), 2.0)])
            journal.end(NOON + timedelta(hours=number), tally, False, ending="the disk was full", kept=mosaics)
        _decide_and_sign(path)
        _command_and_alarm(path)
        journal.begin("s3", NOON + timedelta(hours=3), META)
        journal.record(make_step(0, [4, 9]), Kept({4: [view]}, [_keyframe(1), _keyframe(2)], SHAPE))
        journal.note("flagged", {"row_px": 1.0}, frame=0)
    _settle(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _keyframe(number: int) -> Keyframe:
    return Keyframe(number, 0, Pose(1, 1.0 * number, 2.0), np.full((27, 36), 100 + number, np.uint8), 0.25, 0.5)


def _decide_and_sign(path: Path) -> None:
    for session in ("s1", "s2"):
        with Decisions(path, "fnrbc", SystemClock()) as decisions:
            decisions.decide(session, 8, "confirmed", "anna", request=f"{session}-1")
            taken_back = decisions.decide(session, 5, "rejected", "anna", note="dirt")
            decisions.undo(session, taken_back, "anna")
    with Describing(path, "fnrbc", SystemClock()) as describing:
        describing.describe("s1", "anna", specimen="S-18")
    with SignOff(path, "fnrbc", SystemClock()) as signing:
        signing.sign("s1", "anna", reason="cell 4 is dirt")


def _command_and_alarm(path: Path) -> None:
    with closing(CommandLog(path, "fnrbc", SystemClock())) as log:
        log.audit("anna", "pause", "r1", "")
        log.alarm("disk_low", "raised", "free some")
        log.alarm("broker_refused", "raised", "let this device in")


def _settle(path: Path) -> None:
    """The lab took the first records; the first three are past keeping."""
    with closing(Outbox(path)) as outbox:
        for after, at in ((0, NOON), (3, NOON + timedelta(days=2))):
            outbox.acknowledge([Acknowledgement(one.seq, "acked", "") for one in outbox.pending(after, 3)], at)
        assert outbox.prune(NOON + timedelta(days=1), 10**9) == 3
