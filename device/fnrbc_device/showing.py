"""What everybody outside sees of the daemon: the page, the lab's alarms, the watchdog and the line for systemd."""

from dataclasses import dataclass
from typing import Final

from fnrbc_device.analysis import Analyser
from fnrbc_device.clock import Clock
from fnrbc_device.health import ALARMS, CURES, Health, HealthMonitor
from fnrbc_device.publishing.mqtt import Publisher
from fnrbc_device.records import BadFrame, Frame, HealthState, Image, SessionState, Step, Tally
from fnrbc_device.systemd import Notifier
from fnrbc_device.web.live import BrokerLine, LiveView, Snapshot

NOTHING_COUNTED: Final = Tally()


@dataclass(frozen=True, slots=True, eq=False)
class About:
    """What the page says of the device, whatever it does."""

    bundle: str
    simulated: bool
    pixel_size_um: float
    """The camera's own; a session with another objective has another."""


class Showing:
    """Tells how it goes to all who look. Used by the counting thread; nothing here waits for anybody.

    Parameters
    ----------
    live, publisher, notifier
        Who is told; the publisher is None where nothing is published.
    """

    def __init__(
        self,
        about: About,
        live: LiveView,
        publisher: Publisher | None,
        notifier: Notifier,
        health: HealthMonitor,
        clock: Clock,
    ) -> None:
        self._about = about
        self._live = live
        self._publisher = publisher
        self._notifier = notifier
        self._health = health
        self._clock = clock

    def show(
        self,
        step: Step | None,
        state: SessionState,
        health_state: HealthState,
        session: str = "",
        analyser: Analyser | None = None,
    ) -> Health:
        """Show how it stands; gives the health that was shown."""
        self._watch_broker()
        health = self._health.snapshot(health_state, self._clock.monotonic_s())
        if self._publisher is not None:
            self._publisher.report({code: CURES[code] for code in health.reasons if code in ALARMS})
        self._live.show(
            Snapshot(
                step=step,
                session_id=session,
                state=state,
                health=health,
                pixel_size_um=analyser.pixel_size_um if analyser else self._about.pixel_size_um,
                bundle=self._about.bundle,
                simulated=self._about.simulated,
                slide_map=analyser.slide_map if analyser else None,
                broker=self._broker_line(),
            )
        )
        self._notifier.status(", ".join([health.state, *health.reasons]))
        return health

    def candidate(self, cell: int, crop: Image) -> None:
        """Show the lab a candidate's picture, where that is switched on."""
        if self._publisher is not None:
            self._publisher.show(cell, crop)

    def alive(self) -> None:
        """Say that the counting goes on."""
        self._notifier.alive()

    def _watch_broker(self) -> None:
        now = self._clock.monotonic_s()
        if self._publisher is not None and not self._publisher.status.connected:
            self._health.note("broker_away", now)
        if self._publisher is not None and self._publisher.status.refused:
            self._health.note("broker_refused", now)

    def _broker_line(self) -> BrokerLine | None:
        status = self._publisher.status if self._publisher else None
        return BrokerLine(status.connected, status.backlog, status.last_error) if status else None


def looked_at(frame: Frame | BadFrame | None, tally: Tally = NOTHING_COUNTED) -> Step | None:
    """Give what the page shows of a frame that is looked at and not counted; None for no picture."""
    if not isinstance(frame, Frame):
        return None
    return Step(frame, None, None, [], [], tally, 0.0, 1.0, {})
