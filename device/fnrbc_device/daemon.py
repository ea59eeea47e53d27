"""The daemon: camera to tally to the lab, in four threads.

Capture reads the camera, analysis (the caller's thread) counts and records, publishing and the page have a thread
each. Data flows one way; nothing below waits for anything above.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import fnrbc_device
from fnrbc_device.analysis import Analyser
from fnrbc_device.bundle import Bundle
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.clock import Clock, SystemClock
from fnrbc_device.control import SessionControl
from fnrbc_device.counting.journal import Journal, SessionMeta
from fnrbc_device.errors import SourceError
from fnrbc_device.health import ALARMS, CURES, HealthMonitor
from fnrbc_device.inference.opening import EngineSettings, open_classifier
from fnrbc_device.pipeline import Arrival, FrameBox
from fnrbc_device.publishing.mqtt import Publisher
from fnrbc_device.publishing.settings import MqttSettings
from fnrbc_device.publishing.voice import Voice
from fnrbc_device.records import INDETERMINATE, CountEvent, HealthState, SessionState, Step, Tally
from fnrbc_device.scale import ScaleWatch
from fnrbc_device.web.live import BrokerLine, LiveView, Snapshot

TAKE_TIMEOUT_S: Final = 0.5
"""How soon the daemon notices a stop while no frame comes."""

CAMERA_TIMEOUT_S: Final = 2.0
"""No frame for this long: the camera is lost."""

JOIN_TIMEOUT_S: Final = 5.0
FLUSH_TIMEOUT_S: Final = 5.0
"""What the end of a session waits for the broker; what it has not taken by then waits in the outbox."""

PIXEL_SIZE_SETTING: Final = "camera.pixel_size_um"
"""Where a person states the pixel size."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What one session is made of."""

    source: FrameSource
    bundle: Bundle
    pixel_size_um: float
    journal_path: Path
    mqtt: MqttSettings
    live: LiveView
    config_hash: str = ""
    simulated: bool = False
    engines: EngineSettings | None = None
    """None to run the network on the processor."""


def session_name(moment: datetime) -> str:
    """Name of a session that starts now: UTC, fit for a topic and a file name."""
    return moment.strftime("s%Y%m%d-%H%M%S")


class Daemon:
    """Runs one session from its first frame to its last.

    Parameters
    ----------
    setup
        Camera, model, record and broker.
    clock
        Passed in, so that a test can step it.
    """

    def __init__(self, setup: Setup, clock: Clock | None = None) -> None:
        self._setup = setup
        self._clock = clock or SystemClock()
        self._box = FrameBox()
        self._camera_fault: Exception | None = None
        self._health = HealthMonitor()
        self._scale = ScaleWatch()
        self._doubt = ""
        self._control = SessionControl()
        self.session_id = ""
        """Set when the session begins."""

    def run(self, stop: threading.Event, started: Callable[[], None] = lambda: None) -> Tally:
        """Count until the source ends or ``stop`` is set.

        Parameters
        ----------
        stop
            Ends the session in an orderly way; looked at at least twice a second.
        started
            Called once counting can begin.

        Returns
        -------
        Tally
            As recorded in the journal.

        Raises
        ------
        ParityError
            The network does not reproduce its checkpoint's probabilities on this machine.
        EngineError
            There is no engine, and the configuration wants no other network.
        JournalError
            The record cannot be kept. Nothing is counted that is not recorded.
        SourceError
            The camera failed.
        """
        setup = self._setup
        with ExitStack() as stack:
            stack.callback(setup.source.close)
            opened = open_classifier(setup.bundle, setup.engines, lambda: self._building(stop))
            classifier = stack.enter_context(closing(opened.classifier))
            if opened.fault:
                self._health.keep("engine_parity_failed")
            _log.info("the network runs in %s", opened.runtime)
            journal = stack.enter_context(Journal.open(setup.journal_path, setup.mqtt.device, self._clock))
            publisher = self._publisher(stack)
            capture = threading.Thread(target=self._capture, args=(stop,), name="capture", daemon=True)
            stack.callback(self._end_capture, capture)
            analyser = Analyser(setup.pixel_size_um, classifier, setup.bundle.manifest)
            began = self._clock.utc()
            self.session_id = self._begin(journal, began)
            voice = Voice(publisher, setup.mqtt.device, setup.bundle.id, setup.source.name, self._clock)
            voice.begin(self.session_id, began, journal.epoch, journal.last_seq)
            if publisher is not None:
                publisher.start()  # only now: `online` must not be said before what it stands for
            self._control.enter("running")
            capture.start()
            started()
            self._count(analyser, journal, voice, publisher, stop)
            self._control.enter("finished")
            tally = self._finish(analyser, journal, voice)
            self._show(None, analyser, publisher, "finished", "stopping")
            if publisher is not None:
                publisher.flush(FLUSH_TIMEOUT_S)
        if self._camera_fault is not None:
            raise SourceError(f"the camera failed: {self._camera_fault}") from self._camera_fault
        return tally

    def _building(self, stop: threading.Event) -> bool:
        """Show that an engine is built; says whether to go on."""
        setup = self._setup
        health = self._health.snapshot("building_engine", self._clock.monotonic_s())
        setup.live.show(
            Snapshot(None, "", "starting", health, setup.pixel_size_um, setup.bundle.id, setup.simulated)
        )
        return not stop.is_set()

    def _publisher(self, stack: ExitStack) -> Publisher | None:
        if not self._setup.mqtt.enabled:
            return None
        publisher = Publisher(self._setup.journal_path, self._setup.mqtt, self._clock, self._control)
        stack.callback(publisher.stop, JOIN_TIMEOUT_S)
        return publisher

    def _begin(self, journal: Journal, began: datetime) -> str:
        setup = self._setup
        name = session_name(began)
        meta = SessionMeta(
            software=f"fnrbc {fnrbc_device.__version__}",
            bundle=setup.bundle.id,
            source=setup.source.name,
            pixel_size_um=setup.pixel_size_um,
            config_hash=setup.config_hash,
        )
        journal.begin(name, began, meta)
        return name

    def _capture(self, stop: threading.Event) -> None:
        """Read the camera until it ends; runs in its own thread."""
        try:
            while not stop.is_set():
                frame = self._setup.source.read()
                if frame is None:
                    break
                self._box.put(Arrival(frame, self._clock.monotonic_s()))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises must reach the counting thread
            self._camera_fault = error
        finally:
            self._box.close()

    def _end_capture(self, capture: threading.Thread) -> None:
        self._setup.source.close()
        if capture.is_alive():
            capture.join(JOIN_TIMEOUT_S)

    def _count(
        self,
        analyser: Analyser,
        journal: Journal,
        voice: Voice,
        publisher: Publisher | None,
        stop: threading.Event,
    ) -> None:
        setup, waited_since = self._setup, self._clock.monotonic_s()
        while not (stop.is_set() or self._box.ended or self._control.state == "stopping"):
            arrival, dropped = self._box.take(TAKE_TIMEOUT_S)
            now = self._clock.monotonic_s()
            state = self._control.state
            voice.say_state(state, journal.last_seq)
            if state == "paused":
                waited_since = now
                self._show(None, analyser, publisher, "paused", "paused")
                continue
            if arrival is None:
                if now - waited_since > CAMERA_TIMEOUT_S:
                    self._health.note("camera_lost", now)
                    self._show(None, analyser, publisher, "running", "counting")
                continue
            waited_since = now
            analyser.drop(dropped)
            step = analyser.analyse(arrival.frame)
            last_seq = journal.record(step)
            self._watch(step, arrival, analyser, dropped, publisher)
            if publisher is not None and setup.mqtt.thumbnails:
                _show_candidates(step, analyser, publisher)
            voice.tell(step.tally, last_seq, self._health.snapshot("counting", self._clock.monotonic_s()))
            self._show(step, analyser, publisher, "running", "counting")

    def _watch(
        self, step: Step, arrival: Arrival, analyser: Analyser, dropped: int, publisher: Publisher | None
    ) -> None:
        now = self._clock.monotonic_s()
        self._health.watch(step, arrival.arrived_s, now, dropped)
        self._watch_scale(step, analyser.pixel_size_um, now)
        if publisher is not None and not publisher.status.connected:
            self._health.note("broker_away", now)
        if publisher is not None and publisher.status.refused:
            self._health.note("broker_refused", now)

    def _watch_scale(self, step: Step, pixel_size_um: float, now_s: float) -> None:
        self._scale.see(step.frame, step.reason)
        doubt = self._scale.doubt(pixel_size_um, PIXEL_SIZE_SETTING)
        if doubt and not self._doubt:
            _log.warning("%s", doubt)
        self._doubt = doubt
        if doubt:
            self._health.note("pixel_size_doubtful", now_s)

    def _finish(self, analyser: Analyser, journal: Journal, voice: Voice) -> Tally:
        events = analyser.finish()
        tally = replace(analyser.tally(), cells_open=0)
        ended = self._clock.utc()
        complete = tally.islands <= 1 and tally.frames_used > 0
        last_seq = journal.end(ended, tally, complete, events)
        voice.end(tally, last_seq, ended, complete)
        return tally

    def _show(
        self,
        step: Step | None,
        analyser: Analyser,
        publisher: Publisher | None,
        state: SessionState,
        health_state: HealthState,
    ) -> None:
        health = self._health.snapshot(health_state, self._clock.monotonic_s())
        status = publisher.status if publisher is not None else None
        if publisher is not None:
            publisher.report({code: CURES[code] for code in health.reasons if code in ALARMS})
        self._setup.live.show(
            Snapshot(
                step=step,
                session_id=self.session_id,
                state=state,
                health=health,
                pixel_size_um=analyser.pixel_size_um,
                bundle=self._setup.bundle.id,
                simulated=self._setup.simulated,
                slide_map=analyser.slide_map,
                broker=BrokerLine(status.connected, status.backlog, status.last_error) if status else None,
            )
        )


def _show_candidates(step: Step, analyser: Analyser, publisher: Publisher) -> None:
    """Hand the pictures of newly counted candidates to the lab."""
    candidates = {one.cell for one in step.events if one.event == "counted" and _is_candidate(one)}
    for cell in analyser.ledger.cells() if candidates else ():
        if cell.number in candidates and cell.best:
            publisher.show(cell.number, cell.best[0].crop)


def _is_candidate(event: CountEvent) -> bool:
    return event.verdict.role == "target" or event.verdict.class_name == INDETERMINATE
