"""What everybody outside sees of the daemon: the page, the lab's alarms, the watchdog and the line for systemd."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.health import REASONS, Health, HealthMonitor
from fnrbc_device.host.clock import Clock
from fnrbc_device.host.systemd import Notifier
from fnrbc_device.mqtt.certificates import days_left
from fnrbc_device.mqtt.silent import AnyPublisher
from fnrbc_device.records import BadFrame, Frame, HealthState, Image, SessionMeta, SessionState, Step, Tally
from fnrbc_device.web.snapshot import BrokerLine, LiveView, Snapshot

NOTHING_COUNTED: Final = Tally()

CERT_EVERY_S: Final = 3600.0
"""How often the page's certificate is looked at: it ends once a year."""


@dataclass(frozen=True, slots=True, eq=False)
class About:
    """What the page says of the device, whatever it does."""

    bundle: str
    simulated: bool
    pixel_size_um: float
    """The camera's own; a session with another objective has another."""
    page_cert: Path | None = None
    """Certificate of the page; None where it speaks plain text."""


@dataclass(frozen=True, slots=True, eq=False)
class SessionView:
    """Which session is shown, and what it has come to."""

    session: str = ""
    meta: SessionMeta | None = None
    tally: Tally = NOTHING_COUNTED
    slide_map: SlideMap | None = None


NO_SESSION: Final = SessionView()


class StatusBoard:
    """Tells how it goes to all who look. Used by the counting thread; nothing here waits for anybody.

    Parameters
    ----------
    live, publisher, notifier
        Who is told.
    results_wait
        Whether a signed result waits for the laboratory's folder.
    """

    def __init__(
        self,
        about: About,
        live: LiveView,
        publisher: AnyPublisher,
        notifier: Notifier,
        health: HealthMonitor,
        clock: Clock,
        results_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._about = about
        self._live = live
        self._publisher = publisher
        self._notifier = notifier
        self._health = health
        self._clock = clock
        self._results_wait = results_wait
        self._cert_ended = False
        self._cert_read_s = float("-inf")

    def show(
        self,
        step: Step | None,
        state: SessionState,
        health_state: HealthState,
        told: SessionView = NO_SESSION,
        obstacle: str = "",
    ) -> Health:
        """Show how it stands, and why nothing can be started; gives the health that was shown."""
        self._watch_broker()
        if not self._clock.synchronised():
            self._health.note("clock_unsynced", self._clock.monotonic_s())
        self._watch_certificate()
        if self._results_wait():
            self._health.note("results_waiting", self._clock.monotonic_s())
        health = self._health.snapshot(health_state, self._clock.monotonic_s())
        self._publisher.report({code: REASONS[code].cure for code in health.reasons if REASONS[code].alarm})
        self._live.show(
            Snapshot(
                step=step,
                session_id=told.session,
                state=state,
                health=health,
                pixel_size_um=told.meta.pixel_size_um if told.meta else self._about.pixel_size_um,
                bundle=self._about.bundle,
                simulated=self._about.simulated,
                slide_map=told.slide_map,
                broker=self._broker_line(),
                tally=told.tally,
                meta=told.meta,
                obstacle=obstacle,
            )
        )
        self._notifier.status(", ".join([health.state, *health.reasons]))
        return health

    def candidate(self, cell: int, crop: Image) -> None:
        """Show the lab a candidate's picture, where that is switched on."""
        self._publisher.show(cell, crop)

    def alive(self) -> None:
        """Say that the counting goes on."""
        self._notifier.alive()

    def _watch_broker(self) -> None:
        now = self._clock.monotonic_s()
        status = self._publisher.status
        if status.publishes and not status.connected:
            self._health.note("broker_away", now)
        if status.refused:
            self._health.note("broker_refused", now)

    def _watch_certificate(self) -> None:
        now = self._clock.monotonic_s()
        if self._about.page_cert is None:
            return
        if now - self._cert_read_s >= CERT_EVERY_S:
            self._cert_read_s = now
            left = days_left(self._about.page_cert, self._clock.utc())
            self._cert_ended = left is not None and left < 0
        if self._cert_ended:
            self._health.note("page_certificate_ended", now)

    def _broker_line(self) -> BrokerLine | None:
        status = self._publisher.status
        return BrokerLine(status.connected, status.backlog, status.last_error) if status.publishes else None


def looked_at(frame: Frame | BadFrame | None) -> Step | None:
    """Give what the page shows of a frame that is looked at and not counted; None for no picture."""
    if not isinstance(frame, Frame):
        return None
    return Step(frame, None, None, [], [], NOTHING_COUNTED, 0.0, 1.0, {})
