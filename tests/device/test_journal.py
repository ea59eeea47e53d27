"""The record on disk: complete, in step with the log, and honest about a disk that refuses."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.contract.log_records import CellRecord, SessionRecord
from fnrbc_device.errors import ConfigError, JournalError
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.migrations import SCHEMA_VERSION
from fnrbc_device.records import CountEvent, Join, Pose, SessionMeta, Tally, Verdict

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
META = SessionMeta(software="0.1.0", bundle="b" * 64, source="simulation 1", pixel_size_um=0.125)


def rows(path: Path, query: str) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def log(path: Path) -> list[tuple[int, str, dict]]:
    return [
        (seq, topic, json.loads(payload))
        for seq, topic, payload in rows(path, "SELECT seq, topic, payload FROM outbox ORDER BY seq")
    ]


def test_what_was_recorded_is_read_back_as_it_was_said(path, make_step):
    steps = [make_step(0, [1, 2]), make_step(1, []), make_step(2, [3, 4, 5])]
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        for step in steps:
            journal.record(step)

        assert journal.events("s1") == [event for step in steps for event in step.events]


def test_the_tally_is_the_sum_of_the_events(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [1, 2, 3, 4, 5, 6, 7, 8]))
        journal.record(make_step(1, [1, 4], event="retracted"))
        journal.record(make_step(2, [], reason="unreadable"))
        journal.record(make_step(3, [8], event="rejected"))
        journal.record(make_step(4, [2], event="confirmed"))
        tally = journal.tally("s1")

        # Classes go round by number: 0 fnrbc, 1 leukocyte, 2 other, 3 indeterminate.
        assert (tally.cells, tally.fnrbc, tally.leukocytes, tally.other, tally.indeterminate) == (
            5,
            0,
            1,
            2,
            2,
        )
        assert (tally.frames, tally.frames_used, tally.frames_rejected) == (5, 4, {"unreadable": 1})
        assert tally.fnrbc_per_100_leukocytes.value == 0
        assert journal.verdict_counts("s1") == {"other": 2, "indeterminate": 2, "leukocyte": 1}


def test_every_event_has_one_record_in_the_log_and_seq_has_no_gap(path, make_step):
    with Journal.open(path, device="scope-1") as journal:
        assert journal.last_seq == 0
        assert journal.begin("s1", NOON, META) == 1
        assert journal.record(make_step(0, [1, 2, 3])) == 4
        assert journal.record(make_step(1, [])) == 4
        assert journal.record(make_step(2, [2], event="retracted")) == 5
        assert journal.end(NOON, journal.tally("s1"), complete=True) == 6
        events, epoch = journal.events("s1"), journal.epoch

    told = log(path)
    assert [seq for seq, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert [topic for _, topic, _ in told] == ["log/session", *["log/cell"] * 4, "log/session"]
    assert {fields["epoch"] for _, _, fields in told} == {epoch}
    cells = [CellRecord.model_validate(fields) for _, topic, fields in told if topic == "log/cell"]
    assert [(one.cell_id, one.event, one.x_um) for one in cells] == [
        (one.cell, one.event, one.x_um) for one in events
    ]
    last = SessionRecord.model_validate(told[-1][2])
    assert (last.event, last.cells, last.leukocytes, last.complete) == ("finished", 2, 1, True)
    assert rows(path, "SELECT seq FROM events ORDER BY seq") == [(2,), (3,), (4,), (5,)]


def test_the_numbers_go_on_after_a_new_start(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [1]))
        epoch = journal.epoch
    with Journal.open(path) as journal:
        assert (journal.epoch, journal.last_seq) == (epoch, 2)
        assert journal.unfinished() == ["s1"]
        assert journal.begin("s2", NOON, META) == 3


def test_a_step_is_recorded_whole_or_not_at_all(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [1]))
        with pytest.raises(JournalError, match="UNIQUE"):
            journal.record(make_step(0, [2, 3]))  # the same frame again
        assert journal.last_seq == 2
        assert [event.cell for event in journal.events("s1")] == [1]
        assert journal.record(make_step(1, [2])) == 3
    assert [seq for seq, _, _ in log(path)] == [1, 2, 3]


def test_an_event_without_a_number_is_refused_and_leaves_no_trace(path, make_step):
    step = make_step(0, [1, 2])
    good = step.events[1]
    fields = {name: getattr(good, name) for name in good.__slots__}
    step.events[1] = CountEvent(**{**fields, "diameter_um": float("nan")})
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        with pytest.raises(ValueError, match="diameter_um"):
            journal.record(step)
        assert journal.events("s1") == []
        assert journal.tally("s1").frames == 0
    assert [seq for seq, _, _ in log(path)] == [1]


def test_numbers_from_numpy_are_recorded_as_numbers(path, make_step):
    step = make_step(0, [1])
    good = step.events[0]
    fields = {name: getattr(good, name) for name in good.__slots__}
    verdict = Verdict("fnrbc", "target", np.float32(0.5), np.float32(0.5))
    step.events[0] = CountEvent(
        **{**fields, "cell": np.int64(7), "x_um": np.float32(1.5), "verdict": verdict}
    )
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(step)
        assert journal.events("s1") == step.events
    assert log(path)[1][2]["x_um"] == 1.5


def test_a_recorded_event_cannot_be_changed(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [1]))
    with pytest.raises(sqlite3.IntegrityError, match="correct it by a new one"):
        rows(path, "UPDATE events SET class_name = 'fnrbc'")


def test_a_session_does_not_end_with_another_count_than_its_record(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [4]))
        with pytest.raises(JournalError, match="2 cells, but its record adds up to 1"):
            journal.end(NOON, Tally(cells=2, fnrbc=2), complete=True)


def test_what_the_end_of_a_session_settles_is_recorded_before_it_is_told(path, make_step):
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(make_step(0, [4]))
        last = make_step(0, [8, 5]).events
        journal.end(NOON, Tally(cells=3, fnrbc=2, leukocytes=1), complete=True, last_events=last)
        assert [event.cell for event in journal.events("s1")] == [4, 8, 5]
        assert journal.unfinished() == []
    assert [topic for _, topic, _ in log(path)] == ["log/session", *["log/cell"] * 3, "log/session"]


def test_joins_are_recorded_with_the_frame_that_proved_them(path, make_step):
    joins = (Join(2, 1, 10.5, -3.25), Join(5, 2, 0.0, 1.0))
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        for index, island in enumerate((1, 2, 5)):
            journal.record(replace(make_step(index, []), pose=Pose(island, 0.0, 0.0)))
        journal.record(replace(make_step(3, []), joins=joins[:1]))

        assert journal.joins("s1") == [joins[0]]
        assert journal.tally("s1").islands == 2
    assert rows(path, "SELECT frame, island, into_island FROM joins") == [(3, 2, 1)]


def test_an_island_ends_once(path, make_step):
    join = Join(2, 1, 10.5, -3.25)
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, META)
        journal.record(replace(make_step(0, [1]), joins=(join,)))
        with pytest.raises(JournalError, match="UNIQUE"):
            journal.record(replace(make_step(1, [2]), joins=(join,)))

        assert [event.cell for event in journal.events("s1")] == [1]


def test_sessions_are_one_at_a_time_and_each_id_is_used_once(path, make_step):
    with Journal.open(path) as journal:
        with pytest.raises(JournalError, match="no session runs"):
            journal.record(make_step(0, []))
        journal.begin("s1", NOON, META)
        with pytest.raises(JournalError, match="s1 is still running"):
            journal.begin("s2", NOON, META)
        journal.end(NOON, journal.tally("s1"), complete=True)
        with pytest.raises(JournalError, match="choose another id"):
            journal.begin("s1", NOON, META)
        with pytest.raises(ConfigError, match="'Slide 1'"):
            journal.begin("Slide 1", NOON, META)


@pytest.mark.parametrize(
    ("version", "cure"),
    [(1, "run the software that wrote it"), (99, "install the newer fnrbc that wrote it, or restore a backup")],
)
def test_a_journal_of_an_unknown_version_is_refused_with_the_cure(path, version, cure):
    Journal.open(path).close()
    rows(path, f"PRAGMA user_version = {version}")
    with pytest.raises(JournalError, match=f"version {version}, this software knows .*{SCHEMA_VERSION}.*; {cure}"):
        Journal.open(path)


def test_another_database_is_not_taken_for_a_journal(path):
    path.parent.mkdir()
    rows(path, "CREATE TABLE something (else_ TEXT)")
    with pytest.raises(JournalError, match="version 0"):
        Journal.open(path)


def test_a_file_that_is_no_database_is_refused_with_the_cure(path):
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(JournalError, match=r"file is not a database; .* move it away"):
        Journal.open(path)


def test_a_folder_in_place_of_the_file_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(JournalError, match="unable to open"):
        Journal.open(path)


CHILD = """
import resource, runpy, sys
from datetime import datetime, timezone
from pathlib import Path
from fnrbc_device.journal.journal import Journal
from fnrbc_device.records import SessionMeta
from fnrbc_device.errors import JournalError
step = runpy.run_path(sys.argv[1])["step"]
journal = Journal.open(Path(sys.argv[2]))
journal.begin("s1", datetime.now(timezone.utc), SessionMeta("0", "b", "s", 0.1))
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    for index in range(100_000):
        journal.record(step(index, [10 * index + k for k in range(1, 6)]))
        print(index, flush=True)
except JournalError as error:
    print("refused:", error, flush=True)
    sys.exit(1)
"""


def child(path: Path, limit: int = 0) -> subprocess.Popen:
    shared = Path(__file__).with_name("conftest.py")
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(shared), str(path), str(limit)], stdout=subprocess.PIPE, text=True
    )


def assert_in_step(path: Path, at_least: int) -> None:
    """Frames, events and log tell the same, without a gap, and hold all that was promised."""
    frames = [frame for (frame,) in rows(path, "SELECT frame FROM frames ORDER BY frame")]
    assert frames == list(range(len(frames)))
    assert len(frames) >= at_least
    events = rows(path, "SELECT seq, frame, cell FROM events ORDER BY seq")
    assert [(frame, cell) for _, frame, cell in events] == [
        (frame, 10 * frame + k) for frame in frames for k in range(1, 6)
    ]
    told = log(path)
    assert [seq for seq, _, _ in told] == list(range(1, len(told) + 1))
    assert [(seq, fields["cell_id"]) for seq, topic, fields in told if topic == "log/cell"] == [
        (seq, cell) for seq, _, cell in events
    ]
    assert rows(path, "SELECT last_seq FROM journal") == [(len(told),)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("frames_told", [1, 40, 173])
def test_nothing_told_is_lost_when_the_process_is_killed(path, frames_told):
    with child(path) as process:
        for _ in range(frames_told):
            told = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    assert_in_step(path, at_least=told + 1)


def test_a_full_disk_is_said_as_such_and_leaves_the_record_whole(path):
    with child(path, limit=400_000) as process:
        *told, refused = process.stdout.read().splitlines()
    assert process.returncode == 1
    assert refused.startswith(f"refused: the journal {path} cannot be used: ")
    assert "MB are free there: free some" in refused
    assert_in_step(path, at_least=len(told))


READER = """
import os, sys
from pathlib import Path
from fnrbc_device.journal.journal import Journal
from fnrbc_device.errors import JournalError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    Journal.open(Path(sys.argv[1]))
except JournalError as error:
    print(error)
"""


def test_a_read_only_file_is_said_as_such():
    # Not below tmp_path: its parents are closed to other users, and root has to become one to be refused.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        Journal.open(path).close()
        path.chmod(0o444)
        path.parent.chmod(0o555)
        child = subprocess.run(
            [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, timeout=30
        )
        path.parent.chmod(0o755)
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(f"the journal {path} cannot be used: attempt to write a readonly database")
    assert "let this user write to the file and its folder" in child.stdout
