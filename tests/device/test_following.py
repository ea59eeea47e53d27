"""A follower's copy of one device's log: in order, each record once, and what can never come is said."""

import csv
import json
import random
from datetime import datetime, timezone
from itertools import pairwise

import pytest

from fnrbc_device.contract.commands import MAX_REPLAY
from fnrbc_device.errors import PublishError
from fnrbc_device.following.devices import AGAIN_S, MAX_JOURNALS, FollowedDevice
from fnrbc_device.following.gaps import FIRST_RETRY_S, GRACE_S, Gaps, Wanted
from fnrbc_device.following.lines import HEADING
from fnrbc_device.following.log_copy import LogCopy, write_parquet
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.records import SessionMeta
from fnrbc_device.reporting.spreadsheet import plain

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
EPOCH = "00ff"


def record(seq, **fields):
    return {"device": "fnrbc", "epoch": EPOCH, "seq": seq, "session": "s1", **fields}


def said(fields):
    return json.dumps(fields).encode()


def rows(folder, epoch=EPOCH):
    with (folder / f"fnrbc-{epoch}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Hands:
    """A clock that is set by hand, s."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def hands():
    return Hands()


@pytest.fixture
def device(tmp_path, hands):
    device = FollowedDevice(tmp_path, "fnrbc", hands)
    yield device
    device.close()


def asked(device):
    """Id of what a device is asked for once it was waited for long enough."""
    device.request(0.0, NOON)
    return json.loads(device.request(GRACE_S, NOON))["id"]


@pytest.mark.parametrize("seed", range(5))
def test_records_are_copied_once_and_in_order_whatever_the_order_they_come_in(device, tmp_path, seed):
    rng = random.Random(seed)
    arriving = [*range(1, 51), *rng.choices(range(1, 51), k=30)]
    rng.shuffle(arriving)
    for seq in arriving:
        device.hear("log/cell", said(record(seq)))
    assert [int(row["seq"]) for row in rows(tmp_path)] == list(range(1, 51))


def test_a_session_that_went_on_after_a_crash_is_copied_as_the_journal_has_it(device, tmp_path, path, make_step):
    meta = SessionMeta("0.1.0", "b", "simulation", 0.125)
    with Journal.open(path) as journal:
        journal.begin("s1", NOON, meta)
        journal.record(make_step(0, [1, 2]))
    with Journal.open(path) as journal:
        journal.resume("s1", {"after_frame": 0})
        journal.record(make_step(1, [3]))
        journal.end(NOON, journal.tally("s1"), complete=True)
        epoch = journal.epoch
    outbox = Outbox(path)
    for message in outbox.pending(0, 100):
        device.hear(message.topic, message.payload.encode())
    outbox.close()

    copy = rows(tmp_path, epoch)
    assert [row["event"] for row in copy] == ["started", "counted", "counted", "resumed", "counted", "finished"]
    assert [row["topic"] for row in copy if row["event"] == "resumed"] == ["log/session"]
    assert copy[-1]["cells"] == "3"


@pytest.mark.parametrize("epoch", ["../../etc/passwd", "", "00FF", "0" * 65, 7, None])
def test_what_is_no_record_of_the_device_is_left_out(device, tmp_path, epoch):
    device.hear("log/cell", said(record(1) | {"epoch": epoch}))
    device.hear("log/cell", said(record(1) | {"device": "other"}))
    device.hear("log/cell", said(record(True)))
    device.hear("log/cell", b"\xff[" + b"[" * 5000)
    assert list(tmp_path.iterdir()) == []


def test_fields_of_newer_software_are_kept_whole(device, tmp_path):
    device.hear("log/cell", said(record(1, stain="giemsa", lobes=3)))
    assert json.loads(rows(tmp_path)[0]["other_fields"]) == {"stain": "giemsa", "lobes": 3}


def test_what_the_device_no_longer_keeps_is_counted_as_lost_and_the_copy_goes_on(device, tmp_path):
    device.hear("availability", b"online")
    device.hear("log/cell", said(record(1)))
    device.hear("log/cell", said(record(9)))
    reply = {"verb": "replay", "epoch": EPOCH, "log_seq": 9, "oldest_seq": 8, "code": "not_kept"}
    device.hear("reply/follow", said(reply | {"request": asked(device)}))
    device.hear("log/cell", said(record(8, replayed=True)))
    assert device.lost == 6
    assert [int(row["seq"]) for row in rows(tmp_path)] == [1, 8, 9]


def test_where_nothing_is_kept_any_more_it_stops_asking(device, tmp_path):
    device.hear("status", said({"epoch": EPOCH, "log_seq": 5}))
    device.hear("availability", b"online")
    assert device.request(0.0, NOON) is None  # it may still be on its way
    request = json.loads(device.request(GRACE_S, NOON))
    assert request["to_seq"] == 5
    reply = {"verb": "replay", "epoch": EPOCH, "log_seq": 6, "oldest_seq": 7, "code": "not_kept"}
    device.hear("reply/follow", said(reply | {"request": request["id"]}))
    assert device.lost == 6
    assert device.request(1000.0, NOON) is None


def test_a_line_that_a_kill_cut_short_is_written_again(tmp_path):
    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        for seq in (1, 2, 3):
            copy.take("log/cell", record(seq, reason="two\nlines"))
    whole = copy.path.read_bytes()
    copy.path.write_bytes(whole[:-5])

    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        assert copy.last_seq == 2
        assert copy.take("log/cell", record(3, reason="two\nlines"))
    assert copy.path.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b,c\n1,2,3", "its columns are those of other software"),
        (HEADING + b"no,record,of,ours,x\n", "cannot be used"),
    ],
)
def test_a_file_of_others_is_refused_and_left_as_it_is(tmp_path, content, words):
    path = tmp_path / f"fnrbc-{EPOCH}.csv"
    path.write_bytes(content)
    with pytest.raises(PublishError, match=words):
        LogCopy(tmp_path, "fnrbc", EPOCH)
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", [0, 7, len(HEADING) - 1])
def test_a_heading_that_a_kill_cut_short_is_written_again(tmp_path, length):
    (tmp_path / f"fnrbc-{EPOCH}.csv").write_bytes(HEADING[:length])
    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        copy.take("log/cell", record(1))
    assert [row["seq"] for row in rows(tmp_path)] == ["1"]


def test_what_is_missing_is_asked_for_less_and_less_often_and_in_pieces():
    gaps, asked_at = Gaps(), []
    for now_s in range(200):
        wanted = gaps.wanted(0, 25_000, now_s)
        if wanted:
            assert wanted == Wanted(1, MAX_REPLAY)
            asked_at.append(now_s)
    waits = [later - earlier for earlier, later in pairwise(asked_at)]
    assert waits[0] == FIRST_RETRY_S
    assert waits == sorted(waits)
    assert gaps.wanted(10_000, 25_000, 200.0) is None  # it grows
    assert gaps.wanted(10_000, 25_000, 200.0 + GRACE_S) == Wanted(10_001, 20_000)


@pytest.mark.parametrize("length", [100, 50_000, 70_000, 200_000, 1_500_000])
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_record_of_any_length_is_found_again_at_the_next_start(tmp_path, length, cut):
    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        copy.take("log/audit", record(1, detail="short"))
        copy.take("log/audit", record(2, schema="x" * length, detail=',"' * (length // 2), more="y" * length))
    path = tmp_path / f"fnrbc-{EPOCH}.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])

    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        assert copy.last_seq == (2 if cut == 0 else 1)
        copy.take("log/audit", record(copy.last_seq + 1, detail="after"))
    assert path.read_bytes().count(b"\n") == (4 if cut == 0 else 3)


def test_half_a_character_and_a_nul_are_copied_as_text(device, tmp_path):
    device.hear("log/audit", said(record(1, detail="a\ud800b\0c")))
    device.close()
    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        assert copy.last_seq == 1
    assert rows(tmp_path)[0]["detail"] == "a\\ud800b\ufffdc"


FORMULAS = ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\tx", "'quoted", "''twice", "plain", ""]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_somebody_wrote_is_shown_by_a_spreadsheet_never_computed(device, tmp_path, text):
    device.hear("log/audit", said(record(1, detail=text, times=-3)))

    (row,) = rows(tmp_path)
    assert not row["detail"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert plain(row["detail"]) == text
    assert row["times"] == "-3"  # a number stays one


@pytest.mark.parametrize("text", FORMULAS)
def test_parquet_has_the_text_as_it_was_told(device, tmp_path, text):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    device.hear("log/audit", said(record(1, detail=text)))
    device.close()

    table = parquet.read_table(write_parquet(tmp_path / f"fnrbc-{EPOCH}.csv")).to_pylist()
    assert (table[0]["detail"] or "") == text


def test_a_flood_of_journals_fills_no_folder(device, tmp_path, caplog, hands):
    device.hear("log/cell", said(record(1)))
    for number in range(800):
        device.hear("log/cell", said(record(1) | {"epoch": f"{number:x}"}))
        device.hear("status", said({"epoch": f"a{number:x}", "log_seq": 3}))

    assert len(list(tmp_path.glob("*.csv"))) == MAX_JOURNALS
    assert "journals of fnrbc are in" in caplog.text
    assert len(caplog.records) < 100
    device.hear("log/cell", said(record(2)))  # the device's own goes on
    assert [row["seq"] for row in rows(tmp_path)] == ["1", "2"]


def test_no_reply_skips_what_was_not_asked_for_or_cannot_be(device, tmp_path):
    device.hear("availability", b"online")
    device.hear("log/cell", said(record(1)))
    device.hear("log/cell", said(record(4)))
    request = asked(device)
    false = [
        {"log_seq": 9, "oldest_seq": 8, "request": "another"},
        {"log_seq": 9, "oldest_seq": 8},
        {"log_seq": 2**53 - 1, "oldest_seq": 2**53 - 2, "request": request},
        {"log_seq": 9, "oldest_seq": 2**53 - 2, "request": request},
        {"log_seq": 9, "oldest_seq": 11, "request": request},
    ]
    for reply in false:
        device.hear("reply/follow", said({"verb": "replay", "epoch": EPOCH, "code": "not_kept", **reply}))

    assert device.lost == 0
    device.hear("log/cell", said(record(2)))
    device.hear("log/cell", said(record(3)))
    assert [row["seq"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("seq", [2**53 - 1, 500_000_000])
def test_numbers_that_cannot_be_of_the_log_are_left_out(device, tmp_path, seq):
    device.hear("availability", b"online")
    device.hear("log/cell", said(record(1)))
    device.hear("log/cell", said(record(seq)))
    device.hear("tally", said({"log_seq": seq}))

    device.request(0.0, NOON)
    assert device.request(1000.0, NOON) is None  # nothing is missing
    assert [row["seq"] for row in rows(tmp_path)] == ["1"]


def test_a_device_whose_copy_cannot_be_written_is_left_aside_and_comes_back(device, tmp_path, hands, caplog):
    other = FollowedDevice(tmp_path, "other", hands)
    device.hear("log/cell", said(record(1)))
    (copy,) = [journal.copy for journal in device._journals.values()]
    copy._file.close()
    copy._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123 - a disk that is full

    device.hear("log/cell", said(record(2)))
    other.hear("log/cell", said(record(1) | {"device": "other"}))

    assert device.troubled
    assert not other.troubled
    assert "free some disk" in caplog.text
    hands.now_s += AGAIN_S - 1
    device.hear("log/cell", said(record(2)))
    assert [row["seq"] for row in rows(tmp_path)] == ["1"]
    hands.now_s += 1
    device.hear("log/cell", said(record(2)))
    assert not device.troubled
    assert [row["seq"] for row in rows(tmp_path)] == ["1", "2"]
    other.close()


def test_a_record_that_differs_from_the_one_that_is_held_is_refused_and_said_once(device, tmp_path, caplog):
    for seq in range(1, 4001):
        device.hear("log/cell", said(record(seq, reason="x" * (seq % 50))))
    device.hear("log/cell", said(record(9, ahead=True) | {"seq": 4009}))
    before = (tmp_path / f"fnrbc-{EPOCH}.csv").read_bytes()

    for seq in (1, 2, 1999, 2000, 4000):
        device.hear("log/cell", said(record(seq, reason="x" * (seq % 50), replayed=True)))
    assert (device.differing, caplog.messages) == (0, [])

    for seq in (1, 77, 1999, 4000, 4009):
        device.hear("log/cell", said(record(seq, reason="another")))
    assert device.differing == 5
    assert [words for words in caplog.messages if "is not the one that" in words] == [
        f"fnrbc: its record 1 is not the one that {tmp_path / f'fnrbc-{EPOCH}.csv'} holds under that number, and is "
        "refused; was an older journal put back there? hold the two together: fnrbc verify STATE_FOLDER --against "
        f"{tmp_path / f'fnrbc-{EPOCH}.csv'}"
    ]
    assert (tmp_path / f"fnrbc-{EPOCH}.csv").read_bytes() == before


def test_after_a_restore_a_new_file_goes_on_and_what_is_missing_before_is_asked_for(device, tmp_path):
    for seq in range(1, 6):
        device.hear("log/cell", said(record(seq)))
    device.hear("availability", b"online")
    status = {"epoch": "00ee", "epoch_first_seq": 8, "epoch_before": EPOCH, "log_seq": 9}
    device.hear("status", said(status))
    device.hear("log/audit", said(record(8) | {"epoch": "00ee"}))
    device.hear("log/cell", said(record(9) | {"epoch": "00ee"}))
    assert [row["seq"] for row in rows(tmp_path, "00ee")] == ["8", "9"]

    device.request(0.0, NOON)
    asked = json.loads(device.request(GRACE_S, NOON))
    assert (asked["epoch"], asked["from_seq"], asked["to_seq"]) == (EPOCH, 6, 7)
    for seq in (6, 7):
        device.hear("log/cell", said(record(seq, replayed=True)))
    device.hear("tally", said({"log_seq": 9}))
    assert [row["seq"] for row in rows(tmp_path)] == ["1", "2", "3", "4", "5", "6", "7"]
    assert device.request(1000.0, NOON) is None
    assert (device.lost, device.differing) == (0, 0)


def test_what_was_told_and_then_lost_stays_in_the_copy_and_is_not_asked_for(device, tmp_path):
    for seq in range(1, 21):
        device.hear("log/cell", said(record(seq)))
    device.hear("availability", b"online")
    device.hear("status", said({"epoch": "00ee", "epoch_first_seq": 8, "epoch_before": EPOCH, "log_seq": 8}))
    device.hear("log/audit", said(record(8) | {"epoch": "00ee"}))

    assert len(rows(tmp_path)) == 20
    assert [device.request(now_s, NOON) for now_s in (0.0, GRACE_S, 1000.0)] == [None, None, None]


def test_a_copy_that_an_earlier_version_began_goes_on_with_its_own_columns(tmp_path):
    columns = [name for name in HEADING.decode().strip().split(",") if not name.startswith("chain_")]
    path = tmp_path / f"fnrbc-{EPOCH}.csv"
    path.write_text(",".join(columns) + "\n")
    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        copy.take("log/session", record(1, chain_link=7, chain_hash="ab"))
        assert not copy.differs("log/session", record(1, chain_link=7, chain_hash="ab", replayed=True))
        assert copy.differs("log/session", record(1, chain_link=7, chain_hash="cd"))
    (row,) = rows(tmp_path)
    assert list(row) == columns
    assert json.loads(row["other_fields"]) == {"chain_link": 7, "chain_hash": "ab"}
    with LogCopy(tmp_path, "fnrbc", EPOCH) as copy:
        assert copy.last_seq == 1
