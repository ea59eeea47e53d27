"""Reads the frames of a video file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.container import look_at_video
from fnrbc_device.camera.decoder_words import damage_heard
from fnrbc_device.errors import SourceError
from fnrbc_device.host.console import readable
from fnrbc_device.records import BadFrame, Frame, Image

NOMINAL_FPS: Final = 30.0
"""Files that do not say how fast they were recorded: the cameras meant here deliver 30 frames/s."""

_MOST_FAILED: Final = 250
"""Frames in a row that cannot be decoded, eight seconds of a pan: a decoder that fails for ever ends, too."""

KEY_FRAME: Final = ord("I")
"""Type of a frame that needs no other, as OpenCV says it: what is wrong before it ends with it."""


class UnreadableVideoError(SourceError):
    """A file that should be a video holds none that can be opened."""


def look_into(path: Path) -> tuple[Image, int | None]:
    """Give the first frame of a video, and how many there are where the file says so.

    Raises
    ------
    UnreadableVideoError
        It cannot be opened, or opens and gives no frame.
    """
    capture = _capture(path)
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    with damage_heard():
        read, first = capture.read()
    _close(capture)
    # Some files open as a video and hold none: the first frame is the proof.
    if not read:
        raise UnreadableVideoError(_no_video(path))
    shown = look_at_video(path).frames
    frames = frames if shown is None else shown
    return _as_rgb(first), frames if frames > 0 else None


def frames_of_video(path: Path, expected: int | None) -> Iterator[Frame | BadFrame]:
    """Frames of a video. One that ends before it should owes its reader a frame, and says so.

    Parameters
    ----------
    path
        The file.
    expected
        How many frames it says to hold; None where it does not say.
    """
    capture = _capture(path)
    fps = capture.get(cv2.CAP_PROP_FPS) or NOMINAL_FPS
    index = 0
    held: Frame | BadFrame | None = None
    damage, failed = "", 0
    try:
        while True:
            with damage_heard() as said:
                read, picture = capture.read()
            failed = 0 if read else failed + 1
            if failed and (not said or failed > _MOST_FAILED):
                break
            if held is not None:
                yield held
            damage = _damage_after(damage, said, int(capture.get(cv2.CAP_PROP_FRAME_TYPE)))
            where = f"{path.name}#{index}"
            if damage:
                held = BadFrame(index, index / fps, "unreadable", _damaged(path, index, damage), where)
            else:
                held = Frame(index, index / fps, _as_rgb(picture), where)
            index += 1
    finally:
        _close(capture)
    if detail := _missing_end(path, index, expected):
        # The frame that a break goes through decodes to half of itself over half of the one before.
        held = BadFrame(max(index - 1, 0), max(index - 1, 0) / fps, "unreadable", detail, f"{path.name}#{index}")
    if held is not None:
        yield held


def _damage_after(before: str, said: list[str], kind: int) -> str:
    """What is wrong with the frame just read; a decoder makes up what it lacks, and later frames build on it."""
    if said:
        return said[0]
    return "" if kind == KEY_FRAME else before


def _damaged(path: Path, index: int, damage: str) -> str:
    return f"{path.name} is damaged at frame {index} (its decoder says: {damage}); copy it again, or cut that part out"


def _close(capture: cv2.VideoCapture) -> None:
    with damage_heard():  # at its end a decoder tells how much it read
        capture.release()


def _capture(path: Path) -> cv2.VideoCapture:
    try:
        with path.open("rb") as file, damage_heard():
            # OpenCV takes names that are text only; of others it is given the number of the open file.
            is_text = readable(str(path)) == str(path)
            name = str(path) if is_text else f"/dev/fd/{file.fileno()}"
            # One thread: with several, the decoder's words come some frames ahead of the frame that they are about.
            capture = cv2.VideoCapture(name, cv2.CAP_ANY, [cv2.CAP_PROP_N_THREADS, 1])
    except OSError as error:
        raise UnreadableVideoError(f"{path.name} cannot be opened ({error.strerror}); check the file") from error
    if not capture.isOpened():
        _close(capture)
        raise UnreadableVideoError(_no_video(path))
    return capture


def _missing_end(path: Path, read: int, expected: int | None) -> str:
    """What became of frames that a video says it shows; empty where they were all there."""
    fault = look_at_video(path).fault
    if expected is None or read >= expected:
        return f"{path.name} {fault}" if fault and expected is None else ""
    if fault:
        return f"{path.name} breaks off after {read} of {expected} frames: it {fault}"
    if read >= expected - max(2, expected // 50):  # a container counts frames that the recorder left empty
        return ""
    return (
        f"{path.name} gave {read} of the {expected} frames that it names, though it is not cut off: it is damaged "
        "inside, or its rate changes; copy it again, or save its frames as pictures"
    )


def _no_video(path: Path) -> str:
    if fault := look_at_video(path).fault:
        return f"{path.name} {fault}"
    return (
        f"{path.name} is no picture that is read and no video that can be opened; "
        "give a folder of frames, a video file, or one image"
    )


def _as_rgb(picture: NDArray[np.generic]) -> Image:
    """From a video's frame (BGR) to an image, read-only."""
    image: Image = cv2.cvtColor(picture.astype(np.uint8, copy=False), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    image.setflags(write=False)
    return image
