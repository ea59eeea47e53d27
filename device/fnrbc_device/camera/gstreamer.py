"""Cameras behind a GStreamer pipeline: CSI cameras on a Jetson, and whatever else GStreamer can open."""

import time
from typing import Any, Final

import numpy as np

from fnrbc_device.camera.driver import Picture
from fnrbc_device.errors import ConfigError, SourceError
from fnrbc_device.records import Image

SINK: Final = (
    "videoconvert ! video/x-raw,format=RGB ! appsink name=fnrbc max-buffers=1 drop=true sync=false emit-signals=false"
)
"""The newest picture waits, as RGB; older ones are dropped inside and show in the count."""

START_S: Final = 5.0
"""For a pipeline to play: a CSI camera takes 2."""


class GStreamerDriver:
    """A pipeline that plays.

    Parameters
    ----------
    pipeline
        From the camera to raw video, e.g. ``nvarguscamerasrc aelock=true awblock=true ! nvvidconv``.

    Raises
    ------
    SourceError
        It does not play.
    ConfigError
        The system has no GStreamer, or the pipeline cannot be read.
    """

    def __init__(self, pipeline: str) -> None:
        self._gst = import_gstreamer()
        try:
            self._pipeline: Any = self._gst.parse_launch(f"{pipeline} ! {SINK}")
        except Exception as error:
            cure = "try it with gst-launch-1.0"
            raise ConfigError(f"camera.pipeline {pipeline!r} cannot be read ({error}); {cure}") from error
        self.name = pipeline.split(" ", 1)[0]
        self.settings: dict[str, str] = {}
        self._sink = self._pipeline.get_by_name("fnrbc")
        self._bus = self._pipeline.get_bus()
        self._pipeline.set_state(self._gst.State.PLAYING)
        state, _, _ = self._pipeline.get_state(round(START_S * self._gst.SECOND))
        if state == self._gst.StateChangeReturn.FAILURE:
            fault = self._fault() or "no reason given"
            self.close()
            raise SourceError(f"{self.name} does not play: {fault}; check the camera and its cable")

    def grab(self, timeout_s: float) -> Picture | None:
        """Newest picture."""
        sample = self._sink.emit("try-pull-sample", round(timeout_s * self._gst.SECOND))
        at_s = time.monotonic()
        fault = self._fault()
        if fault:
            raise SourceError(f"{self.name} stopped: {fault}; check the camera and its cable")
        if sample is None:
            return None
        if not self.settings:
            self.settings = {"caps": sample.get_caps().to_string()}
        buffer = sample.get_buffer()
        known = buffer.offset != self._gst.BUFFER_OFFSET_NONE
        return Picture(self._image(sample, buffer), at_s, int(buffer.offset) if known else None)

    def close(self) -> None:
        """Stop the pipeline."""
        self._pipeline.set_state(self._gst.State.NULL)

    def _fault(self) -> str:
        """What the pipeline complains of, or that it has ended; empty while it plays."""
        kinds = self._gst.MessageType
        message = self._bus.pop_filtered(kinds.ERROR | kinds.EOS)
        if message is None:
            return ""
        return str(message.parse_error()[0].message) if message.type == kinds.ERROR else "it has ended"

    def _image(self, sample: Any, buffer: Any) -> Image:
        shape = sample.get_caps().get_structure(0)
        width, height = shape.get_value("width"), shape.get_value("height")
        data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
        stride = data.size // height  # rows are padded to four bytes
        image = np.ascontiguousarray(data[: stride * height].reshape(height, stride)[:, : 3 * width])
        image = image.reshape(height, width, 3)
        image.setflags(write=False)
        return image


def import_gstreamer() -> Any:
    """GStreamer, ready.

    Raises
    ------
    ConfigError
        The system has none.
    """
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst, GstApp  # noqa: F401 - the second gives the sink its methods
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"camera.kind is gstreamer, but GStreamer cannot be loaded ({error}); install gir1.2-gst-plugins-base-1.0 "
            "and python3-gi, and make the environment with --system-site-packages"
        ) from error
    if not Gst.is_initialized():
        Gst.init(None)
    return Gst
