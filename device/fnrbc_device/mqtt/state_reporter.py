"""What the daemon says of itself: the retained states, built from the count and handed to the publisher."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

import fnrbc_device
from fnrbc_device.contract.states import HealthNow, SessionNow, StatusNow, SummaryNow, TallyNow, count_fields
from fnrbc_device.contract.topics import HEALTH, SESSION, STATUS, SUMMARY, TALLY
from fnrbc_device.health import Health
from fnrbc_device.host.clock import Clock, boot_id, iso_utc, moment_of
from fnrbc_device.host.vitals import Vitals
from fnrbc_device.journal.epochs import LogState
from fnrbc_device.mqtt.retained_states import Late
from fnrbc_device.mqtt.silent import AnyPublisher
from fnrbc_device.records import SessionKind, SessionMeta, SessionState, Tally

HEALTH_EVERY_S: Final = 5.0
"""The contract's interval."""


class _AboutCounts(NamedTuple):
    """What a message of counts says beside them."""

    device: str
    at: datetime
    session: str
    kind: SessionKind
    elapsed_s: float


class StateReporter:
    """Speaks for one device.

    Parameters
    ----------
    publisher
        Says it, or stays silent.
    device, bundle, camera
        Names that stand in the messages.
    clock
        UTC for the messages, monotonic for the intervals.
    vitals
        Asks the machine how it is.
    """

    def __init__(
        self,
        publisher: AnyPublisher,
        device: str,
        bundle: str,
        camera: str,
        clock: Clock,
        vitals: Callable[[], Vitals] = Vitals,
    ) -> None:
        self._publisher = publisher
        self._device, self._bundle, self._camera = device, bundle, camera[:256]
        self._clock = clock
        self._vitals = vitals
        self._session = self._specimen = ""
        self._started_utc = ""
        self._kind: SessionKind = "sample"
        self._started_s = 0.0
        self._health_s = float("-inf")
        self._state: SessionState = "idle"

    def introduce(self, log: LogState) -> None:
        """Say who speaks, and that no session runs yet."""
        status = StatusNow(
            **self._common(log.last_seq),
            software=f"fnrbc {fnrbc_device.__version__}",
            bundle=self._bundle,
            camera=self._camera,
            boot_id=boot_id(),
            epoch=log.epoch,
            epoch_first_seq=log.first_seq,
            epoch_before=log.epoch_before,
            backlog=self._publisher.status.backlog,
            clock_sync=self._clock.synchronised(),
            cert_days_left=self._publisher.cert_days_left(),
        )
        self._publisher.set_state(STATUS, status)
        self._say_session("idle", log.last_seq)

    def begin(
        self,
        session_id: str,
        started: datetime,
        log_seq: int,
        specimen: str = "",
        state: SessionState = "running",
        kind: SessionKind = "sample",
    ) -> None:
        """Say that a session of a specimen, whose id is told as a hash alone, runs or goes on paused."""
        if (session_id, state) == (self._session, self._state):
            return  # said already, before the publisher spoke
        self._session, self._specimen, self._started_utc = session_id, specimen, iso_utc(started)
        self._kind = kind
        before_s = (self._clock.utc() - started).total_seconds()  # of a session that was cut off and goes on
        self._started_s = self._clock.monotonic_s() - max(0.0, before_s)
        self._say_session(state, log_seq)

    def recall(
        self, session: str, meta: SessionMeta, tally: Tally, times: tuple[str, str], log_seq: int, *, complete: bool
    ) -> None:
        """Say how the last finished session ended, which the process before may not have come to say.

        Parameters
        ----------
        times
            When it began and ended: UTC, ISO 8601.
        """
        started, finished = times
        elapsed_s = max(0.0, (moment_of(finished) - moment_of(started)).total_seconds())
        about = _AboutCounts(self._device, self._clock.utc(), session, meta.kind, elapsed_s)
        counts = _counts(about, tally, log_seq)
        summary = SummaryNow(
            **counts,
            bundle=meta.bundle,
            software=meta.software,
            started=started,
            finished=finished,
            complete=complete,
        )
        if self._state == "idle":  # else the tally is that of the session that goes on
            self._publisher.set_state(TALLY, TallyNow(**counts, state="finished"))
        self._publisher.set_state(SUMMARY, summary)

    def say_state(self, state: SessionState, log_seq: int, tally: Tally | None = None) -> None:
        """Say what the session does, where that is news, and with it the counts."""
        if state != self._state:
            self._say_session(state, log_seq)
            if tally is not None:
                self.tell(tally, log_seq)

    def tell(self, tally: Tally, log_seq: int) -> None:
        """Say the counts."""
        about, state = self._about_counts(), self._state
        late = Late(log_seq, lambda: TallyNow(**_counts(about, tally, log_seq), state=state))
        self._publisher.set_state(TALLY, late)

    def tell_health(self, health: Health, log_seq: int) -> None:
        """Say how well it goes, every five seconds."""
        now = self._clock.monotonic_s()
        if now - self._health_s >= HEALTH_EVERY_S:
            self._health_s = now
            self._say_health(health, log_seq)

    def end(self, tally: Tally, log_seq: int, ended: datetime, complete: bool) -> None:
        """Say the last counts, and that the session is finished."""
        counts = _counts(self._about_counts(), tally, log_seq)
        self._publisher.set_state(TALLY, TallyNow(**counts, state="finished"))
        summary = SummaryNow(
            **counts,
            bundle=self._bundle,
            software=f"fnrbc {fnrbc_device.__version__}",
            started=self._started_utc,
            finished=iso_utc(ended),
            complete=complete,
        )
        self._publisher.set_state(SUMMARY, summary)
        self._say_session("finished", log_seq)

    def _say_session(self, state: SessionState, log_seq: int) -> None:
        self._state = state
        now = SessionNow(
            **self._common(log_seq),
            session=self._session,
            state=state,
            started=self._started_utc or None,
            specimen=self._specimen,
            kind=self._kind,
        )
        self._publisher.set_state(SESSION, now)

    def _say_health(self, health: Health, log_seq: int) -> None:
        vitals = self._vitals()
        now = HealthNow(
            **self._common(log_seq),
            state=health.state,
            reasons=",".join(health.reasons),
            fps=round(health.fps, 2),
            latency_ms_p50=_rounded(health.latency_ms_p50),
            latency_ms_p95=_rounded(health.latency_ms_p95),
            sharpness=round(health.sharpness, 3),
            exposure_ms=None if vitals.exposure_ms is None else round(vitals.exposure_ms, 3),
            pan_um_s=round(health.pan_um_s, 1),
            gpu_temp_c=vitals.gpu_temp_c,
            cpu_temp_c=vitals.cpu_temp_c,
            throttled=vitals.throttled,
            mem_used_mb=_rounded(vitals.mem_used_mb),
            disk_free_mb=_rounded(vitals.disk_free_mb),
            backlog=self._publisher.status.backlog,
        )
        self._publisher.set_state(HEALTH, now)

    def _about_counts(self) -> _AboutCounts:
        elapsed_s = self._clock.monotonic_s() - self._started_s
        return _AboutCounts(self._device, self._clock.utc(), self._session, self._kind, elapsed_s)

    def _common(self, log_seq: int) -> dict[str, Any]:
        return {"device": self._device, "ts": iso_utc(self._clock.utc()), "log_seq": log_seq}


def _counts(about: _AboutCounts, tally: Tally, log_seq: int) -> dict[str, Any]:
    """Fields that all messages of counts have."""
    return {
        "device": about.device,
        "ts": iso_utc(about.at),
        "log_seq": log_seq,
        **count_fields(tally),
        "session": about.session,
        "kind": about.kind,
        "verified": False,
        "elapsed_s": round(about.elapsed_s, 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(max(value, 0.0), 1)
