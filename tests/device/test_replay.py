"""Recorded frames, good and bad, delivered as a camera would."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_device.camera.headers import UnreadablePictureError
from fnrbc_device.camera.pictures import PICTURE_SUFFIXES, PictureReader
from fnrbc_device.camera.replay import DECODE_AHEAD, ReplaySource, open_source
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.records import BadFrame, Frame

SHARED_JPEGS = Path(__file__).parents[3] / "shared" / "data" / "smear_fields" / "images"


def scene(seed: int = 0, shape: tuple[int, int] = (96, 128)) -> NDArray[np.uint8]:
    """A colourful picture without a symmetry; JPEG keeps it to a few grey levels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)


def save(path: Path, rgb: NDArray[np.generic]) -> None:
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    bgr = rgb if rgb.ndim == 2 else rgb[..., order[rgb.shape[2]]]
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(bgr))
    assert done
    path.write_bytes(encoded.tobytes())


def read_all(path: Path) -> list[Frame | BadFrame]:
    with closing(open_source(path, 0.125)) as source:
        return list(iter(source.read, None))


def outcome(deliveries: list[Frame | BadFrame]) -> list[str]:
    return ["good" if isinstance(delivery, Frame) else delivery.reason for delivery in deliveries]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five good frames."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(5):
        save(frames / f"{index:03d}.jpg", scene(index))
    return frames


def test_a_folder_is_read_in_the_order_of_the_numbers_in_its_names_each_frame_once(tmp_path: Path) -> None:
    for name in ("b.png", "a10.png", "a2.png", "Z.png"):
        save(tmp_path / name, scene())
    deliveries = read_all(tmp_path)
    assert [delivery.name for delivery in deliveries] == ["Z.png", "a2.png", "a10.png", "b.png"]
    assert [delivery.index for delivery in deliveries] == [0, 1, 2, 3]
    assert np.all(np.diff([delivery.captured_at_s for delivery in deliveries]) > 0)


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_every_format_gives_red_green_blue(tmp_path: Path, suffix: str) -> None:
    truth = scene(3)
    save(tmp_path / f"frame{suffix}", truth)
    (frame,) = read_all(tmp_path)
    assert isinstance(frame, Frame)
    assert np.abs(frame.image.astype(int) - truth).mean() < 4


def test_frames_are_read_only_and_the_pixel_size_is_passed_on(folder: Path) -> None:
    with closing(open_source(folder, 0.125)) as source:
        frame = source.read()
        assert isinstance(frame, Frame)
        assert not frame.image.flags.writeable
        assert source.pixel_size_um == 0.125


def test_one_image_is_one_frame(tmp_path: Path) -> None:
    save(tmp_path / "field.png", scene(shape=(700, 900)))
    (frame,) = read_all(tmp_path / "field.png")
    assert isinstance(frame, Frame)
    assert frame.image.shape == (700, 900, 3)


def test_an_image_far_larger_than_a_frame_is_read_whole(tmp_path: Path) -> None:
    image = np.full((9000, 12000), 230, np.uint8)
    image[8990, 11990] = 7
    save(tmp_path / "huge.png", image)
    (frame,) = read_all(tmp_path / "huge.png")
    assert isinstance(frame, Frame)
    assert frame.image.shape == (9000, 12000, 3)
    assert frame.image[8990, 11990].tolist() == [7, 7, 7]


def test_a_video_is_read_frame_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "pan.avi"
    write_video(path, frames=12)
    deliveries = read_all(path)
    assert outcome(deliveries) == ["good"] * 12
    levels = [frame.image.mean() for frame in deliveries if isinstance(frame, Frame)]
    assert np.allclose(levels, np.arange(12) * 15 + 20, atol=3)
    assert deliveries[5].captured_at_s == pytest.approx(5 / 25)


def test_a_video_that_breaks_off_owes_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "pan.avi"
    write_video(path, frames=60, noisy=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    deliveries = read_all(path)
    assert outcome(deliveries)[0] == "good"
    assert isinstance(deliveries[-1], BadFrame)
    assert "of 60 frames" in deliveries[-1].detail


def write_video(path: Path, frames: int, noisy: bool = False) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (160, 120))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write a video to test with")
    for index in range(frames):
        writer.write(scene(index, (120, 160)) if noisy else np.full((120, 160, 3), index * 15 + 20, np.uint8))
    writer.release()


def test_links_spaces_and_letters_of_any_script_in_names_work(tmp_path: Path) -> None:
    there, frames = tmp_path / "there", tmp_path / "Präparat 7 血液"
    there.mkdir()
    frames.mkdir()
    save(there / "original.png", scene())
    (frames / "a link.png").symlink_to(there / "original.png")
    save(frames / "größe µm ñ.png", scene())
    assert outcome(read_all(frames)) == ["good", "good"]


def test_files_that_are_no_pictures_and_hidden_files_are_passed_over(folder: Path) -> None:
    (folder / "poses.csv").write_text("frame,x_px,y_px\n")
    (folder / "._000.jpg").write_bytes(b"\0\5\26\7")
    (folder / "thumbnails.png").mkdir()
    assert outcome(read_all(folder)) == ["good"] * 5


# Bad input


def test_a_missing_path_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_source(tmp_path / "nowhere", None)


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_an_impossible_pixel_size_is_said(folder: Path, size: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        open_source(folder, size)


def test_an_empty_folder_and_one_without_pictures_are_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds 0 files and no picture"):
        open_source(tmp_path, None)
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(SourceError, match="holds 1 files and no picture"):
        open_source(tmp_path, None)


def test_a_file_that_is_neither_picture_nor_video_is_said(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no video\n")
    with pytest.raises(SourceError, match="no video that can be opened"):
        open_source(path, None)


def test_a_text_file_called_png_costs_itself_only(folder: Path) -> None:
    (folder / "002b.png").write_text("this is no picture\n")
    deliveries = read_all(folder)
    assert outcome(deliveries) == ["good", "good", "good", "unreadable", "good", "good"]
    assert isinstance(deliveries[3], BadFrame)
    assert "002b.png is no picture that can be read (19 bytes)" in deliveries[3].detail


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif"])
def test_a_file_cut_off_anywhere_is_never_half_a_frame(folder: Path, suffix: str, share: float) -> None:
    path = folder / f"002b{suffix}"
    save(path, scene(7))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    deliveries = read_all(folder)
    assert outcome(deliveries) == ["good", "good", "good", "unreadable", "good", "good"]
    assert isinstance(deliveries[3], BadFrame)
    assert path.name in deliveries[3].detail


def test_a_jpeg_cut_off_after_its_thumbnail_is_still_seen_as_cut_off(tmp_path: Path) -> None:
    whole, thumbnail = (cv2.imencode(".jpg", scene(shape=s))[1].tobytes() for s in ((96, 128), (64, 64)))
    segment = b"Exif\0\0" + thumbnail
    holding = whole[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + whole[2:]
    path = tmp_path / "photo.jpg"
    path.write_bytes(holding)
    assert PictureReader().read(path).shape == (96, 128, 3)
    path.write_bytes(holding[:-400])
    with pytest.raises(UnreadablePictureError, match="cut off"):
        PictureReader().read(path)


def test_what_follows_a_jpegs_end_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "padded.jpg"
    save(path, scene())
    path.write_bytes(path.read_bytes() + bytes(512))
    assert PictureReader().read(path).shape == (96, 128, 3)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("restart", [0, 2])
def test_jpegs_with_several_scans_and_restart_marks_are_whole(tmp_path: Path, progressive: int, restart: int) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    data = cv2.imencode(".jpg", scene(), options)[1].tobytes()
    path = tmp_path / "scans.jpg"
    path.write_bytes(data)
    assert PictureReader().read(path).shape == (96, 128, 3)
    path.write_bytes(data[:-2])
    with pytest.raises(UnreadablePictureError, match="cut off"):
        PictureReader().read(path)


def test_a_png_with_one_byte_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flipped.png"
    save(path, scene())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadablePictureError, match="damaged"):
        PictureReader().read(path)


@pytest.mark.real_data
def test_no_whole_jpeg_of_real_smears_is_called_cut_off() -> None:
    if not SHARED_JPEGS.is_dir():
        pytest.skip("the real smear fields of ../shared/data are not here")
    reader = PictureReader()
    paths = sorted(SHARED_JPEGS.iterdir())[::12]
    assert paths
    assert all(reader.read(path).ndim == 3 for path in paths)


def test_a_link_to_nowhere_is_a_bad_frame(folder: Path) -> None:
    (folder / "001b.png").symlink_to(folder / "gone.png")
    deliveries = read_all(folder)
    assert outcome(deliveries) == ["good", "good", "unreadable", "good", "good", "good"]


def test_frames_of_another_size_than_most_are_bad(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.zeros((1, 1, 3), np.uint8))
    (tmp_path / "1.png").write_bytes(b"junk")
    for name, shape in (("2", (96, 128)), ("3", (128, 96)), ("4", (96, 128))):
        save(tmp_path / f"{name}.png", scene(shape=shape))
    deliveries = read_all(tmp_path)
    assert outcome(deliveries) == ["wrong_size", "unreadable", "good", "wrong_size", "good"]
    assert isinstance(deliveries[0], BadFrame)
    assert "1x1 px, below the limit of 64 px" in deliveries[0].detail
    assert isinstance(deliveries[3], BadFrame)
    assert "96x128 px where most frames are 128x96" in deliveries[3].detail


@pytest.mark.parametrize(("name", "content"), [("a.png", b"text"), ("a.jpg", b""), ("a.tif", b"II*\0")])
def test_a_single_bad_image_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        open_source(tmp_path / name, None)


def test_a_single_image_of_one_pixel_is_an_error(tmp_path: Path) -> None:
    save(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(SourceError, match=r"dot\.png is 1x1 px, below the limit of 64 px a side"):
        open_source(tmp_path / "dot.png", None)


def test_a_folder_in_which_nothing_can_be_read_ends_in_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("junk")
    with closing(open_source(tmp_path, None)) as source:
        assert isinstance(source.read(), BadFrame)
        assert isinstance(source.read(), BadFrame)
        with pytest.raises(SourceError, match=r"no frame that can be used: a\.png"):
            source.read()
        assert source.read() is None


# Depths and channels


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled_by_the_depth_that_the_camera_used(tmp_path: Path, bits: int, suffix: str) -> None:
    truth = scene(2)
    truth[0, 0] = 255
    scaled = np.rint(truth.astype(float) * (2**bits - 1) / 255).astype(np.uint16)
    save(tmp_path / f"deep{suffix}", scaled)
    image = PictureReader().read(tmp_path / f"deep{suffix}")
    assert np.abs(image.astype(int) - truth).max() <= 1


def test_a_darker_picture_later_is_not_brightened(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.full((96, 128), 4000, np.uint16))
    save(tmp_path / "1.png", np.full((96, 128), 500, np.uint16))
    bright, dark = read_all(tmp_path)
    assert isinstance(bright, Frame)
    assert isinstance(dark, Frame)
    assert bright.image.mean() == pytest.approx(4000 / 4095 * 255, abs=1)
    assert dark.image.mean() == pytest.approx(500 / 4095 * 255, abs=1)


def test_a_brighter_picture_than_the_depth_holds_widens_it(tmp_path: Path) -> None:
    save(tmp_path / "0.png", np.full((96, 128), 900, np.uint16))
    save(tmp_path / "1.png", np.full((96, 128), 3000, np.uint16))
    _, second = read_all(tmp_path)
    assert isinstance(second, Frame)
    assert second.image.mean() == pytest.approx(3000 / 4095 * 255, abs=1)


def test_grey_becomes_three_equal_channels_and_transparency_is_dropped(tmp_path: Path) -> None:
    truth = scene(4)
    save(tmp_path / "grey.png", truth[..., 1])
    save(tmp_path / "alpha.png", np.dstack([truth, np.zeros(truth.shape[:2], np.uint8)]))
    grey = PictureReader().read(tmp_path / "grey.png")
    assert np.array_equal(grey, np.repeat(truth[..., 1:2], 3, axis=2))
    assert np.array_equal(PictureReader().read(tmp_path / "alpha.png"), truth)


def test_a_picture_of_fractions_is_refused_with_its_kind(tmp_path: Path) -> None:
    save(tmp_path / "float.tif", scene().astype(np.float32) / 255)
    with pytest.raises(UnreadablePictureError, match="float32"):
        PictureReader().read(tmp_path / "float.tif")


# The thread


def deliveries_that(count: int, after: Callable[[], None] = lambda: None) -> Iterator[Frame]:
    for index in range(count):
        yield Frame(index, index / 30, scene())
    after()


def test_decoding_runs_only_a_few_frames_ahead() -> None:
    decoded: list[int] = []

    def counted() -> Iterator[Frame]:
        for frame in deliveries_that(100):
            decoded.append(frame.index)
            yield frame

    source = ReplaySource("counted", counted, 100, None)
    source.read()
    deadline = time.monotonic() + 30
    while len(decoded) < DECODE_AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    source.close()
    assert DECODE_AHEAD <= len(decoded) <= DECODE_AHEAD + 2


def test_an_exception_while_decoding_reaches_the_reader() -> None:
    def fail() -> None:
        raise ZeroDivisionError("in the thread")

    with closing(ReplaySource("failing", lambda: deliveries_that(2, fail), None, None)) as source:
        assert source.read() is not None
        assert source.read() is not None
        with pytest.raises(ZeroDivisionError, match="in the thread"):
            source.read()
        assert source.read() is None


def test_closing_in_the_middle_twice_and_unread_leaves_no_thread(folder: Path) -> None:
    open_source(folder, None).close()
    source = open_source(folder, None)
    source.read()
    source.close()
    source.close()
    assert source.read() is None


def test_frames_that_vanish_while_reading_are_bad_frames(folder: Path) -> None:
    source = open_source(folder, None)
    shutil.rmtree(folder)
    with closing(source):
        assert isinstance(source.read(), BadFrame)
