"""``fnrbc demo``: the daemon's real code over a simulated microscope, with a broker that comes with pip."""

import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from fnrbc_device.camera.simulated.hand import hand_path
from fnrbc_device.camera.simulated.microscope import FRAME_SHAPE, SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.simulated.stain import LookName
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.host.signals import stopped_by_signal
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.embedded_broker import EmbeddedBroker
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import Tally
from fnrbc_device.session_state import SessionControl
from fnrbc_device.texts import RESEARCH_USE_ONLY
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView

DEMO_CELLS: Final = 600
"""Nucleated cells on the demo's slide: the hand passes over all of them in about two minutes."""

DEMO_S: Final = 1800.0
"""How long the hand goes on, back and forth over the same slide; the count must not."""


def run_demo(*, seconds: float | None, port: int, seed: int, look: LookName, fps: float) -> None:
    """Run the demo until its time is up, its slide is panned, or Ctrl-C.

    Parameters
    ----------
    seconds
        None for as long as the slide lasts.
    port
        Of the page; 0 for any free one.
    seed
        Of slide and hand.
    look
        Stain of the slide.
    fps
        The camera's pace.
    """
    print("making a slide ...", flush=True)
    slide = SimulatedSlide.make(seed, look, DEMO_CELLS)
    path = hand_path(slide.image.shape, FRAME_SHAPE, seed, round(fps * DEMO_S))
    live = LiveView()
    stop = threading.Event()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fnrbc-demo-")))
        broker = stack.enter_context(EmbeddedBroker())
        control = SessionControl()
        control.enter("starting")  # a start asked for before the daemon waits for one would be lost
        journal_path = folder / "journal.sqlite"
        context = WebContext(live, control, journal_path, "demo", "simulated", slide.pixel_size_um)
        page = WebServer(live, port=port, context=context)
        page.start()
        stack.callback(page.stop)
        stack.enter_context(stopped_by_signal(stop))
        setup = Setup(
            source=SimulatedMicroscope(slide, path, seed=seed, fps=fps),
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=journal_path,
            mqtt=MqttSettings(host=broker.host, port=broker.port, site="demo", device="simulated"),
            live=live,
            simulated=True,
            control=control,
        )
        if seconds is not None:
            timer = threading.Timer(seconds, stop.set)
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        tally = Daemon(setup).run(stop, lambda: _announce(page.url, broker))
    _sum_up(tally)


def _announce(url: str, broker: EmbeddedBroker) -> None:
    print(f"page:  {url}")
    print(f"MQTT:  mosquitto_sub -V 5 -h {broker.host} -p {broker.port} -t 'fnrbc/v1/demo/simulated/#' -v")
    print(f"Ctrl-C ends it. {RESEARCH_USE_ONLY}", flush=True)


def _sum_up(tally: Tally) -> None:
    rate = tally.fnrbc_per_100_leukocytes
    share = f"{rate.value:.1f} per 100 leukocytes ({rate.low:.1f} to {rate.high:.1f})" if rate else "no leukocyte yet"
    print(
        f"counted {tally.cells} cells: {tally.fnrbc} fNRBC, {tally.leukocytes} leukocytes, {tally.other} other, "
        f"{tally.indeterminate} indeterminate; {share}"
    )
    print(
        f"{tally.frames_used} of {tally.frames} frames used, {tally.frames_dropped} dropped, "
        f"{tally.unique_area_mm2:.3f} mm2 seen. {RESEARCH_USE_ONLY}"
    )
