"""The daemon: camera to tally to the lab, in four threads.

Capture reads the camera, analysis (the caller's thread) counts and records, publishing and the page have a thread
each. Data flows one way; nothing below waits for anything above.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import fnrbc_device
from fnrbc_device.camera.source import FrameSource, Rereadable
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.daemon.capture import Capture, FrameBox
from fnrbc_device.daemon.counting_session import CountingSession, Parts
from fnrbc_device.daemon.footswitch import Footswitch
from fnrbc_device.daemon.idle import Idle
from fnrbc_device.daemon.recorder import Opening, Recorder
from fnrbc_device.daemon.status_board import NO_SESSION, NOTHING_COUNTED, About, StatusBoard
from fnrbc_device.errors import DiskFullError
from fnrbc_device.health import HealthMonitor
from fnrbc_device.host.clock import Clock, SystemClock
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.host.folder_lock import hold_state_folder
from fnrbc_device.host.garbage import Garbage
from fnrbc_device.host.systemd import Notifier
from fnrbc_device.host.vitals import read_vitals
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.choose import EngineSettings, open_classifier
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.journal.journal import Journal
from fnrbc_device.laboratory.handover import Handover
from fnrbc_device.laboratory.settings import LaboratorySettings
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.model.error_counts import shipped_errors
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.mqtt.silent import AnyPublisher, SilentPublisher
from fnrbc_device.mqtt.state_reporter import StateReporter
from fnrbc_device.panel.board import Panel
from fnrbc_device.records import USUAL_SEEING, ErrorCounts, SeeingMethod, SessionKind, SessionMeta, Tally
from fnrbc_device.session_state import SessionControl, SessionPlan
from fnrbc_device.sessions.last_finished import last_finished
from fnrbc_device.vision.seeing import CentreModel
from fnrbc_device.web.snapshot import LiveView

JOIN_TIMEOUT_S: Final = 5.0
FLUSH_TIMEOUT_S: Final = 5.0
"""What the end of a session waits for the broker; what it has not taken by then waits in the outbox."""

StartName = Literal["at_once", "by_hand"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What sessions are made of."""

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
    method: SeeingMethod = USUAL_SEEING
    """What finds the cells."""
    everything: bool = False
    """Whether each frame is looked at, not only those that show something new."""
    record: RecordSettings = field(default_factory=RecordSettings)
    panel: Panel | None = None
    buzz: bool = False
    """Whether an fNRBC sounds the panel's buzzer."""
    notifier: Notifier = field(default_factory=Notifier)
    """Tells systemd."""
    start: StartName = "at_once"
    """Whether the first session begins with the daemon, or when somebody starts it."""
    kind: SessionKind = "sample"
    """Of a session whose start does not say."""
    control: SessionControl = field(default_factory=SessionControl)
    """Shared with all who may start, hold and end a session."""
    page_cert: Path | None = None
    """The page's certificate: its end is said."""
    errors: Callable[[], tuple[ErrorCounts, ...]] | None = None
    """Asked at a session's start: what the network is known by at this site. None for what the bundle ships."""
    laboratory: LaboratorySettings = field(default_factory=LaboratorySettings)
    """With a folder, signed results are handed over there."""
    folder_held: bool = False
    """Whether whoever put this together holds the state folder already; else the daemon does."""


class Daemon:
    """Counts one session after the other, the first from where it was cut off.

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
        self._health = HealthMonitor()
        self._full: DiskFullError | None = None
        self._centres: CentreModel | None = None
        self._handover: Handover | None = None
        self.session_id = ""
        """Of the newest session; empty before the first."""

    def run(self, stop: threading.Event, started: Callable[[], None] = lambda: None) -> Tally:
        """Count until the source ends or ``stop`` is set.

        Parameters
        ----------
        stop
            Ends the session and the daemon in an orderly way; looked at at least twice a second.
        started
            Called once counting can begin.

        Returns
        -------
        Tally
            Of the last session, as recorded in the journal.

        Raises
        ------
        FolderHeldError
            Another process works in the state folder.
        ParityError
            The network does not reproduce its checkpoint's probabilities on this machine.
        EngineError
            There is no engine, and the configuration wants no other network.
        JournalError
            The record cannot be kept. Nothing is counted that is not recorded.
        DiskFullError
            There is no room for a session, or there was none to go on with it; then it was closed.
        SourceError
            The camera failed.
        """
        setup = self._setup
        with ExitStack() as stack:
            stack.callback(setup.source.close)
            garbage = stack.enter_context(Garbage(self._clock.monotonic_s))
            if not setup.folder_held:
                stack.enter_context(hold_state_folder(setup.journal_path.parent, "a daemon"))
            opened = open_classifier(setup.bundle, setup.engines, lambda: self._building(stop))
            classifier = stack.enter_context(closing(opened.classifier))
            if opened.fault:
                self._health.keep("engine_parity_failed")
            _log.info("the network runs in %s", opened.runtime)
            centres = open_centres(setup.bundle, setup.method, 1, setup.engines, lambda: self._building(stop))
            stack.callback(centres.close)
            if centres.fault:
                self._health.keep("seeing_by_threshold")
            if centres.engine_fault:
                self._health.keep("engine_parity_failed")
            self._centres = centres.model
            journal = stack.enter_context(Journal.open(setup.journal_path, setup.mqtt.device, self._clock))
            again = isinstance(setup.source, Rereadable)
            recorder = Recorder(journal, setup.journal_path.parent, self._clock, setup.record, seen_again=again)
            publisher = self._publisher(stack)
            self._hand_over(stack)
            opening = self._first(recorder, classifier, stop)
            if opening is None:
                setup.control.enter("idle")
            capture = Capture(setup.source, self._box, self._clock.monotonic_s, opening.first_frame if opening else 0)
            stack.callback(capture.end)
            parts = self._parts(capture, recorder, publisher, garbage, stop)
            parts.reporter.introduce(journal.log_state)
            if opening is not None:
                about = (opening.specimen, opening.state, opening.meta.kind)
                parts.reporter.begin(opening.session, opening.began, journal.last_seq, *about)
            self._recall(parts.reporter, journal.last_seq)
            publisher.start()  # only now: `online` must not be said before what it stands for
            capture.start()
            setup.notifier.ready()
            started()
            tally = self._sessions(parts, opening, classifier)
            setup.notifier.stopping()
            publisher.flush(FLUSH_TIMEOUT_S)
        if self._full is not None:
            raise self._full
        capture.raise_fault()
        return tally

    def _recall(self, reporter: StateReporter, log_seq: int) -> None:
        """Say how the last session ended: the process before may not have come to it, or found no broker."""
        last = last_finished(self._setup.journal_path)
        if last is not None:
            times = (last.started_utc, last.ended_utc)
            reporter.recall(last.session, last.meta, last.tally, times, log_seq, complete=last.complete)

    def _parts(
        self,
        capture: Capture,
        recorder: Recorder,
        publisher: AnyPublisher,
        garbage: Garbage,
        stop: threading.Event,
    ) -> Parts:
        setup, clock = self._setup, self._clock
        return Parts(
            capture=capture,
            box=self._box,
            recorder=recorder,
            control=setup.control,
            health=self._health,
            reporter=self._reporter(publisher, capture),
            footswitch=Footswitch(setup.panel, recorder, setup.control, setup.buzz),
            status_board=self._status_board(publisher),
            clock=clock,
            garbage=garbage,
            stop=stop,
            thumbnails=setup.mqtt.thumbnails,
        )

    def _reporter(self, publisher: AnyPublisher, capture: Capture) -> StateReporter:
        setup, folder = self._setup, self._setup.journal_path.parent
        names = (setup.mqtt.device, setup.bundle.id, setup.source.name)
        return StateReporter(
            publisher, *names, self._clock, lambda: replace(read_vitals(folder), exposure_ms=capture.exposure_ms)
        )

    def _status_board(self, publisher: AnyPublisher) -> StatusBoard:
        setup = self._setup
        about = About(setup.bundle.id, setup.simulated, setup.pixel_size_um, setup.page_cert)
        return StatusBoard(
            about, setup.live, publisher, setup.notifier, self._health, self._clock, self._results_wait
        )

    def _first(self, recorder: Recorder, classifier: Classifier, stop: threading.Event) -> Opening | None:
        """Open the session that was cut off, or a new one where the daemon shall begin at once."""
        meta, fresh = self._meta(SessionPlan()), self._analysers(classifier)
        opening = recorder.go_on(meta, self._setup.source, fresh, lambda: self._starting(stop))
        if opening is None and self._setup.start == "at_once":
            opening = recorder.begin(meta, fresh, 0)
        return opening

    def _sessions(self, parts: Parts, opening: Opening | None, classifier: Classifier) -> Tally:
        """Count session after session, until the source or the process ends."""
        tally, told = NOTHING_COUNTED, NO_SESSION
        waiting = Idle(
            parts,
            lambda plan, first_frame: parts.recorder.begin(self._meta(plan), self._analysers(classifier), first_frame),
            at_the_end="leave" if self._setup.start == "at_once" else "stay",
        )
        while opening := opening or waiting.for_start(told):
            self.session_id = opening.session
            session = CountingSession(parts, opening)
            tally, self._full, told, opening = session.run(), session.full, session.told, None
            parts.garbage.let_go()
            if self._full is not None:
                break
        return tally

    def _analysers(self, classifier: Classifier) -> Callable[[float], Analyser]:
        bundle, centres = self._setup.bundle, self._centres
        # Simulated cells are no evidence of anything, and the page says in large letters that they are simulated.
        looks = None if self._setup.simulated else bundle.appearance
        return lambda pixel_size_um: Analyser(
            pixel_size_um,
            classifier,
            bundle.manifest,
            usual_looks=looks,
            centres=centres,
            everything=self._setup.everything,
        )

    def _building(self, stop: threading.Event) -> bool:
        """Show that an engine is built; says whether to go on."""
        self._status_board(SilentPublisher()).show(None, "starting", "building_engine")
        return self._starting(stop)

    def _starting(self, stop: threading.Event) -> bool:
        """Say that the start goes on, and whether it shall."""
        self._setup.notifier.extend()
        return not stop.is_set()

    def _publisher(self, stack: ExitStack) -> AnyPublisher:
        setup = self._setup
        if not setup.mqtt.enabled:
            return SilentPublisher()
        publisher = Publisher(setup.journal_path, setup.mqtt, self._clock, setup.control)
        stack.callback(publisher.stop, JOIN_TIMEOUT_S)
        return publisher

    def _hand_over(self, stack: ExitStack) -> None:
        """Hand signed results over, where the configuration names a folder."""
        setup = self._setup
        if setup.laboratory.folder is None:
            return
        self._handover = Handover(setup.laboratory, setup.journal_path, setup.mqtt.site)
        stack.callback(self._handover.stop, JOIN_TIMEOUT_S)
        self._handover.start()

    def _results_wait(self) -> bool:
        return self._handover is not None and bool(self._handover.trouble)

    def _meta(self, plan: SessionPlan) -> SessionMeta:
        setup = self._setup
        return SessionMeta(
            software=f"fnrbc {fnrbc_device.__version__}",
            bundle=setup.bundle.id,
            source=setup.source.name,
            pixel_size_um=plan.pixel_size_um or setup.pixel_size_um,
            config_hash=setup.config_hash,
            operator=plan.operator,
            specimen=plan.specimen,
            note=plan.note,
            objective=plan.objective,
            wanted_leukocytes=plan.wanted_leukocytes,
            wanted_area_mm2=plan.wanted_area_mm2,
            kind=plan.kind or setup.kind,
            classes={entry.name: entry.role for entry in setup.bundle.manifest.classes},
            threshold=setup.bundle.manifest.threshold,
            errors=setup.errors() if setup.errors else shipped_errors(setup.bundle.manifest),
        )
