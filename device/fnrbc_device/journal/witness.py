"""What a journal says to whoever holds a copy of its messages, or an earlier state of it, against it."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fnrbc_device.errors import JournalError
from fnrbc_device.journal.migrations import FIRST_VERSION
from fnrbc_device.journal.read_only import reading


class Witness:
    """A journal within one read transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        sealed = [] if version == FIRST_VERSION else _sealed(connection)
        self.epoch, self.last_seq, self.last_link, self.first_link, self.before_first = connection.execute(
            "SELECT epoch, last_seq, last_link, first_link, before_first FROM journal"
        ).fetchone()
        self.last_of_epoch: dict[str, int] = {
            **{one["epoch_before"]: one["first_seq"] - 1 for one in sealed if one["epoch_before"]},
            self.epoch: self.last_seq,
        }
        """Number of the last record of each epoch that this journal had."""

    def messages(self) -> Iterator[tuple[int, str, dict[str, object]]]:
        """Number, topic and fields of the messages that are kept, in order."""
        for seq, topic, payload in self._connection.execute("SELECT seq, topic, payload FROM outbox ORDER BY seq"):
            yield seq, topic, json.loads(payload)

    def anchor_fault(self, link: int, digest: str) -> str:
        """What is wrong with a link that was told elsewhere, in words; empty where it holds or was let go of."""
        if link > self.last_link:
            return f"it knows link {link}, but the record ends at link {self.last_link}: the record was cut short"
        row = self._connection.execute("SELECT hash FROM audit WHERE link = ?", (link,)).fetchone()
        here = row[0] if row else self.before_first if link == self.first_link - 1 else digest
        return "" if here == digest else f"it knows link {link} with another hash: the record was written anew"

    @property
    def last_hash(self) -> tuple[int, str]:
        """The last link and its hash."""
        row = self._connection.execute("SELECT last_link, last_hash FROM journal").fetchone()
        return int(row[0]), str(row[1])


def held_against_backup(journal: Path, backup: Path) -> tuple[int, str]:
    """Hold a journal against an earlier state of it.

    Returns
    -------
    int, str
        The backup's last link, and what is wrong, in words; empty where the record goes on from it.

    Raises
    ------
    JournalError
        One of them cannot be read.
    """
    with reading(backup) as earlier:
        link, digest = Witness(earlier).last_hash
    with reading(journal) as now:
        return link, Witness(now).anchor_fault(link, digest)


def _sealed(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    kinds = "'made', 'carried', 'restored', 'let_go', 'pruned'"
    notes = connection.execute(f"SELECT note FROM audit WHERE kind IN ({kinds})")
    try:
        return [json.loads(note)["sealed"]["journal"] for (note,) in notes]
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError("the journal's seals cannot be read; see `fnrbc verify`") from error
