"""What decoders print of damage is heard, and nobody else's lines are lost."""

import io
import os
import subprocess
import sys
from contextlib import closing

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from fnrbc_device.camera.decoder_words import damage_heard
from fnrbc_device.camera.headers import UnreadablePictureError
from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.camera.replay import open_source
from fnrbc_device.records import BadFrame, Frame

FRAMES, KEY_EVERY = 24, 8
GROUND = cv2.resize(np.random.default_rng(4).integers(0, 255, (30, 40, 3), dtype=np.uint8), (320, 240))


def video(codec, form):
    """A pan over a coloured ground, a key frame every eight."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 96, 72
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = KEY_EVERY
        for number in range(FRAMES):
            seen = np.ascontiguousarray(GROUND[number : number + 72, 2 * number : 2 * number + 96])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(seen, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def packet(data, number):
    """Where a packet's bytes lie."""
    with av.open(io.BytesIO(data)) as container:
        found = [bytes(one) for one in container.demux(video=0) if one.size]
    return data.index(found[number]), len(found[number])


def read_all(path):
    with closing(open_source(path, 0.125)) as source:
        return list(iter(source.read, None))


@pytest.mark.parametrize(
    ("codec", "form"), [("libx264", "mp4"), ("libx264", "avi"), ("mpeg4", "avi"), ("mpeg4", "mp4"), ("mjpeg", "avi")]
)
def test_of_a_damaged_video_no_frame_is_used_that_its_decoder_made_up(tmp_path, capfd, codec, form):
    data, path = bytearray(video(codec, form)), tmp_path / f"pan.{form}"
    path.write_bytes(data)
    whole = [frame.image.astype(np.int16) for frame in read_all(path)]
    assert len(whole) == FRAMES
    start, length = packet(bytes(data), 10)
    data[start + length // 3 : start + 2 * length // 3] = b"\xff" * (2 * length // 3 - length // 3)
    path.write_bytes(data)
    read = read_all(path)
    bad = [frame for frame in read if isinstance(frame, BadFrame)]
    assert bad
    assert "is damaged at frame" in bad[0].detail
    for frame in read:
        if isinstance(frame, Frame):
            assert min(np.abs(frame.image - right).mean() for right in whole) < 1
    assert isinstance(read[0], Frame)
    assert isinstance(read[-1], Frame)  # what follows the next key frame is right again
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Pillow.fromarray(GROUND).save(path, quality=90)
    return path, path.read_bytes()


def test_a_jpeg_whose_scan_is_damaged_is_refused_in_one_sentence(tmp_path, capfd):
    path, data = jpeg(tmp_path)
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"\xff\xd0" * 20 + data[middle + 40 :])
    with pytest.raises(UnreadablePictureError, match=r"a damaged JPEG .its decoder says: Corrupt JPEG data"):
        PictureReader().read(path)
    assert capfd.readouterr().err == ""


def test_a_jpeg_that_its_camera_filled_up_is_read_without_a_word(tmp_path, capfd):
    path, data = jpeg(tmp_path)
    expected = PictureReader().read(path)
    path.write_bytes(data[:-2] + b"\0\0\0" + data[-2:])
    assert np.array_equal(PictureReader().read(path), expected)
    assert capfd.readouterr().err == ""


def test_lines_of_others_go_on_to_where_they_were_meant_for(capfd):
    with damage_heard() as said:
        os.write(1, b"a result\n")
        os.write(2, b"Corrupt JPEG data: bad Huffman code\na warning\n")
    assert said == ["Corrupt JPEG data: bad Huffman code"]
    assert capfd.readouterr() == ("a result\n", "a warning\n")


def test_with_closed_outputs_pictures_are_read_as_before(tmp_path):
    path, _ = jpeg(tmp_path)
    code = (
        "import os, sys; os.close(1); os.close(2)\n"
        "from pathlib import Path\nfrom fnrbc_device.camera.pictures import PictureReader\n"
        f"sys.exit(7 if PictureReader().read(Path({str(path)!r})).shape == (240, 320, 3) else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
