"""GenICam cameras, USB3 and GigE, through Aravis. Its Python binding is the system's: Debian's gir1.2-aravis-0.8."""

import time
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.driver import Picture
from fnrbc_device.camera.tuning import Tuning
from fnrbc_device.errors import ConfigError, SourceError
from fnrbc_device.records import Image

BUFFERS: Final = 10
"""Pictures that the network side can fill while one is worked on: a third of a second at 30 frames/s."""

SOCKET_BYTES: Final = 4 * 1024 * 1024
"""What the system holds while the receiving thread waits for a processor: with the usual 208 kB half of the pictures of
a camera on loopback were incomplete on a busy machine of two cores, with this none. The system's limit is
``net.core.rmem_max``."""

ID_BITS: Final = 16
"""GigE Vision counts pictures in 16 bits and never uses 0."""

FORMATS: Final = ("RGB8", "RGB8Packed", "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8", "Mono8")
"""Preferred first: no debayering, then raw, then grey."""

_CONVERSIONS: Final = {
    "BayerRG8": cv2.COLOR_BayerRGGB2RGB,
    "BayerGB8": cv2.COLOR_BayerGBRG2RGB,
    "BayerGR8": cv2.COLOR_BayerGRBG2RGB,
    "BayerBG8": cv2.COLOR_BayerBGGR2RGB,
    "Mono8": cv2.COLOR_GRAY2RGB,
}


class AravisDriver:
    """An open GenICam camera that is running.

    Parameters
    ----------
    device
        Its id as ``arv-tool-0.8`` lists it, vendor, model and serial number; empty for the first that is found.
    tuning
        What to set before the start.

    Raises
    ------
    SourceError
        There is no such camera, or it does not start.
    ConfigError
        The system has no Aravis.
    """

    def __init__(self, device: str, tuning: Tuning) -> None:
        self._arv, self._error = import_aravis()
        self._camera = self._ask(lambda: self._arv.Camera.new(device or None), f"camera {device or 'of any kind'}")
        self.name = f"{self._camera.get_model_name()} {self._camera.get_device_id()}"
        self._format = self._choose_format()
        self.settings = self._tuned(tuning)
        self._stream = self._ask(self._open_stream, "its stream")
        payload = self._camera.get_payload()
        for _ in range(BUFFERS):
            self._stream.push_buffer(self._arv.Buffer.new_allocate(payload))
        self._ask(self._camera.start_acquisition, "its start")
        self._number = 0
        self._id: int | None = None

    def grab(self, timeout_s: float) -> Picture | None:
        """Newest picture; one that lost packets on the way has a fault."""
        buffer = self._stream.timeout_pop_buffer(round(1e6 * timeout_s))
        if buffer is None:
            return None
        at_s = time.monotonic()
        try:
            number = self._count(buffer.get_frame_id())
            fault = ""
            if buffer.get_status() != self._arv.BufferStatus.SUCCESS:
                fault = f"picture {number} of {self.name} came incomplete: {buffer.get_status().value_nick}"
            return Picture(self._image(buffer), at_s, number, fault)
        finally:
            self._stream.push_buffer(buffer)

    def close(self) -> None:
        """Stop and let go of the camera; one that is gone cannot be told."""
        try:
            self._camera.stop_acquisition()
        except self._error:
            return

    def _count(self, frame_id: int) -> int:
        """The camera's own count, without its wrap."""
        if self._id is not None:
            step = (frame_id - self._id) % (1 << ID_BITS)
            wrapped = frame_id < self._id
            self._number += step - (1 if wrapped and step > 0 else 0)  # no picture is number 0
        self._id = frame_id
        return self._number

    def _image(self, buffer: Any) -> Image:
        width, height = buffer.get_image_width(), buffer.get_image_height()
        data = np.frombuffer(buffer.get_data(), np.uint8)
        return as_rgb(data, self._format, height, width)

    def _open_stream(self) -> Any:
        camera, arv = self._camera, self._arv
        if not camera.is_gv_device():
            return camera.create_stream(None, None)
        # Raw packet sockets need a right that the daemon does not have, and see nothing on loopback.
        camera.gv_set_stream_options(arv.GvStreamOption.PACKET_SOCKET_DISABLED)
        stream = camera.create_stream(None, None)
        stream.set_property("socket-buffer", arv.GvStreamSocketBuffer.FIXED)
        stream.set_property("socket-buffer-size", SOCKET_BYTES)
        return stream

    def _choose_format(self) -> str:
        offered = set(self._camera.dup_available_pixel_formats_as_strings())
        for name in FORMATS:
            if name in offered:
                self._camera.set_pixel_format_from_string(name)
                return name
        found = ", ".join(sorted(offered))
        raise SourceError(f"{self.name} offers only {found}; a camera with one of {', '.join(FORMATS)} is needed")

    def _tuned(self, tuning: Tuning) -> dict[str, str]:
        """Set and read back; a node that the camera lacks is left out, which is normal."""
        camera, off = self._camera, self._arv.Auto.OFF
        for wanted in (
            lambda: camera.set_exposure_time_auto(off),
            lambda: camera.set_gain_auto(off),
            lambda: camera.set_string("BalanceWhiteAuto", "Off"),
            lambda: camera.set_exposure_time(tuning.exposure_us) if tuning.exposure_us else None,
            lambda: camera.set_gain(tuning.gain) if tuning.gain is not None else None,
            lambda: camera.set_frame_rate(tuning.fps),
        ):
            self._try(wanted)
        read: dict[str, Callable[[], Any]] = {
            "format": lambda: self._format,
            "exposure_us": camera.get_exposure_time,
            "gain": camera.get_gain,
            "fps": camera.get_frame_rate,
            "white_balance": lambda: camera.get_string("BalanceWhiteAuto"),
        }
        found = {name: self._try(ask) for name, ask in read.items()}
        return {name: str(value) for name, value in found.items() if value is not None}

    def _try(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self._error:
            return None

    def _ask(self, ask: Callable[[], Any], what: str) -> Any:
        try:
            return ask()
        except self._error as error:
            cure = "check its cable, its power and camera.device"
            raise SourceError(f"{what} does not answer ({error}); {cure}") from error


def as_rgb(data: NDArray[np.uint8], pixel_format: str, height: int, width: int) -> Image:
    """Make the picture of a buffer; one of another size than it says is given back as it is, for the watch to name."""
    channels = 3 if pixel_format.startswith("RGB8") else 1
    if data.size < height * width * channels or not data.size:
        return np.zeros((0, 0, 3), np.uint8)
    flat = data[: height * width * channels]
    if channels == 3:
        image = flat.reshape(height, width, 3).copy()
    else:
        image = np.asarray(cv2.cvtColor(flat.reshape(height, width), _CONVERSIONS[pixel_format]), np.uint8)
    image.setflags(write=False)
    return image


def import_aravis() -> tuple[Any, type[Exception]]:
    """Aravis and the error that it raises.

    Raises
    ------
    ConfigError
        The system has none.
    """
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis, GLib
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"camera.kind is aravis, but Aravis cannot be loaded ({error}); install gir1.2-aravis-0.8 and python3-gi, "
            "and make the environment with --system-site-packages"
        ) from error
    return Aravis, GLib.Error
