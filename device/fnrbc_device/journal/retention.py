"""Lets go of old sessions, so that the record fits on its disk; never of what the lab has not acknowledged."""

import logging
from datetime import datetime, timedelta

from fnrbc_device.host.clock import iso_utc
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.journal.journal import Journal

_log = logging.getLogger(__name__)


def prune(journal: Journal, limits: RecordSettings, now: datetime | None) -> list[str]:
    """Remove sessions from the oldest on, while they are too old or all together too large.

    The oldest that must stay keeps all after it: the audit is one chain, and only its beginning can be cut.

    Parameters
    ----------
    journal
        No session runs.
    limits
        The limits.
    now
        UTC; None where no time server holds the clock, and then nothing is too old.

    Returns
    -------
    list
        Names of the sessions that are gone.
    """
    gone: list[str] = []
    before = iso_utc(now - timedelta(days=limits.keep_days)) if now else ""
    while (oldest := journal.oldest_to_let_go()) is not None:
        session, ended_utc = oldest
        if ended_utc >= before and journal.size_mb <= limits.keep_mb:
            break
        journal.let_go(session)
        gone.append(session)
    if gone:
        _log.warning("the record is kept within its limits: %d sessions are gone, up to %s", len(gone), gone[-1])
    return gone
