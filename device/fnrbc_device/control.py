"""What the session is doing, and who may change it: one place for the counting thread and for all who command."""

import threading
from collections.abc import Callable
from typing import Final

from fnrbc_device.errors import CommandError
from fnrbc_device.records import SessionState

_AFTER: Final[dict[str, dict[SessionState, SessionState]]] = {
    "start": {"idle": "starting"},
    "pause": {"running": "paused"},
    "resume": {"paused": "running"},
    "stop": {"running": "stopping", "paused": "stopping"},
    "mark": {"running": "running", "paused": "paused"},
}
"""What a command makes of a state. What is not here is refused."""


class SessionControl:
    """The state of the session. Read by the counting thread at every frame; changed under one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._state: SessionState = "idle"

    @property
    def state(self) -> SessionState:
        """As it is now."""
        return self._state

    def enter(self, state: SessionState) -> None:
        """Say what the session does by itself: it starts, or its source ended."""
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def ask(self, verb: str, record: Callable[[], None]) -> None:
        """Follow a command, if the state allows it.

        Parameters
        ----------
        verb
            ``start``, ``pause``, ``resume``, ``stop`` or ``mark``.
        record
            Writes it down. It is called first, so that nothing happens that is not on record; where it raises,
            nothing happens.

        Raises
        ------
        CommandError
            ``wrong_state``: the session does something else. Nothing was recorded.
        """
        with self._changed:
            after = _AFTER[verb].get(self._state)
            if after is None:
                fit = " or ".join(_AFTER[verb])
                raise CommandError(
                    "wrong_state", f"{verb} is for a session that is {fit}, this one is {self._state}; wait for that"
                )
            record()
            self._state = after
            self._changed.notify_all()

    def wait(self, state: SessionState, timeout_s: float) -> bool:
        """Wait until the session is in a state; False where it has not come to it in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state == state, timeout_s)
