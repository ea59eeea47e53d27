"""A live camera under watch: whatever it does, hanging included, is named within 2 s, and cured if reopening cures it.

The driver has a thread of its own for each opening. One that hangs is left behind, for no one can end it; the ladder of
cures is bounded, so there are never many.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, Full, Queue
from typing import Final

from fnrbc_device.camera.driver import Driver, OpenDriver, Picture
from fnrbc_device.camera.faults import CERTAIN_S, CameraFaults
from fnrbc_device.camera.source import Gap
from fnrbc_device.errors import SourceError
from fnrbc_device.records import BadFrame, Frame

GRAB_S: Final = 0.25
"""A driver is asked to give up so soon, so that it notices the end."""

LOOK_S: Final = 0.1
"""How often silence is looked at."""

QUEUE: Final = 4
"""Pictures that wait for the reader; beyond, the newest is dropped, and its number shows it."""

REOPEN_S: Final = (0.0, 0.3, 0.6, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0)
"""Rests before each attempt to open the camera again; the last one goes on until the watch gives up."""

SETTLE_S: Final = 1.8
"""An opening is given so long to bring its first picture."""

GIVE_UP_S: Final = 120.0
"""Without a good picture for so long, the watch gives up, and the process is started anew."""

REOPENED_FOR: Final = ("camera_lost", "camera_frozen", "camera_repeating", "camera_wrong_format")
"""What opening the camera again may cure; light and speed are for a person."""

MAX_GAPS: Final = 100
"""Gaps that wait to be recorded."""

_log = logging.getLogger(__name__)


class _Grabber:
    """One opening of the camera, in a thread that may hang."""

    def __init__(self, open_driver: OpenDriver) -> None:
        self.queue: Queue[Picture | Exception] = Queue(QUEUE)
        self.dropped = 0
        self.settings: dict[str, str] = {}
        self._open_driver = open_driver
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float) -> bool:
        """Tell it to end; False where it hangs."""
        self._stop.set()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        driver: Driver | None = None
        try:
            driver = self._open_driver()
            self.settings = driver.settings
            _log.info("camera %s: %s", driver.name, ", ".join(f"{k} {v}" for k, v in driver.settings.items()))
            while not self._stop.is_set():
                picture = driver.grab(GRAB_S)
                if picture is not None:
                    self._put(picture)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises must reach the reader
            self._put(error)
        finally:
            if driver is not None:
                driver.close()

    def _put(self, item: Picture | Exception) -> None:
        try:
            self.queue.put_nowait(item)
        except Full:
            self.dropped += 1


class WatchedCamera:
    """A frame source over a driver.

    Parameters
    ----------
    name
        Of the camera in the configuration: it must stay the same from start to start, or a session that was cut off is
        not gone on with.
    open_driver
        Opens the camera, each time the same one.
    fps
        The rate that was asked for.
    pixel_size_um
        um.
    clock
        Monotonic, seconds.
    give_up_s
        Without a good picture for so long it gives up.
    """

    def __init__(
        self,
        name: str,
        open_driver: OpenDriver,
        fps: float,
        pixel_size_um: float | None,
        clock: Callable[[], float] = time.monotonic,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        self.name = name
        self.pixel_size_um = pixel_size_um
        self.trouble = ""
        """The health reason that is true now; empty while all is well."""
        self.lost_pictures = 0
        """By the camera's own count, or dropped because they were not taken in time."""
        self.opened = 0
        """How often the camera was opened."""
        self.fault = ""
        """What the driver said last, in its own words."""
        self._open_driver = open_driver
        self._silence_s = max(CERTAIN_S, 4.0 / fps)
        self._clock = clock
        self._give_up_s = give_up_s
        self._faults = CameraFaults(fps)
        self._closed = threading.Event()
        self._grabber: _Grabber | None = None
        self._gaps: deque[Gap] = deque(maxlen=MAX_GAPS)
        self._next = 0
        self._number: int | None = None
        self._seen_s = self._good_s = self._reopened_s = clock()
        self._trouble_since_s = 0.0
        self._gap_reason = ""
        self._attempts = 0
        self._reopened = 0

    def read(self) -> Frame | BadFrame | None:
        """Next frame; None after ``close``. Waits while the camera is silent, and tries to cure it.

        Raises
        ------
        SourceError
            No cure has helped for two minutes.
        """
        while not self._closed.is_set():
            if self._grabber is None:
                self._open()
            assert self._grabber is not None
            try:
                found = self._grabber.queue.get(timeout=LOOK_S)
            except Empty:
                self._look_at_silence()
                continue
            if isinstance(found, Picture):
                return self._judged(found)
            self.fault = str(found)
            _log.warning("camera %s: %s", self.name, found)
            self._name_trouble("camera_lost", self._clock())
            self._reopen()
        return None

    @property
    def exposure_ms(self) -> float | None:
        """Exposure as read back from the camera, ms; None where it does not say."""
        grabber = self._grabber
        said = grabber.settings.get("exposure_us") if grabber else None
        return float(said) / 1000 if said else None

    def take_gaps(self) -> list[Gap]:
        """Gaps that are over and were not taken yet. From any thread."""
        found = []
        while self._gaps:
            found.append(self._gaps.popleft())
        return found

    def close(self) -> None:
        """Let go of the camera. Safe to call twice, and from any thread."""
        self._closed.set()
        grabber, self._grabber = self._grabber, None
        if grabber is not None and not grabber.stop(2 * GRAB_S + 1.0):
            _log.warning("camera %s hangs and was left behind", self.name)

    def _open(self) -> None:
        self._faults.restart()
        self._grabber = _Grabber(self._open_driver)
        self.opened += 1
        self._number = None
        self._reopened_s = self._clock()

    def _judged(self, picture: Picture) -> Frame | BadFrame:
        now = self._clock()
        self._seen_s = now
        index = self._numbered(picture)
        if picture.fault:  # its content says nothing about the camera
            self._name_trouble("camera_incomplete", now)
            return BadFrame(index, picture.captured_at_s, "unreadable", picture.fault)
        symptom = self._faults.see(picture.image, now)  # by when they arrive: a camera's own clock may stand still
        if symptom:
            self._name_trouble(symptom, now)
            if symptom in REOPENED_FOR and now - self._reopened_s > SETTLE_S:
                self._reopen()
        elif not self._faults.suspects:
            self._all_well(now, index)
        if not self._faults.fits(picture.image):
            detail = f"{self.name} gave a picture of {picture.image.shape}, which is none of this session"
            return BadFrame(index, picture.captured_at_s, "wrong_size", detail)
        return Frame(index, picture.captured_at_s, picture.image)

    def _numbered(self, picture: Picture) -> int:
        """Index of a picture: those that never came leave their numbers out."""
        lost = 0
        if picture.number is not None and self._number is not None:
            lost = max(picture.number - self._number - 1, 0)
        self._number = picture.number
        self.lost_pictures += lost
        index = self._next + lost
        self._next = index + 1
        return index

    def _look_at_silence(self) -> None:
        now = self._clock()
        heard = self._seen_s > self._reopened_s
        if now - max(self._seen_s, self._reopened_s) >= (self._silence_s if heard else SETTLE_S):
            self._name_trouble("camera_lost", now)
            self._reopen()

    def _name_trouble(self, reason: str, now: float) -> None:
        if not self.trouble:
            self._trouble_since_s = self._good_s
            self._reopened = 0
        if not self.trouble or reason in REOPENED_FOR:
            self._gap_reason = reason  # a camera that comes back with incomplete pictures was lost all the same
        if reason != self.trouble:
            _log.warning("camera %s: %s", self.name, reason)
        self.trouble = reason

    def _all_well(self, now: float, index: int) -> None:
        if self.trouble:
            seconds = round(now - self._trouble_since_s, 3)
            self._gaps.append(Gap(self._gap_reason, seconds, index - 1, self._reopened))
            _log.warning("camera %s is well again after %.1f s", self.name, seconds)
        self.trouble = ""
        self._attempts = 0
        self._good_s = now

    def _reopen(self) -> None:
        """One rung of the ladder: close, rest, open; or give up."""
        now = self._clock()
        if now - self._good_s > self._give_up_s:
            raise SourceError(
                f"camera {self.name} has given no good picture for {now - self._good_s:.0f} s ({self.trouble}), and "
                f"{self._attempts} openings did not help; check its cable, its power and camera.device"
            )
        grabber, self._grabber = self._grabber, None
        if grabber is not None and not grabber.stop(GRAB_S + LOOK_S):
            _log.warning("camera %s hangs: that opening is left behind", self.name)
        self._closed.wait(REOPEN_S[min(self._attempts, len(REOPEN_S) - 1)])
        self._attempts += 1
        self._reopened += 1
