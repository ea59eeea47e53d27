"""A batch's parts: what is to be counted, whether it is done, what a row says, how far it is."""

import csv
import io
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.batch import counting
from fnrbc_device.batch.counting import Order, OutputError, WorkerMismatchError, count_one
from fnrbc_device.batch.fingerprint import MISSING, fingerprint
from fnrbc_device.batch.job import require_outside
from fnrbc_device.batch.progress import Progress
from fnrbc_device.batch.rows import Basis, BatchFolder, Row, folder_name, read_row
from fnrbc_device.batch.sources import Settings, Source, sources_of
from fnrbc_device.batch.table import Table
from fnrbc_device.batch.workers import is_open_network
from fnrbc_device.camera.simulated.files import write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import UsageError
from fnrbc_device.model.bundle import load_bundle

USUAL = Settings(pixel_size_um=0.125)


def listed(folder: Path, text: str, name: str = "archive.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


# The list


def test_a_list_of_lines_names_places_from_where_it_lies(tmp_path):
    path = listed(tmp_path, "# our archive\n\none.tif\nsub/two.svs\n/abs/three\n", "list.txt")

    found = sources_of([path, tmp_path / "four"], USUAL)

    names = [tmp_path / "one.tif", tmp_path / "sub" / "two.svs", Path("/abs/three"), tmp_path / "four"]
    assert [one.path for one in found] == names
    assert {one.settings for one in found} == {USUAL}
    assert found[0].where == f"{path}, line 3"


@pytest.mark.parametrize(
    "text",
    [
        "source,specimen,pixel_size_um,kind\na,B 17,0.25,blank\nb,,,\n",
        "Source;Specimen;Pixel_Size_um;Kind\r\na;B 17;0,25;blank\r\nb;;;\r\n",
        "source\tspecimen\tpixel_size_um\tkind\na\tB 17\t0.25\tblank\nb\t\t\t\n\n",
    ],
)
def test_a_csv_says_how_each_source_is_read_and_what_it_leaves_empty_is_as_usual(tmp_path, text):
    first, second = sources_of([listed(tmp_path, text)], USUAL)

    assert first.specimen == "B 17"
    assert first.settings == Settings(pixel_size_um=0.25, kind="blank")
    assert (second.specimen, second.settings) == ("", USUAL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,specimen\na,b\n", "has the columns path, specimen; it needs `source`"),
        ("source,pixel_size\na,0.1\n", "has the columns source, pixel_size"),
        ("source,source\na,b\n", "each once"),
        ("source,pixel_size_um\na,0.1\nb,much\n", "line 3: pixel_size_um"),
        ("source,pixel_size_um\na,400\n", "line 2: the pixel size is 400"),
        ("source,kind\na,thing\n", "line 2: kind"),
        ('source,stage_axes\na,"-x"\n', "line 2: "),
        ("source,allow_left_out\na,2\n", "line 2: allow_left_out"),
        ("source,specimen\na,b,c\n", "line 2: it has more fields than the header"),
        ("source,specimen\n,b\n", "line 2: no source is named"),
        ("source,specimen\na,b\x07\n", "line 2: the specimen holds a control character"),
        ("source,kind\na,blank\n./a,sample\n", "is named 2 times with other settings"),
        ("source\n", "no source was given"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_with_its_line(tmp_path, text, words):
    with pytest.raises(UsageError) as refused:
        sources_of([listed(tmp_path, text)], USUAL)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_source_named_twice_or_through_a_link_is_one(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")

    assert [one.path for one in sources_of([tmp_path / "a", tmp_path / "link", tmp_path / "a"], USUAL)] == [
        tmp_path / "a"
    ]


def test_results_are_not_written_into_a_source(tmp_path):
    with pytest.raises(UsageError, match="lies in the source"):
        require_outside(tmp_path / "frames" / "out", [Source(tmp_path / "frames", USUAL)])
    require_outside(tmp_path / "out", [Source(tmp_path / "frames", USUAL)])


# Whether it is the same source


def test_a_source_is_the_same_until_a_file_of_it_changes(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "0.png").write_bytes(b"one")
    before = fingerprint(frames)
    assert (fingerprint(frames), before.size) == (before, 3)

    (frames / "1.png").write_bytes(b"two")
    more = fingerprint(frames)
    (frames / "1.png").rename(frames / "2.png")
    renamed = fingerprint(frames)
    (frames / "2.png").write_bytes(b"2wo")
    os.utime(frames / "2.png", (1, 1))

    assert len({before.digest, more.digest, renamed.digest, fingerprint(frames).digest}) == 4


def test_a_slide_is_its_file_and_the_folder_that_holds_its_pixels(tmp_path):
    slide, data = tmp_path / "slide.mrxs", tmp_path / "slide"
    slide.write_bytes(b"names")
    data.mkdir()
    (data / "Data0000.dat").write_bytes(b"pixels")
    (tmp_path / "other.mrxs").write_bytes(b"names")
    before = fingerprint(slide)
    assert before.size == 11

    (tmp_path / "other.mrxs").write_bytes(b"another")
    assert fingerprint(slide) == before
    (data / "Data0000.dat").write_bytes(b"pixel")
    assert fingerprint(slide).digest != before.digest
    assert fingerprint(tmp_path / "gone").digest == MISSING


# The row


@pytest.fixture(scope="module")
def pan(tmp_path_factory):
    """A folder of four small frames."""
    folder = tmp_path_factory.mktemp("pan")
    slide = SimulatedSlide.make(31, "giemsa", 12)
    write_frames(folder, SimulatedMicroscope(slide, seed=31, frame_shape=(480, 640)), frames=4)
    return folder / "frames"


@pytest.fixture
def order(tmp_path, pan):
    def make(path: Path = pan, **settings: object) -> Order:
        (tmp_path / "out" / ".work").mkdir(parents=True, exist_ok=True)
        source = Source(path, Settings.model_validate({**USUAL.model_dump(), **settings}), specimen="=B 17")
        basis = Basis(load_bundle(None).id, counting.fnrbc_device.__version__)
        return Order(source, fingerprint(path).digest, None, basis, tmp_path / "out" / ".work")

    return make


@pytest.fixture(scope="module", autouse=True)
def threads_as_before():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_a_source_is_done_when_its_folder_with_its_row_is_in_its_place(tmp_path, order):
    folder, what = BatchFolder(tmp_path / "out"), order()
    outcome = count_one(what)
    assert (outcome.state, outcome.error) == ("complete", "")
    assert folder.row_of(what.source) is None

    folder.adopt(outcome.made, what.source)

    row = folder.row_of(what.source)
    assert row is not None
    assert row.stale(what.source, what.fingerprint, what.basis) == ""
    assert {one.name for one in (folder.path / folder_name(what.source.path)).iterdir()} == {
        "row.json", "summary.json", "cells.csv", "counts.csv", "poses.csv", "report.html",
    }  # fmt: skip
    table = Table(folder, [what.source])
    table.write()
    (line,) = csv.DictReader(io.StringIO(table.path.read_text(encoding="utf-8")))
    assert (line["specimen"], line["state"]) == ("'=B 17", "complete")
    assert int(line["cells"]) == row.summary["cells"] > 0
    assert list(folder.work.iterdir()) == []


def test_a_row_says_what_it_does_not_answer_any_more(order, pan):
    what = order()
    row = counting.row_of(what, "complete", "")
    other = replace(what.source, settings=USUAL.model_copy(update={"pixel_size_um": 0.2, "kind": "blank"}))

    assert row.stale(what.source, "else", what.basis) == "the source changed"
    assert row.stale(what.source, what.fingerprint, Basis("b" * 64, "9")) == (
        f"the bundle changed ({what.basis.bundle[:16]} \N{RIGHTWARDS ARROW} {'b' * 16}); "
        f"fnrbc changed ({what.basis.version} \N{RIGHTWARDS ARROW} 9)"
    )
    assert row.stale(other, what.fingerprint, what.basis) == (
        "pixel_size_um changed (0.125 \N{RIGHTWARDS ARROW} 0.2); kind changed (sample \N{RIGHTWARDS ARROW} blank)"
    )


def test_a_new_count_takes_the_place_of_an_old_one_whole(tmp_path, order):
    folder, what = BatchFolder(tmp_path / "out"), order()
    folder.note_failure(counting.row_of(what, "failed", "once"), what.source)
    (folder.path / folder_name(what.source.path) / "left.txt").write_text("of the old one")

    folder.note_failure(counting.row_of(what, "failed", "again"), what.source)

    assert [one.name for one in (folder.path / folder_name(what.source.path)).iterdir()] == ["row.json"]
    assert folder.row_of(what.source).error == "again"
    assert list(folder.work.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2}', b"\xff"])
def test_a_damaged_row_is_no_row(tmp_path, content):
    (tmp_path / "row.json").write_bytes(content)
    assert read_row(tmp_path) is None


def test_a_picture_that_cannot_be_counted_costs_its_source_and_leaves_a_sentence_alone(tmp_path, order):
    (tmp_path / "grey.png").write_bytes(b"no picture")

    outcome = count_one(order(tmp_path / "grey.png"))

    row = read_row(outcome.made)
    assert (outcome.state, row.state, row.error) == ("failed", "failed", outcome.error)
    assert "grey.png" in row.error
    assert row.summary is None
    assert [one.name for one in outcome.made.iterdir()] == ["row.json"]


def test_frames_of_which_none_can_be_used_are_a_failure_and_not_a_count_of_nothing(tmp_path, order):
    (tmp_path / "dark").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / "dark" / f"{index}.png"), np.full((480, 640, 3), index, np.uint8))

    outcome = count_one(order(tmp_path / "dark"))

    assert outcome.state == "failed"
    assert "none of 2 frames could be used" in outcome.error


def test_a_source_counted_in_part_is_incomplete_and_keeps_its_count(tmp_path, order, pan):
    (tmp_path / "frames").mkdir()
    for one in pan.iterdir():
        (tmp_path / "frames" / one.name).symlink_to(one)
    (tmp_path / "frames" / "zzz.png").write_bytes(b"no picture")

    outcome = count_one(order(tmp_path / "frames"))

    row = read_row(outcome.made)
    assert (row.state, row.summary["frames_used"]) == ("incomplete", 4)
    assert "20.0% of the pictures given are not in the count" in row.error
    assert count_one(order(tmp_path / "frames", allow_left_out=0.2)).state == "complete"


def test_what_is_no_fault_of_the_source_is_raised(tmp_path, order):
    what = order()

    assert count_one(replace(what, fingerprint="else")).state == "other source"
    with pytest.raises(WorkerMismatchError, match="runs fnrbc"):
        count_one(replace(what, basis=replace(what.basis, version="9")))
    with pytest.raises(WorkerMismatchError, match="has the bundle"):
        count_one(replace(what, basis=replace(what.basis, bundle="b" * 64)))
    with pytest.raises(OutputError, match="it goes on where it was"):
        count_one(replace(what, work=tmp_path / "nowhere"))


def test_a_source_that_changes_while_it_is_counted_is_no_count(tmp_path, order, pan):
    (tmp_path / "frames").mkdir()
    for one in pan.iterdir():
        (tmp_path / "frames" / one.name).symlink_to(one)
    what = order(tmp_path / "frames")

    def copy_more_once_it_is_begun():
        while not any(what.work.iterdir()):
            time.sleep(0.001)
        (tmp_path / "frames" / "late.txt").write_text("copied meanwhile")

    copying = threading.Thread(target=copy_more_once_it_is_begun)
    copying.start()
    outcome = count_one(what)
    copying.join()

    assert (outcome.state, outcome.error) == (
        "failed", "its files changed while they were counted; run the batch again",
    )  # fmt: skip


# How far it is


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_time_left_goes_by_the_size_of_what_is_left():
    now = [0.0]
    progress = Progress({"a": 100, "b": 300, "c": 0}, io.StringIO(), lambda: now[0])
    assert progress.words(2) == "0 of 3 sources, 2 at a time, time left not known yet"

    now[0] = 60.0
    progress.done("a", failed=True)

    assert progress.words(0) == "1 of 3 sources, 1 failed, no worker there now, about 3 min left"


def test_a_pipe_gets_a_line_every_ten_seconds_and_a_terminal_one_that_is_written_over():
    now = [0.0]
    pipe, terminal = io.StringIO(), Terminal()
    shown = [Progress({"a": 1, "b": 1}, stream, lambda: now[0]) for stream in (pipe, terminal)]
    for tick in range(101):
        now[0] = tick / 4
        for one in shown:
            one.tick(1)

    assert pipe.getvalue().count("\n") == 2
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().count("\r") == 50


@pytest.mark.parametrize(
    ("address", "open_to_all"),
    [
        ("tcp://127.0.0.1:8786", False), ("tcp://[::1]:8786", False), ("tcp://localhost:8786", False),
        ("tls://10.0.0.5:8786", False), ("tcp://10.0.0.5:8786", True), ("tcp://cluster:8786", True),
    ],
)  # fmt: skip
def test_it_is_said_where_orders_cross_a_network_for_all_to_read(address, open_to_all):
    assert is_open_network(address) == open_to_all


def test_rows_are_told_apart_by_their_whole_path(tmp_path):
    names = {folder_name(Path(one)) for one in ("/a/slide.svs", "/b/slide.svs", "/a/slide svs", "/a/\udcfc.svs", "/")}
    assert len(names) == 5
    assert all((name == Path(name).name and name.isascii()) or "ü" in name for name in names)


def test_a_row_is_read_as_it_was_written(order):
    row = counting.row_of(order(), "incomplete", "\udcfc is no text", ["warned"], {"cells": 3})
    assert Row.model_validate_json(row.model_dump_json()) == row
    assert row.error == "\\xfc is no text"
