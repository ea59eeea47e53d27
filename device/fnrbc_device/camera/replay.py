"""Replays recorded pictures as if a camera delivered them: a folder of frames, a video, or one image.

Decoding runs ahead in one background thread, so that counting and decoding overlap.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final

import cv2

from fnrbc_device.camera.driver import with_red_for_blue
from fnrbc_device.camera.folder import Folder, look_at, look_through
from fnrbc_device.camera.headers import About, UnreadablePictureError, kind_of
from fnrbc_device.camera.pictures import PICTURE_SUFFIXES, PictureReader
from fnrbc_device.camera.stated_pixel_size import StatedPixelSize
from fnrbc_device.camera.video import NOMINAL_FPS, frames_of_video, look_into
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.host.console import readable
from fnrbc_device.records import BadFrame, Frame, Image, LeftOut, Pose

SMALLEST_SIDE_PX: Final = 64
"""Half a crop: a frame below that cannot show a cell."""
DECODE_AHEAD: Final = 3
"""Frames decoded before they are asked for: enough to even out, and at 108 Mpx a frame still under 1.5 GB."""
READ_TIMEOUT_S: Final = 60.0
"""A picture of 108 Mpx decodes in about 2 s; a drive that is silent for a minute is gone."""
JOIN_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.1

Delivery = Frame | BadFrame


def open_source(path: Path | str, pixel_size_um: float | None, *, exchange_red_blue: bool = False) -> "ReplaySource":
    """Open recorded frames.

    Parameters
    ----------
    path
        A folder of pictures in the order of the numbers in their names, a video file, or one picture of any size; a
        file of several pages holds as many frames.
    pixel_size_um
        Size of a pixel on the slide, um, > 0; None where nobody says: then what the files state counts.
    exchange_red_blue
        The camera gave blue for red.

    Returns
    -------
    ReplaySource
        Delivers each frame once, as fast as it is read. Its ``read`` raises ``SourceError`` at the end if
        there was no good frame at all.

    Raises
    ------
    UsageError
        The path does not exist, is no regular file, or the pixel size is not above 0.
    SourceError
        The folder holds no picture, the picture cannot be read, or the file is neither picture nor video.
    """
    path = Path(path)
    if pixel_size_um is not None and not (isfinite(pixel_size_um) and pixel_size_um > 0):
        raise UsageError(f"pixel size {pixel_size_um} um must be above 0; give what a pixel spans on the slide")
    # OpenCV logs each damaged file in lines of its own; what is wrong is said here, in one sentence.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    source = _opened(path)
    source.pixel_size_um = pixel_size_um or (source.stated.um if source.stated else None)
    source.exchange_red_blue = exchange_red_blue
    return source


def _opened(path: Path) -> "ReplaySource":
    if path.is_dir():
        return _of_pictures(str(path), look_through(path))
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a folder of frames, a video file, or one image")
    if not path.is_file():
        raise UsageError(f"{path} is no regular file; give a folder of frames, a video file, or one image")
    if path.suffix.lower() in PICTURE_SUFFIXES or kind_of(path) not in ("", "video"):
        return _open_image(path)
    return _open_video(path)


class ReplaySource:
    """Frames that a background thread decodes a few ahead of the reader.

    Parameters
    ----------
    name
        For people.
    deliveries
        Makes the frames, in order; runs in the background thread from the first ``read`` on.
    frames
        How many there will be, where that is known.
    pixel_size_um
        um, > 0, or None.
    """

    def __init__(
        self,
        name: str,
        deliveries: Callable[[], Iterator[Delivery]],
        frames: int | None,
        pixel_size_um: float | None = None,
    ) -> None:
        self.name = readable(name)
        self.pixel_size_um = pixel_size_um
        self.stated: StatedPixelSize | None = None
        """What the files say of their pixels' size."""
        self.exchange_red_blue = False
        """The camera gave blue for red."""
        self.left_out: tuple[LeftOut, ...] = ()
        """What lies beside the frames and looks like something to count."""
        self.notes: tuple[str, ...] = ()
        """What a person should know of how they are read."""
        self.frames = frames
        """How many frames there will be; None where the file does not say."""
        self.waits = True
        self.folder: Folder | None = None
        """The pictures that it is made of; None for a video."""
        self.poses: tuple[Pose, ...] = ()
        """Places of the frames, by their index, where a motorised stage says so."""
        self._first = 0
        self._deliveries = deliveries
        self._queue: Queue[Delivery | Exception | None] = Queue(DECODE_AHEAD)
        self._stop = Event()
        self._thread: Thread | None = None
        self._ended = False
        self._good = 0
        self._first_fault = ""

    def read(self) -> Frame | BadFrame | None:
        """Next frame; a frame that is owed but broken; None at the end and after ``close``.

        Raises
        ------
        SourceError
            Not one frame was good, or none came within 60 s.
        """
        delivery = self._next()
        while delivery is not None and delivery.index < self._first:
            delivery = self._next()
        return delivery

    def skip_to(self, index: int) -> None:
        """Make the frame of that index, which was not read yet, the next one."""
        self._first = index

    def close(self) -> None:
        """Stop decoding and wait for the thread. Safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)

    def _next(self) -> Delivery | None:
        if self._ended or self._stop.is_set():
            return None
        if self._thread is None:
            self._thread = Thread(target=self._decode_all, name="decode", daemon=True)
            self._thread.start()
        try:
            delivery = self._queue.get(timeout=READ_TIMEOUT_S)
        except Empty:
            raise SourceError(
                f"{self.name} gave no frame within {READ_TIMEOUT_S:.0f} s; check the drive it lies on"
            ) from None
        return self._taken(delivery)

    def _taken(self, delivery: Delivery | Exception | None) -> Delivery | None:
        """Hand on what the thread left, and keep account of it."""
        if isinstance(delivery, Frame):
            self._good += 1
            place = self.poses[delivery.index] if delivery.index < len(self.poses) else None
            return replace(delivery, name=readable(delivery.name), place=place)
        if isinstance(delivery, BadFrame):
            self._first_fault = self._first_fault or delivery.detail
            return replace(delivery, name=readable(delivery.name), detail=readable(delivery.detail))
        self._ended = True
        if isinstance(delivery, Exception):
            raise delivery
        if self._good == 0:
            raise SourceError(f"{self.name} holds no frame that can be used: {self._first_fault}")
        return None

    def _decode_all(self) -> None:
        end: Exception | None = None
        try:
            for delivery in self._deliveries():
                if not self._put(self._in_its_colours(delivery)):
                    return
        except Exception as error:  # noqa: BLE001  it is the reader's to judge, and reaches it through the queue
            end = error
        self._put(end)

    def _in_its_colours(self, delivery: Delivery) -> Delivery:
        if not self.exchange_red_blue or isinstance(delivery, BadFrame):
            return delivery
        return replace(delivery, image=with_red_for_blue(delivery.image))

    def _put(self, delivery: Delivery | Exception | None) -> bool:
        """Queue it; False if the source was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._queue.put(delivery, timeout=POLL_S)
            except Full:
                continue
            return True
        return False


def _of_pictures(
    name: str, folder: Folder, deliveries: Callable[[], Iterator[Delivery]] | None = None
) -> ReplaySource:
    source = ReplaySource(name, deliveries or (lambda: _frames_of(folder)), folder.frames)
    source.folder, source.stated = folder, folder.pixel_size
    source.notes = tuple(map(readable, folder.notes))
    source.left_out = tuple(
        replace(one, name=readable(one.name), detail=readable(one.detail)) for one in folder.left_out
    )
    return source


def _frames_of(folder: Folder) -> Iterator[Delivery]:
    """Frames of all files, one after the other; each that a file owes and cannot show is a bad one."""
    reader = PictureReader(folder.depth, turned=folder.turned)
    index = 0
    for path, about in folder.files:
        for name, image in _pictures_in(reader, path, about):
            at_s = index / NOMINAL_FPS
            if isinstance(image, UnreadablePictureError):
                yield BadFrame(index, at_s, "unreadable", str(image), name)
            elif wrong := _size_fault(image, name, folder.shape):
                yield BadFrame(index, at_s, "wrong_size", wrong, name)
            else:
                yield Frame(index, at_s, image, name)
            index += 1


def _pictures_in(
    reader: PictureReader, path: Path, about: About | UnreadablePictureError
) -> Iterator[tuple[str, Image | UnreadablePictureError]]:
    """As many as the file says to hold, each with its name."""
    if isinstance(about, UnreadablePictureError):
        yield path.name, about
        return
    names = [path.name] if len(about.shapes) == 1 else [f"{path.name}#{n}" for n in range(len(about.shapes))]
    images, fault = reader.read_all(path), None
    for name in names:
        try:
            image = fault or next(images, UnreadablePictureError(f"{name} is missing; copy the file again"))
        except UnreadablePictureError as error:
            image = fault = error
        yield name, image


def _size_fault(image: Image, name: str, shape: tuple[int, int] | None) -> str:
    """One sentence, or nothing where the size is right."""
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST_SIDE_PX:
        return f"{name} is {width}x{height} px, below the limit of {SMALLEST_SIDE_PX} px a side; leave it out"
    if shape is not None and (height, width) != shape:
        return f"{name} is {width}x{height} px where most frames are {shape[1]}x{shape[0]}; keep one folder to one size"
    return ""


def _open_image(path: Path) -> ReplaySource:
    folder = look_at(path)
    if folder.frames > 1:
        return _of_pictures(str(path), folder)
    # A single picture that is none is refused at once.
    image = PictureReader(folder.depth).read(path)
    fault = _size_fault(image, path.name, None)
    if fault:
        raise SourceError(fault)
    return _of_pictures(str(path), folder, lambda: iter([Frame(0, 0.0, image, path.name)]))


def _open_video(path: Path) -> ReplaySource:
    first, frames = look_into(path)
    fault = _size_fault(first, path.name, None)
    if fault:
        raise SourceError(fault)
    return ReplaySource(str(path), lambda: frames_of_video(path, frames), frames)
