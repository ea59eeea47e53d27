"""``fnrbc run``: puts together what the configuration names, and counts until stopped."""

import threading
from contextlib import ExitStack
from pathlib import Path

from fnrbc_device.bundle import load_bundle
from fnrbc_device.bundle_command import bundle_for
from fnrbc_device.camera.opening import open_camera
from fnrbc_device.config import Config, PanelSettings
from fnrbc_device.control import SessionControl
from fnrbc_device.daemon import Daemon, Setup
from fnrbc_device.demo import stopped_by_signal
from fnrbc_device.errors import ConfigError
from fnrbc_device.inference.opening import EngineSettings
from fnrbc_device.panel.board import Panel, PanelPins
from fnrbc_device.panel.pins import pin_factory
from fnrbc_device.scale import require_known_pixel_size
from fnrbc_device.session import PIXEL_SIZE_SETTING
from fnrbc_device.systemd import Notifier
from fnrbc_device.web.instrument import Instrument
from fnrbc_device.web.live import LiveView
from fnrbc_device.web.server import WebServer


def run_service(config: Config) -> None:
    """Count until the source ends, or SIGTERM or Ctrl-C.

    Raises
    ------
    ConfigError
        The state folder cannot be made, or the camera's settings lack something, such as its pixel size.
    """
    live = LiveView()
    stop = threading.Event()
    control = SessionControl()
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signal(stop))
        source = open_camera(config.camera)
        stack.callback(source.close)
        try:
            config.state_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"state_dir {config.state_dir} cannot be made ({error.strerror}); choose one that can"
            ) from error
        page = None
        if config.web.enabled:
            page = WebServer(live, config.web.host, config.web.port, _instrument(config, live, control))
            page.start()
            stack.callback(page.stop)
        chosen = bundle_for(config)
        setup = Setup(
            source=source,
            bundle=load_bundle(chosen, config.bundle_key),
            pixel_size_um=require_known_pixel_size(
                config.camera.pixel_size_um, source, PIXEL_SIZE_SETTING, ConfigError
            ),
            journal_path=config.state_dir / "journal.sqlite",
            mqtt=config.mqtt,
            live=live,
            config_hash=config.fingerprint(),
            simulated=config.camera.kind == "simulated",
            engines=_engines(config, chosen),
            record=config.record.settings(),
            panel=_panel(config.panel, stack),
            buzz=config.panel.buzz,
            notifier=Notifier.from_environment(),
            start=config.session.start,
            control=control,
        )
        does = "counting" if config.session.start == "at_once" else "ready"
        started = f"{does}; page: {page.url}" if page else does
        tally = Daemon(setup).run(stop, lambda: print(started, flush=True))
    print(f"session ended: {tally.cells} cells, {tally.fnrbc} fNRBC, {tally.leukocytes} leukocytes")


def _instrument(config: Config, live: LiveView, control: SessionControl) -> Instrument:
    return Instrument(
        live=live,
        control=control,
        journal_path=config.state_dir / "journal.sqlite",
        site=config.mqtt.site,
        device=config.mqtt.device,
        pixel_size_um=config.camera.pixel_size_um or 0.1,
    )


def _panel(settings: PanelSettings, stack: ExitStack) -> Panel | None:
    if settings.pins == "none":
        return None
    pins = PanelPins(settings.footswitch, settings.green, settings.red, settings.buzzer)
    panel = Panel(pins, pin_factory(settings.pins))
    stack.callback(panel.stop)
    panel.start()
    return panel


def _engines(config: Config, bundle: Path | None) -> EngineSettings | None:
    inference = config.inference
    if inference.runtime == "onnxruntime":
        return None
    return EngineSettings(bundle, config.state_dir / "engines", inference.fallback, inference.build_timeout_s)
