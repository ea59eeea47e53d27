"""``fnrbc check``: goes through all that counting needs on this machine, and says what to do about each fault."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

from fnrbc_device.camera.opening import open_camera
from fnrbc_device.camera.pixel_size import require_known_pixel_size
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.commands.check_broker import look_at_broker, look_at_certificates
from fnrbc_device.commands.check_laboratory import look_at_laboratory
from fnrbc_device.commands.finding import Finding, another_user
from fnrbc_device.config import Config
from fnrbc_device.daemon.active_bundle import bundle_for, engines_for
from fnrbc_device.daemon.counting_session import PIXEL_SIZE_SETTING
from fnrbc_device.errors import ConfigError, FnrbcError
from fnrbc_device.host.clock import SystemClock, clock_fault
from fnrbc_device.host.disk_space import MB, room_bytes
from fnrbc_device.host.vitals import hottest_c
from fnrbc_device.inference.centre_network import open_centres, require_network
from fnrbc_device.inference.choose import open_classifier
from fnrbc_device.inference.machine import import_runtime, look_at_machine
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt import certificates
from fnrbc_device.panel.pins import pin_factory
from fnrbc_device.records import BadFrame, Frame
from fnrbc_device.slides.opening import openslide_is_here
from fnrbc_device.slides.openslide_reader import INSTALL
from fnrbc_device.web.access.authentication import wants_login
from fnrbc_device.web.tls import server_context

CAMERA_S: Final = 10.0
CLOSE_S: Final = 3.0
"""For a reader to end whose camera was closed."""

HOT_C: Final = 85.0
"""From here on an Orin throttles itself."""

PINMUX: Final = "a pin does nothing, without an error, until its pinmux is set: see the install guide"


def check(config: Config) -> Iterator[Finding]:
    """Look at everything, one after the other; no fault ends it."""
    looks: tuple[tuple[str, Callable[[Config], Finding]], ...] = (
        ("disk", _disk),
        ("clock", _clock),
        ("bundle", _bundle),
        ("gpu", _gpu),
        ("camera", _camera),
        ("slides", _slides),
        ("panel", _panel),
        ("certificate", look_at_certificates),
        ("broker", look_at_broker),
        ("secret", _secret),
        ("laboratory", look_at_laboratory),
        ("page", _page),
        ("temperature", _temperature),
    )
    yield Finding("configuration", "ok", f"read; its hash is {config.fingerprint()[:12]}")
    for what, look in looks:
        try:
            yield look(config)
        except (FnrbcError, OSError) as error:
            yield Finding(what, "fault", str(error))


def _disk(config: Config) -> Finding:
    folder = config.state_dir
    if not folder.is_dir():
        return Finding("disk", "fault", f"{folder} does not exist; make it, and give it to the daemon's user")
    if not os.access(folder, os.W_OK):
        return Finding("disk", "fault", f"{folder} is read-only for this user; give it to the daemon's user")
    if words := another_user(folder):
        return Finding("disk", "warning", words)
    free, least = room_bytes(folder) // MB, config.record.least_free_mb
    if free < least:
        return Finding("disk", "fault", f"{free} MB are free for {folder}, below the limit of {least}; free some")
    return Finding("disk", "ok", f"{free} MB are free for {folder}")


def _slides(config: Config) -> Finding:
    if openslide_is_here():
        return Finding("slides", "ok", "scanners' own formats are read (OpenSlide), tiled TIFF and OME-TIFF")
    return Finding("slides", "not used", f"tiled TIFF and OME-TIFF are read; for scanners' own formats {INSTALL}")


def _clock(config: Config) -> Finding:
    clock = SystemClock()
    if words := clock_fault(clock.utc()):
        return Finding("clock", "fault", words)
    if clock.synchronised():
        return Finding("clock", "ok", "held by a time server")
    return Finding("clock", "warning", "no time server holds it: dates may be wrong; start chrony or systemd-timesyncd")


def _bundle(config: Config) -> Finding:
    bundle = load_bundle(bundle_for(config), config.bundle_key)
    require_network(bundle, config.seeing.method)
    with closing(open_classifier(bundle, None, lambda: True).classifier):
        return Finding("bundle", "ok", f"{bundle.id[:12]} reproduces its golden crops on the processor")


def _gpu(config: Config) -> Finding:
    """Prove the engine that the daemon would count with, building one where there is none, as its start does."""
    chosen = bundle_for(config)
    engines = engines_for(config, chosen)
    if engines is None:
        return Finding("gpu", "not used", "inference.runtime is onnxruntime")
    machine = look_at_machine(*import_runtime())
    if words := another_user(config.state_dir):
        return Finding("gpu", "warning", f"{machine}; its engine was not tried: {words}")
    bundle = load_bundle(chosen, config.bundle_key)
    opened = open_classifier(bundle, engines, lambda: True)
    with closing(opened.classifier):
        if opened.fault:
            return Finding("gpu", "fault", f"{opened.fault}; until then {opened.runtime} counts")
    with closing(open_centres(bundle, config.seeing.method, 1, engines)) as centres:
        if centres.engine_fault:
            return Finding("gpu", "fault", f"{centres.engine_fault}; until then {centres.runtime} sees")
    sees = f", {centres.runtime} the golden frames" if centres.runtime else ""
    return Finding("gpu", "ok", f"{machine}; {opened.runtime} reproduces the golden crops{sees}")


def _camera(config: Config) -> Finding:
    with closing(open_camera(config.camera)) as source:
        frame = _good_frame(source)
    if isinstance(frame, BadFrame):
        return Finding("camera", "fault", frame.detail)
    if frame is None:
        cause = getattr(source, "fault", "") or "check cable and power"
        return Finding("camera", "fault", f"{source.name} gave no picture in {CAMERA_S:.0f} s; {cause}")
    # Opened anew: where nobody knows the pixel size, the refusal says what its first pictures suggest.
    with closing(open_camera(config.camera)) as source:
        pixel_um = require_known_pixel_size(config.camera.pixel_size_um, source, PIXEL_SIZE_SETTING, ConfigError)
    height, width = frame.image.shape[:2]
    return Finding("camera", "ok", f"{source.name} gives pictures of {width}x{height}, {pixel_um:g} um a pixel")


def _panel(config: Config) -> Finding:
    if config.panel.pins == "none":
        return Finding("panel", "not used", "panel.pins is none")
    with closing(pin_factory(config.panel.pins)):
        return Finding("panel", "warning", f"the pins can be opened; {PINMUX}")


def _secret(config: Config) -> Finding:
    path = config.mqtt.password_file
    if path is None:
        return Finding("secret", "not used", "mqtt.password_file is not set")
    config.mqtt.password()
    if path.stat().st_mode & 0o077:
        return Finding("secret", "fault", f"{path} can be read by others; chmod 600 {path}")
    return Finding("secret", "ok", f"only its owner reads {path}")


def _page(config: Config) -> Finding:
    web = config.web
    if not web.enabled:
        return Finding("page", "not used", "web.enabled is false")
    login = wants_login(web.access(config.state_dir), web.host)
    server_context(web.cert_file, web.key_file)
    if web.key_file is not None and web.key_file.stat().st_mode & 0o077:
        return Finding("page", "fault", f"{web.key_file} can be read by others; chmod 600 {web.key_file}")
    if words := _taken(web.host, web.port):
        return Finding("page", "warning", words)
    if words := certificates.warning(web.cert_file, SystemClock().utc()):
        return Finding("page", "warning", words)
    who = "who has an account" if login else "who sits at this machine"
    return Finding("page", "ok", f"on {web.host} port {web.port}, for {who}")


def _taken(host: str, port: int) -> str:
    """Why the page cannot listen at a port now; empty where it can.

    Raises
    ------
    ConfigError
        The address is none of this machine's, or the port is not for this user.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} of {host} is taken; if not by a daemon that runs now, give another web.port"
            words = f"the page cannot listen on {host} port {port} ({error.strerror}); mend web.host or web.port"
            raise ConfigError(words) from error
    return ""


def _temperature(config: Config) -> Finding:
    hottest = hottest_c()
    if hottest is None:
        return Finding("temperature", "not used", "this machine does not tell")
    if hottest >= HOT_C:
        return Finding("temperature", "warning", f"{hottest:.0f} C, from {HOT_C:.0f} on it slows down; clean the fan")
    return Finding("temperature", "ok", f"{hottest:.0f} C")


def _good_frame(source: FrameSource) -> Frame | BadFrame | None:
    """First good picture, or a bad one where only such came; None where none came in time.

    Raises
    ------
    FnrbcError
        The source itself says why it gives none.
    """
    found: list[Frame | BadFrame | None] = []
    faults: list[FnrbcError] = []
    ended = threading.Event()

    def take() -> None:
        try:
            while not ended.is_set() and (not found or isinstance(found[-1], BadFrame)):
                found.append(source.read())
        except FnrbcError as error:
            faults.append(error)

    reader = threading.Thread(target=take, daemon=True)
    reader.start()
    reader.join(CAMERA_S)
    ended.set()
    source.close()
    reader.join(CLOSE_S)
    if faults:
        raise faults[0]
    return next((one for one in reversed(found) if one is not None), None)
