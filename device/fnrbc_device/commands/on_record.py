"""Records every change that a command makes before it makes it, as the web pages do."""

import getpass
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fnrbc_device.errors import UsageError

# The configuration is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config


def require_owner(folder: Path, command: str) -> None:
    """Refuse to write into a state folder as somebody else: the daemon could not write there any more.

    Raises
    ------
    UsageError
        The folder belongs to another user.
    """
    if folder.is_dir() and folder.stat().st_uid != os.geteuid():
        owner = folder.owner()
        raise UsageError(f"{folder} belongs to {owner}, not to you; run this as that user: sudo -u {owner} {command}")


def put_on_record(config: "Config", verb: str, detail: str) -> None:
    """Write into the device's record what the user of this terminal does.

    Raises
    ------
    JournalError
        The record cannot be written. Then nothing is to be done either.
    """
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.journal.command_log import CommandLog
    from fnrbc_device.journal.schema import JOURNAL_NAME

    with closing(CommandLog(config.state_dir / JOURNAL_NAME, config.mqtt.device, SystemClock())) as command_log:
        command_log.audit(getpass.getuser(), verb, "", detail)
