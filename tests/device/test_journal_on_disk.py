"""What waits for the disk, and what a loss of power may take: frames that changed nothing of the count, few of them."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.journal.backup import back_up
from fnrbc_device.journal.journal import ON_DISK_EVERY, Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.records import CountEvent, Join, SessionMeta, Step

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
META = SessionMeta(software="0.1.0", bundle="b" * 64, source="simulation 1", pixel_size_um=0.125)
WAITS = 2
"""SQLite's FULL; NORMAL is 1."""


def waited(journal: Journal) -> bool:
    """Whether the last transaction ended when the disk had it."""
    return journal._connection.execute("PRAGMA synchronous").fetchone() == (WAITS,)


def test_a_frame_waits_for_the_disk_where_it_changes_the_count(
    journal: Journal, make_step: Callable[..., Step]
) -> None:
    assert waited(journal)
    journal.record(make_step(0, []))
    assert not waited(journal)
    journal.record(make_step(1, [1]))
    assert waited(journal)
    journal.record(make_step(2, [], reason="unreadable"))
    assert not waited(journal)
    journal.record(replace(make_step(3, []), joins=(Join(2, 1, 5.0, -5.0),)))
    assert waited(journal)
    journal.record(make_step(4, []))
    journal.note("flagged", {"by": "somebody"}, 4)
    assert waited(journal)


def test_no_more_frames_than_are_said_lie_beside_the_disk(journal: Journal, make_step: Callable[..., Step]) -> None:
    waits = []
    for index in range(3 * ON_DISK_EVERY):
        journal.record(make_step(index, []))
        waits.append(waited(journal))
    assert [index for index, wait in enumerate(waits) if wait] == [29, 59, 89]


def test_a_frame_that_something_rests_on_waits_for_the_disk(journal: Journal, make_step: Callable[..., Step]) -> None:
    journal.record(make_step(0, []))
    journal.record(make_step(1, []), on_disk=True)
    assert waited(journal)
    journal.record(make_step(2, []))
    assert not waited(journal)


def as_power_left_it(path: Path, folder: Path, wal_bytes: int) -> Path:
    """The record as a loss of power leaves it: of the write-ahead file so much had reached the disk."""
    folder.mkdir()
    left = folder / path.name
    shutil.copy(path, left)
    wal = path.with_name(path.name + "-wal").read_bytes()
    left.with_name(path.name + "-wal").write_bytes(wal[:wal_bytes])
    return left


def test_a_loss_of_power_takes_frames_without_a_count_and_leaves_the_record_whole(
    tmp_path: Path, path: Path, journal: Journal, make_step: Callable[..., Step]
) -> None:
    wal = path.with_name(path.name + "-wal")
    on_disk: list[tuple[int, int, list[CountEvent]]] = []
    counted: list[CountEvent] = []
    for index in range(2 * ON_DISK_EVERY):
        step = make_step(index, [index] if index in (7, 8, 40) else [])
        journal.record(step)
        counted += step.events
        if waited(journal):
            on_disk.append((wal.stat().st_size, index, list(counted)))
    end = wal.stat().st_size

    assert [index for _, index, _ in on_disk] == [7, 8, 38, 40]
    for number, (surely, last, events) in enumerate(on_disk):
        beyond = on_disk[number + 1][0] if number + 1 < len(on_disk) else end
        for share in (0.0, 0.4, 0.9):
            cut = int(surely + share * (beyond - 1 - surely))
            left = as_power_left_it(path, tmp_path / f"{number}-{share}", cut)
            with Journal.open(left) as after:
                assert after.events("s1") == events
                assert last <= after.last_frame("s1") < last + ON_DISK_EVERY
                after.resume("s1", {})
                after.record(make_step(after.last_frame("s1") + 1, [100]))
            assert prove(left).fault == ""


@pytest.mark.parametrize("who_reads", ["a backup", "a proof"])
def test_what_is_known_elsewhere_is_on_the_disk(
    who_reads: str,
    tmp_path: Path,
    path: Path,
    journal: Journal,
    make_step: Callable[..., Step],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal.record(make_step(0, []))
    synced = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if who_reads == "a backup":
        back_up(path.parent, tmp_path / "backup")
    else:
        assert prove(path).fault == ""
    assert f"{path}-wal" in synced
