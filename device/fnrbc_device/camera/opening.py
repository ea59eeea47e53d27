"""Opens the camera that the configuration names."""

import logging
from typing import Final

from fnrbc_device.camera.driver import ExchangedDriver, OpenDriver
from fnrbc_device.camera.settings import CameraSettings
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.camera.tuning import Tuning
from fnrbc_device.camera.watched import WatchedCamera
from fnrbc_device.errors import ConfigError

_log = logging.getLogger(__name__)

SIMULATED_CELLS: Final = 600
"""Nucleated cells on the simulated slide: the hand passes over all of them in about two minutes."""


def open_camera(settings: CameraSettings) -> FrameSource:
    """Open it, or prepare to: a live camera that is not there yet is waited for.

    Raises
    ------
    ConfigError
        A setting that this kind of camera needs is missing, or the system lacks what drives it.
    UsageError, SourceError
        The recorded frames are not there.
    """
    if settings.kind == "simulated":
        return _simulated(settings)
    if settings.kind == "replay":
        return _replayed(settings)
    if settings.pixel_size_um is None:
        raise ConfigError(
            f"camera.kind is {settings.kind}, but camera.pixel_size_um is missing: no camera knows its objective; "
            "give the camera's pixel over the magnification, e.g. 3.45 um / 40 = 0.086"
        )
    name, open_driver = _driver(settings)
    opened = (lambda: ExchangedDriver(open_driver())) if settings.exchange_red_blue else open_driver
    return WatchedCamera(name, opened, settings.fps, settings.pixel_size_um)


def _simulated(settings: CameraSettings) -> FrameSource:
    from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
    from fnrbc_device.camera.simulated.slide import SimulatedSlide

    slide = SimulatedSlide.make(settings.seed, "giemsa", SIMULATED_CELLS)
    return SimulatedMicroscope(slide, seed=settings.seed, fps=settings.fps)


def _replayed(settings: CameraSettings) -> FrameSource:
    from fnrbc_device.camera.replay import open_source

    if settings.path is None:
        raise ConfigError("camera.kind is replay, but camera.path is missing; name a folder, a video or an image")
    source = open_source(settings.path, settings.pixel_size_um, exchange_red_blue=settings.exchange_red_blue)
    for words in (*source.notes, *(one.detail for one in source.left_out)):
        _log.warning("%s", words)
    return source


def _driver(settings: CameraSettings) -> tuple[str, OpenDriver]:
    """Name of a live camera that stays from start to start, and what opens it."""
    device, pipeline = settings.device, settings.pipeline
    tuning = Tuning(settings.fps, settings.width_px, settings.height_px, settings.exposure_us, settings.gain)
    if settings.kind == "gstreamer":
        from fnrbc_device.camera.gstreamer import GStreamerDriver, import_gstreamer

        if not pipeline:
            raise ConfigError("camera.kind is gstreamer, but camera.pipeline is missing; try one with gst-launch-1.0")
        import_gstreamer()
        return f"gstreamer {pipeline}", lambda: GStreamerDriver(pipeline)
    if settings.kind == "aravis":
        from fnrbc_device.camera.aravis import AravisDriver, import_aravis

        import_aravis()
        return f"aravis {device or 'first found'}", lambda: AravisDriver(device, tuning)
    from fnrbc_device.camera.uvc import UvcDriver

    if not device:
        raise ConfigError("camera.kind is uvc, but camera.device is missing; name one of /dev/v4l/by-id")
    return f"uvc {device}", lambda: UvcDriver(device, tuning)
