"""Backup, loss, restore, go on: no record twice under one number, and the laboratory's copy agrees."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos import Child, fnrbc, in_csv, recorded, wait_for_records
from fnrbc_device.following.copy_check import held_against
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.journal.backup import back_up, restore
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from mortal import Mortal, kill_after, standing
from mortal import recorded as asked

STEPS = Path(__file__).parents[1] / "device" / "conftest.py"

DEVICE = """
import itertools, runpy, sys, time
from datetime import datetime, timezone
from pathlib import Path
from fnrbc_device.contract.states import StatusNow
from fnrbc_device.host.clock import iso_utc
from fnrbc_device.journal.journal import Journal
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import SessionMeta
step = runpy.run_path(sys.argv[1])["step"]
path, port = Path(sys.argv[2]), int(sys.argv[3])
journal = Journal.open(path)
publisher = Publisher(path, MqttSettings(port=port))
now, log = datetime.now(timezone.utc), journal.log_state
publisher.set_state("status", StatusNow(
    device="fnrbc", ts=iso_utc(now), log_seq=log.last_seq, software="0", bundle="b", camera="c", boot_id="x",
    epoch=log.epoch, epoch_first_seq=log.first_seq, epoch_before=log.epoch_before, backlog=0, clock_sync=False,
))
publisher.start()
journal.begin(f"s{time.time_ns()}", now, SessionMeta("0", "b", "s", 0.1))
for index in itertools.count():
    if Path(sys.argv[4]).exists():
        break
    journal.record(step(index, [3 * index + k for k in (1, 2, 3)]))
    publisher.notify()
    time.sleep(0.02)
while True:
    time.sleep(1)
"""


@pytest.fixture
def children():
    started = []
    yield started
    for child in started:
        child.end(signal.SIGKILL)


def wait_until(holds, what, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def copied(folder):
    """Every record that the laboratory has, by epoch and number."""
    found = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                assert (row["epoch"], row["seq"]) not in found
                found[row["epoch"], row["seq"]] = row
    return found


def agrees(record, copy):
    row = copy.get((record["epoch"], str(record["seq"])))
    return row is not None and all(row[name] == in_csv(value) for name, value in record.items() if name != "replayed")


def command(config, *words):
    done = subprocess.run(
        [*fnrbc(*words), "--config", config], capture_output=True, text=True, timeout=120, env=os.environ
    )
    return done.returncode, done.stdout + done.stderr


def test_the_copy_and_the_journal_agree_record_by_record_across_the_epochs(mosquitto, children, tmp_path):
    state, lab, enough = tmp_path / "state", tmp_path / "lab", tmp_path / "enough"
    journal, config = state / "journal.sqlite", tmp_path / "fnrbc.toml"
    state.mkdir()
    config.write_text(f'state_dir = "{state}"\n')
    device = Child([sys.executable, "-c", DEVICE, STEPS, journal, str(mosquitto.port), enough], tmp_path / "device.log")
    follower = Child(fnrbc("follow", "--out", lab, "--port", mosquitto.port), tmp_path / "follow.log")
    children += [device, follower]
    follower.start()
    device.start()
    wait_for_records(journal, 30, 60)
    code, said = command(config, "backup", tmp_path / "backup")
    assert code == 0, said
    kept = len(recorded(tmp_path / "backup" / "journal.sqlite"))
    wait_until(lambda: len(copied(lab)) > kept + 20, "the laboratory has more than the backup")
    device.end(signal.SIGKILL)
    lost_epoch = recorded(journal)[0]["epoch"]
    journal.write_bytes(b"the disk is gone")

    code, said = command(config, "restore", tmp_path / "backup")
    assert code == 0, said
    assert f"before it was {lost_epoch}" in said
    device.start()
    wait_for_records(journal, kept + 30, 60)
    enough.touch()
    wait_until(lambda: all(agrees(one, copied(lab)) for one in recorded(journal)), "the copy has all")
    device.end(signal.SIGKILL)

    assert follower.end(signal.SIGTERM) == 0  # nothing was refused, nothing is missing
    truth, copy = recorded(journal), copied(lab)
    assert [one["seq"] for one in truth] == list(range(1, len(truth) + 1))
    assert {one["epoch"] for one in truth[:kept]} == {lost_epoch}
    assert lost_epoch not in {one["epoch"] for one in truth[kept:]}
    only_copied = set(copy) - {(one["epoch"], str(one["seq"])) for one in truth}
    assert {epoch for epoch, _ in only_copied} == {lost_epoch}
    agreement = held_against(journal, lab)
    assert (agreement.fault, agreement.compared) == ("", len(truth))
    assert agreement.lost == sorted(int(seq) for _, seq in only_copied)
    assert agreement.lost[0] == kept + 1


def test_nothing_is_restored_while_a_device_counts_there_and_a_backup_is_made(tmp_path):
    state, config = tmp_path / "state", tmp_path / "fnrbc.toml"
    config.write_text(f'state_dir = "{state}"\n')
    with hold_state_folder(state, "fnrbc run"), Journal.open(state / "journal.sqlite") as journal:
        code, said = command(config, "backup", tmp_path / "backup")
        assert (code, "holds the record: 1 links" in said) == (0, True), said
        refused, why = command(config, "restore", tmp_path / "backup")
        assert journal.log_state.epoch_before == ""
    assert refused == 2
    assert why.startswith("error: fnrbc run (process ")
    assert "Traceback" not in why

    code, said = command(config, "restore", tmp_path / "backup")
    assert (code, "what was there before is kept as" in said) == (0, True), said
    code, said = command(config, "verify", state, "--against", tmp_path / "backup")
    assert (code, "It goes on from" in said) == (0, True), said
    code, said = command(config, "backup", tmp_path / "backup")
    assert (code, "is there and not empty; name a new folder" in said) == (2, True), said
    code, said = command(config, "restore", tmp_path / "nowhere")
    assert (code, "Traceback" in said) == (1, False), said


def test_a_session_goes_on_from_a_backup_though_its_checkpoint_is_newer(tmp_path):
    """What the checkpoint learned beyond the record would be counted and never recorded."""
    mortal = Mortal(77, 40, 200)
    state, whole = tmp_path / "state", tmp_path / "whole"
    state.mkdir()
    whole.mkdir()
    try:
        kill_after(mortal.start(state, "recording"), state, "SELECT 1 FROM frames", 30)
        mortal.ended()
        back_up(state, tmp_path / "backup")
        kill_after(mortal.start(state, "recording"), state, "SELECT 1 FROM frames", 140)
        mortal.ended()
        assert any("checkpoint" in one.name for one in state.iterdir())
        restore(tmp_path / "backup", state, "fnrbc", SystemClock())
        assert len(asked(state, "SELECT 1 FROM frames")) < 140
        mortal.start(state, "recording")
        assert mortal.ended() == 0
        mortal.killed_until_it_ends(whole, "recording", 0, 0)
    finally:
        mortal.close()

    assert prove(state / "journal.sqlite").fault == ""
    assert standing(state) == standing(whole)
    assert asked(state, "SELECT ended_utc IS NULL FROM sessions") == [(0,)]
