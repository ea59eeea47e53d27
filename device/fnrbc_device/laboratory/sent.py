"""What was handed over already, kept in the state folder: through a kill, each file is put there once."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from fnrbc_device.host.atomic_file import write_whole
from fnrbc_device.journal.epochs import LogState

SENT_NAME: Final = "laboratory.sent"
"""File in the state folder."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How far the handing over came."""

    epoch: str
    seq: int
    """The last result all of whose files are there."""
    done: tuple[str, ...] = ()
    """Files of the next result that are there."""
    doing: str = ""
    """The file that is being put there: where its part is gone, it is there."""
    folder: int = 0
    """Number of the folder's inode then: in another folder the part would be missed in vain."""


def read_sent(state_dir: Path, log: LogState, newest: int) -> Sent:
    """Read how far the handing over came.

    Parameters
    ----------
    log
        Of the journal. Under a new epoch numbers go on after those of the backup: they are new, whatever was sent.
    newest
        ``seq`` of the newest result: where nothing is known, what was signed before is not handed over.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    try:
        fields = json.loads((state_dir / SENT_NAME).read_text(encoding="utf-8"))
        known = Sent(**{**fields, "done": tuple(fields["done"])})
    except FileNotFoundError:
        return Sent(log.epoch, newest)
    except (ValueError, TypeError, KeyError):  # of another software, or torn: never by this one
        return Sent(log.epoch, newest)
    if known.epoch == log.epoch:
        return known
    return Sent(log.epoch, min(known.seq, log.first_seq - 1))


def write_sent(state_dir: Path, sent: Sent) -> None:
    """Write it down for good.

    Raises
    ------
    OSError
        The disk refuses.
    """
    write_whole(state_dir / SENT_NAME, json.dumps(asdict(sent)).encode())


def begun(sent: Sent, name: str, folder: int) -> Sent:
    """A file is about to be put there."""
    return replace(sent, doing=name, folder=folder)


def ended(sent: Sent, name: str) -> Sent:
    """A file is there."""
    return replace(sent, done=(*sent.done, name), doing="", folder=0)
