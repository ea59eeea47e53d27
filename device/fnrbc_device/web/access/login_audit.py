"""What is put on record of who comes and goes: logins, logouts, failures and changes of accounts, without secrets."""

import logging
import threading
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

from fnrbc_device.host.clock import Clock
from fnrbc_device.host.rate_limit import RateLimit
from fnrbc_device.journal.command_log import CommandLog

FAILURE_BURST: Final = 20
FAILURES_PER_S: Final = 1 / 60
"""Failures that get a record each; a flood is counted into the next one, so that it cannot fill the disk."""

UNKNOWN: Final = "unknown"
"""Stands for a name that no account has: people type their password where the name belongs."""

Act = Literal["login", "logout", "name", "user-add", "user-remove", "user-passwd"]

_log = logging.getLogger(__name__)


class LoginAudit:
    """Writes into the record's audit, and a line into the log. Safe from any thread: a connection for each record.

    Parameters
    ----------
    journal_path
        The record; None where there is none, and the log must do.
    device
        Name that stands in the messages.
    """

    def __init__(self, journal_path: Path | None, device: str, clock: Clock) -> None:
        self._path = journal_path
        self._device = device
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = RateLimit(FAILURE_BURST, FAILURES_PER_S, clock.monotonic_s)
        self._passed_over = 0

    def done(self, user: str, act: Act, detail: str) -> None:
        """Put on record what somebody did.

        Raises
        ------
        JournalError
            The disk refuses.
        """
        _log.info("%s: %s %s", user, act, detail)
        self._write(user, act, detail, 1, failed=False)

    def failed(self, user: str, address: str) -> None:
        """Put on record that a login failed.

        Raises
        ------
        JournalError
            The disk refuses.
        """
        with self._lock:
            if not self._failures.take():
                self._passed_over += 1
                return
            times, self._passed_over = 1 + self._passed_over, 0
        _log.warning("login of %s from %s failed, %d times", user, address, times)
        self._write(user, "login", f"wrong name or password, from {address}", times, failed=True)

    def _write(self, user: str, act: Act, detail: str, times: int, *, failed: bool) -> None:
        if self._path is None:
            return
        with closing(CommandLog(self._path, self._device, self._clock)) as command_log:
            command_log.audit(user, act, "", detail, "denied" if failed else "", times)
