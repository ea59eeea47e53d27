"""``fnrbc run``: puts together what the configuration names, and counts until stopped."""

import logging
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import cv2

from fnrbc_device.camera.opening import open_camera
from fnrbc_device.camera.pixel_size import require_known_pixel_size
from fnrbc_device.config import Config, PanelSettings
from fnrbc_device.daemon.active_bundle import bundle_for, engines_for, errors_for, store_of
from fnrbc_device.daemon.counting_session import PIXEL_SIZE_SETTING
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.errors import ConfigError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.host.signals import stopped_by_signal
from fnrbc_device.host.systemd import Notifier
from fnrbc_device.inference.proof_apart import prove_apart
from fnrbc_device.language import N_
from fnrbc_device.learning.calibrating import Calibrating
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt import certificates
from fnrbc_device.panel.board import Panel, PanelPins
from fnrbc_device.panel.pins import pin_factory
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView

SWITCH_S: Final = 0.0005
"""How long a thread that computes in Python keeps the others out, a tenth of what is usual: the counting gives the lock
back some hundred times a frame, and waits for it each time that page or publisher hold it."""

_log = logging.getLogger(__name__)


def share_the_processor() -> None:
    """Set for the whole process how its threads share the cores."""
    cv2.setNumThreads(1)  # its pool takes a fifth more of the processor's time, and a frame takes as long as before
    sys.setswitchinterval(SWITCH_S)


def run_service(config: Config, config_file: Path | None = None) -> None:
    """Count until the source ends, or SIGTERM or Ctrl-C.

    Parameters
    ----------
    config
        What it counts with.
    config_file
        Where that was read from, if not at its usual place: for commands that the page tells people.

    Raises
    ------
    FolderHeldError
        Another process works in the state folder.
    ConfigError
        The state folder cannot be made, or the camera's settings lack something, such as its pixel size.
    """
    share_the_processor()
    live = LiveView()
    stop = threading.Event()
    control = SessionControl()
    control.enter("starting")  # a start asked for before the daemon waits for one would be lost
    with ExitStack() as stack:
        stack.enter_context(hold_state_folder(config.state_dir, "fnrbc run"))
        stack.enter_context(stopped_by_signal(stop))
        source = open_camera(config.camera)
        stack.callback(source.close)
        pixel_size_um = require_known_pixel_size(
            config.camera.pixel_size_um, source, PIXEL_SIZE_SETTING, ConfigError
        )
        context = _context(config, live, control, pixel_size_um, config_file)
        stack.callback(context.close)
        page = _page(config, context, stack)
        chosen = bundle_for(config)
        bundle = load_bundle(chosen, config.bundle_key)
        if config.bundle is not None:  # installed ones were proved apart when they came, and the shipped one is ours
            prove_apart(bundle)
        setup = Setup(
            source=source,
            bundle=bundle,
            errors=lambda: errors_for(config, bundle),
            pixel_size_um=pixel_size_um,
            journal_path=config.state_dir / "journal.sqlite",
            mqtt=config.mqtt,
            live=live,
            config_hash=config.fingerprint(),
            simulated=config.camera.kind == "simulated",
            engines=engines_for(config, chosen),
            method=config.seeing.method,
            everything=config.seeing.everything,
            record=config.record.settings(),
            panel=_panel(config.panel, stack),
            buzz=config.panel.buzz,
            notifier=Notifier.from_environment(),
            start=config.session.start,
            kind=config.session.kind,
            control=control,
            page_cert=config.web.cert_file,
            laboratory=config.laboratory,
            folder_held=True,
        )
        does = "counting" if config.session.start == "at_once" else "ready"
        started = f"{does}; page: {page.url}" if page else does
        daemon = Daemon(setup)
        tally = daemon.run(stop, lambda: print(started, flush=True))
    counted = f"session ended: {tally.cells} cells, {tally.fnrbc} fNRBC, {tally.leukocytes} leukocytes"
    print(counted if daemon.session_id else "ended; no session was started")


def _page(config: Config, context: WebContext, stack: ExitStack) -> WebServer | None:
    web = config.web
    if not web.enabled:
        return None
    access = Authentication(web.access(config.state_dir), context.journal_path, config.mqtt.device)
    page = WebServer(context.live, web.host, web.port, context, access)
    page.start()
    stack.callback(page.stop)
    if words := certificates.warning(web.cert_file, SystemClock().utc()):
        _log.warning("%s", words)
    return page


def _context(
    config: Config, live: LiveView, control: SessionControl, pixel_size_um: float, config_file: Path | None
) -> WebContext:
    return WebContext(
        live=live,
        control=control,
        journal_path=config.state_dir / "journal.sqlite",
        site=config.mqtt.site,
        device=config.mqtt.device,
        pixel_size_um=pixel_size_um,
        kind=config.session.kind,
        language=config.web.language,
        controls=config.quality.rules(),
        laboratory=config.laboratory,
        site_figures=store_of(config).site_figures,
        objectives={one.name: one.pixel_size_um for one in config.objectives},
        bundle=lambda: load_bundle(bundle_for(config), config.bundle_key),
        config_file=config_file.absolute() if config_file else None,
        calibrating=_calibrating(config),
    )


def _calibrating(config: Config) -> Calibrating:
    barred = ""
    if config.bundle is not None:
        barred = N_("The configuration names the bundle that counts, whatever is installed; take it out of it first.")
    elif config.bundle_key is not None:
        barred = N_(
            "This device takes signed bundles alone; make one with fnrbc calibrate, sign it, and install it in a shell."
        )
    journal = config.state_dir / "journal.sqlite"
    return Calibrating(journal, config.mqtt.site, lambda: bundle_for(config), store_of(config), barred)


def _panel(settings: PanelSettings, stack: ExitStack) -> Panel | None:
    if settings.pins == "none":
        return None
    pins = PanelPins(settings.footswitch, settings.green, settings.red, settings.buzzer)
    panel = Panel(pins, pin_factory(settings.pins))
    stack.callback(panel.stop)
    panel.start()
    return panel
