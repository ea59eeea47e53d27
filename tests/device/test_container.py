"""What a video file says of itself: one trimmed without loss is whole, one never ended or cut off is named as that."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.container import look_at_video
from fnrbc_device.camera.replay import open_source
from fnrbc_device.errors import SourceError
from fnrbc_device.records import BadFrame

FRAMES, FPS = 60, 30


def write_video(path: Path) -> bytes:
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), FPS, (160, 120))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write a video to test with")
    rng = np.random.default_rng(1)
    for index in range(FRAMES):
        writer.write(np.clip(rng.integers(0, 60, (120, 160, 3)) + 3 * index, 0, 255).astype(np.uint8))
    writer.release()
    return path.read_bytes()


def trimmed(data: bytes, first: int, frames: int) -> bytes:
    """The same samples, of which the edit list shows some: how a cut without a new encoding is written."""
    edit = data.index(b"elst") + 4
    of_media = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    second = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    shown = struct.pack(">Ii", frames * second // FPS, first * of_media // FPS)
    return data[: edit + 8] + shown + data[edit + 16 :]


def read_all(path: Path) -> tuple[int, list[str]]:
    """Good frames, and what was said of others."""
    source = open_source(path, 0.1)
    good, faults = 0, []
    while (one := source.read()) is not None:
        if isinstance(one, BadFrame):
            faults.append(one.detail)
        else:
            good += 1
    source.close()
    return good, faults


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi", ".mkv"])
def test_a_whole_video_is_read_whole(tmp_path, suffix):
    path = tmp_path / f"pan{suffix}"
    write_video(path)

    assert read_all(path) == (FRAMES, [])


@pytest.mark.parametrize(("first", "frames"), [(0, 20), (20, 30), (45, 15)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_what_an_edit_list_hides_is_not_missed(tmp_path, suffix, first, frames):
    path = tmp_path / f"trimmed{suffix}"
    path.write_bytes(trimmed(write_video(path), first, frames))

    good, faults = read_all(path)

    assert faults == []
    assert abs(good - frames) <= 1
    assert abs(open_source(path, 0.1).frames - frames) <= 1


@pytest.mark.parametrize("keep", [100, 5000, -1])
def test_a_video_without_its_index_was_never_ended_and_the_decoder_says_nothing_of_its_own(tmp_path, keep):
    path = tmp_path / "pan.mp4"
    data = write_video(path)
    index = data.index(b"moov") - 4
    assert index > len(data) // 2, "the index is at the end"
    media = data.index(b"mdat") - 4
    length = struct.unpack_from(">I", data, media)[0]
    assert media + length == index
    # The recorder patches the length of the media when it ends, as it writes the index; 0 means to the end.
    until = index if keep < 0 else media + keep
    path.write_bytes(data[:media] + struct.pack(">I", 0) + data[media + 4 : until])

    # In a process of its own: whoever used the decoder before has set how much it says.
    command = [sys.executable, "-m", "fnrbc_device.cli", "count", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: pan.mp4 was never ended: its index (moov)")


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_copy_that_broke_off_before_the_index_is_called_cut_off(tmp_path, suffix):
    path = tmp_path / f"pan{suffix}"
    data = write_video(path)
    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(SourceError, match=rf"is cut off: {len(data) // 2} of \d+ bytes are there; copy it again"):
        open_source(path, 0.1)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_of_a_copy_that_broke_off_the_frames_are_counted_and_the_rest_is_owed(tmp_path, suffix):
    path = tmp_path / f"pan{suffix}"
    data = write_video(path)
    path.write_bytes(data[: len(data) // 2])

    good, faults = read_all(path)

    assert 15 < good < 45
    assert len(faults) == 1
    assert f"is cut off: {len(data) // 2} of {len(data)} bytes are there; copy it again" in faults[0]


def test_an_avi_that_was_never_ended_is_named_as_that(tmp_path):
    path = tmp_path / "pan.avi"
    data = write_video(path)
    path.write_bytes(data[:4] + bytes(4) + data[8:])

    assert look_at_video(path).fault.startswith("was never ended: its length")


def test_an_empty_video_is_called_empty(tmp_path):
    path = tmp_path / "pan.mp4"
    path.touch()

    with pytest.raises(SourceError, match=r"pan\.mp4 is empty \(0 bytes\); copy it again"):
        open_source(path, 0.1)


def test_a_film_of_another_kind_keeps_its_own_words(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("this is no film\n" * 20)

    assert look_at_video(path).fault == ""


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_index_ends_in_no_traceback(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "pan.mp4"
    data = bytearray(write_video(path))
    index = data.index(b"moov")
    for place in rng.integers(index, len(data), 12):
        data[place] = rng.integers(256)
    path.write_bytes(data)

    found = look_at_video(path)

    assert found.frames is None or 0 <= found.frames <= 2**28


def test_what_is_left_out_of_a_folder_is_named_in_text_whatever_it_is_called(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((96, 128, 3), 200, np.uint8))
    (tmp_path / "m\udcfcller.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    source = open_source(tmp_path, 0.1)
    source.close()

    assert [one.name for one in source.left_out] == [r"m\xfcller.heic"]
    source.left_out[0].detail.encode("utf-8")


def test_a_video_in_a_folder_whose_name_is_no_text_is_read(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    write_video(folder / "pan.mp4")
    path = Path(shutil.move(str(folder), f"{tmp_path}/m\udcfcller")) / "pan.mp4"

    assert read_all(path) == (FRAMES, [])
