"""``fnrbc check``: goes through all that counting needs on this machine, and says what to do about each fault."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

from fnrbc_device.camera.opening import open_camera
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.config import Config
from fnrbc_device.daemon.active_bundle import bundle_for
from fnrbc_device.errors import FnrbcError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.disk_space import MB, room_bytes
from fnrbc_device.host.vitals import hottest_c
from fnrbc_device.inference.choose import open_classifier
from fnrbc_device.inference.machine import import_runtime, look_at_machine
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt import certificates
from fnrbc_device.panel.pins import pin_factory
from fnrbc_device.records import BadFrame, Frame
from fnrbc_device.web.access.authentication import wants_login
from fnrbc_device.web.tls import server_context

State = Literal["ok", "warning", "fault", "not used"]

CAMERA_S: Final = 10.0
BROKER_S: Final = 3.0
HOT_C: Final = 85.0
"""From here on an Orin throttles itself."""

PINMUX: Final = "a pin does nothing, without an error, until its pinmux is set: see the install guide"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    what: str
    state: State
    words: str
    """What is there; or what is missing, and how to mend it."""


def check(config: Config) -> Iterator[Finding]:
    """Look at everything, one after the other; no fault ends it."""
    looks: tuple[tuple[str, Callable[[Config], Finding]], ...] = (
        ("disk", _disk),
        ("clock", _clock),
        ("bundle", _bundle),
        ("gpu", _gpu),
        ("camera", _camera),
        ("panel", _panel),
        ("broker", _broker),
        ("secret", _secret),
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
    free, least = room_bytes(folder) // MB, config.record.least_free_mb
    if free < least:
        return Finding("disk", "fault", f"{free} MB are free for {folder}, below the limit of {least}; free some")
    return Finding("disk", "ok", f"{free} MB are free for {folder}")


def _clock(config: Config) -> Finding:
    if SystemClock().synchronised():
        return Finding("clock", "ok", "held by a time server")
    return Finding("clock", "warning", "no time server holds it: dates may be wrong; start chrony or systemd-timesyncd")


def _bundle(config: Config) -> Finding:
    bundle = load_bundle(bundle_for(config), config.bundle_key)
    with closing(open_classifier(bundle, None, lambda: True).classifier):
        return Finding("bundle", "ok", f"{bundle.id[:12]} reproduces its golden crops on the processor")


def _gpu(config: Config) -> Finding:
    if config.inference.runtime == "onnxruntime":
        return Finding("gpu", "not used", "inference.runtime is onnxruntime")
    machine = look_at_machine(*import_runtime())
    return Finding("gpu", "ok", f"{machine}; the engine is built and proved at the start")


def _camera(config: Config) -> Finding:
    with closing(open_camera(config.camera)) as source:
        if config.camera.kind in ("simulated", "replay"):
            return Finding("camera", "ok", source.name)
        frame = _first_frame(source)
    if frame is None:
        return Finding("camera", "fault", f"{source.name} gave no picture in {CAMERA_S:.0f} s; check cable and power")
    if isinstance(frame, BadFrame):
        return Finding("camera", "fault", frame.detail)
    height, width = frame.image.shape[:2]
    return Finding("camera", "ok", f"{source.name} gives pictures of {width}x{height}")


def _panel(config: Config) -> Finding:
    if config.panel.pins == "none":
        return Finding("panel", "not used", "panel.pins is none")
    with closing(pin_factory(config.panel.pins)):
        return Finding("panel", "warning", f"the pins can be opened; {PINMUX}")


def _broker(config: Config) -> Finding:
    mqtt = config.mqtt
    if not mqtt.enabled:
        return Finding("broker", "not used", "mqtt.enabled is false")
    try:
        socket.create_connection((mqtt.host, mqtt.port), BROKER_S).close()
    except OSError as error:
        words = f"{mqtt.host} port {mqtt.port} does not answer ({error}); check host, port and network"
        return Finding("broker", "warning", f"{words}; counting goes on without it")
    return Finding("broker", "ok", f"{mqtt.host} port {mqtt.port} answers")


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
    if words := certificates.warning(web.cert_file, SystemClock().utc()):
        return Finding("page", "warning", words)
    who = "who has an account" if login else "who sits at this machine"
    return Finding("page", "ok", f"on {web.host} port {web.port}, for {who}")


def _temperature(config: Config) -> Finding:
    hottest = hottest_c()
    if hottest is None:
        return Finding("temperature", "not used", "this machine does not tell")
    if hottest >= HOT_C:
        return Finding("temperature", "warning", f"{hottest:.0f} C, from {HOT_C:.0f} on it slows down; clean the fan")
    return Finding("temperature", "ok", f"{hottest:.0f} C")


def _first_frame(source: FrameSource) -> Frame | BadFrame | None:
    """First picture of a live camera; None where none came in time."""
    found: list[Frame | BadFrame | None] = []
    reader = threading.Thread(target=lambda: found.append(source.read()), daemon=True)
    reader.start()
    reader.join(CAMERA_S)
    source.close()
    reader.join(BROKER_S)
    return found[0] if found else None
