"""What the session is doing, and who may change it: one place for the counting thread and for all who command."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fnrbc_device.errors import CommandError
from fnrbc_device.language import N_, Said, _
from fnrbc_device.records import SessionKind, SessionState

_AFTER: Final[dict[str, dict[SessionState, SessionState]]] = {
    "start": {"idle": "starting", "finished": "starting"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "stop": {"running": "stopping", "paused": "stopping"},
    "mark": {"running": "running", "paused": "paused"},
}
"""What a command makes of a state. What is not here is refused."""

_WORDS: Final = Said(
    {
        "start": N_("start"),
        "pause": N_("pause"),
        "resume": N_("resume"),
        "stop": N_("stop"),
        "mark": N_("mark"),
        "idle": N_("idle"),
        "starting": N_("starting"),
        "running": N_("running"),
        "paused": N_("paused"),
        "stopping": N_("stopping"),
        "finished": N_("finished"),
    }
)
"""Of commands and states, to be read."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What a person says of a session at its start; the record keeps it, and what leaves the device does not."""

    operator: str = ""
    """Who starts it."""
    specimen: str = ""
    """As it is written on the slide."""
    note: str = ""
    objective: str = ""
    """Name of an objective of the configuration; empty for the one that ``camera.pixel_size_um`` stands for."""
    pixel_size_um: float | None = None
    """What that objective makes of a camera pixel; None for the configured size."""
    wanted_leukocytes: int | None = None
    """How many leukocytes the session is to count."""
    wanted_area_mm2: float | None = None
    """How much of the slide it is to see."""
    kind: SessionKind | None = None
    """None for what the configuration says."""


class SessionControl:
    """The state of the session. Read by the counting thread at every frame; changed under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._state: SessionState = "idle"
        self._plan = SessionPlan()
        self._hindered = ""
        self._failed = ""

    @property
    def state(self) -> SessionState:
        """As it is now."""
        return self._state

    @property
    def plan(self) -> SessionPlan:
        """What was said at the last start."""
        return self._plan

    def hinder(self, why: str) -> None:
        """Say why no session can be started now, in one sentence; empty where one can."""
        with self._changed:
            self._hindered = why

    def outcome_of_start(self, timeout_s: float) -> str:
        """Wait until what was asked to start has started; gives why it has not, empty where it has or still tries."""
        with self._changed:
            self._changed.wait_for(lambda: self._state != "starting", timeout_s)
            return self._failed

    def enter(self, state: SessionState, why: str = "") -> None:
        """Say what the session does by itself: it starts, or its source ended; and why it does not start."""
        with self._changed:
            self._state = state
            self._failed = why
            self._changed.notify_all()

    def ask(self, verb: str, record: Callable[[], None], plan: SessionPlan | None = None) -> None:
        """Follow a command, if the state allows it.

        Parameters
        ----------
        verb
            ``start``, ``pause``, ``resume``, ``stop`` or ``mark``.
        record
            Writes it down. It is called first, so that nothing happens that is not on record; where it raises,
            nothing happens.
        plan
            Of ``start``: what the session is to be.

        Raises
        ------
        CommandError
            ``wrong_state``: the session does something else, or nothing can be counted now. Nothing was recorded.
        """
        with self._changed:
            after = _AFTER[verb].get(self._state)
            if after is None:
                raise CommandError("wrong_state", _unfit(verb, self._state))
            if verb == "start" and self._hindered:
                raise CommandError("wrong_state", self._hindered)
            record()
            if verb == "start":
                self._plan, self._failed = plan or SessionPlan(), ""
            self._state = after
            self._changed.notify_all()

    def wait(self, state: SessionState, timeout_s: float) -> bool:
        """Wait until the session is in a state; False where it has not come to it in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state == state, timeout_s)


def _unfit(verb: str, state: SessionState) -> str:
    """Say for which states a command is."""
    return _(
        "%(verb)s is for a session that is %(fit)s, this one is %(state)s; wait for that",
        verb=_WORDS[verb],
        fit=_(" or ").join(_WORDS[one] for one in _AFTER[verb]),
        state=_WORDS[state],
    )
