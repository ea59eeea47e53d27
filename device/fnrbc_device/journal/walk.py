"""Goes through the chain once, link by link, and gathers what must hold at its end."""

import json
import sqlite3
from typing import Any, Final

from fnrbc_device.journal.chain import LINK_COLUMNS, Row, link_hash, message_hash, select, unknown_to_0_1_0
from fnrbc_device.journal.spans import Spans
from fnrbc_device.journal.tables import Tables

CHANGED: Final = "what it covers was changed after it was written"


class Walk:
    """One way through the chain, from a link to the last.

    Parameters
    ----------
    connection
        Within one read transaction.
    first
        Number of the link to begin with.
    before
        Hash that it rests on.
    whole
        It is the first that is kept: then every row must have its link.
    numbered
        Whether links say how they were hashed; not so in a file of 0.1.0.
    """

    def __init__(
        self, connection: sqlite3.Connection, first: int, before: str, *, whole: bool, numbered: bool = True
    ) -> None:
        self._connection = connection
        self._whole = whole
        self._numbered = numbered
        self._gone = _gone(connection)
        self._tables: Tables | None = None
        self.next_link = first
        self.last_hash = before
        self.last_seq: int | None = None
        """None before the first link."""
        self.links = 0
        self.open: dict[str, dict[str, str]] = {}
        """Sessions that were begun and have not ended, with the hashes of their plates."""
        self.ended: set[str] = set()
        self.signed: dict[str, tuple[str, str]] = {}
        """When and by whom, by session."""
        self.sealed: dict[str, Any] = {}
        """What the links seal, the latest of each."""

    def go(self) -> str:
        """Walk; returns what is wrong with the first link that does not hold, empty where all do."""
        columns = LINK_COLUMNS if self._numbered else LINK_COLUMNS[:-1]
        links = self._connection.execute(
            f"{select('audit', (*columns, 'hash'))} WHERE link >= ? ORDER BY link", (self.next_link,)
        )
        for *values, digest in links:
            link = tuple(values) if self._numbered else (*values, None)
            if link[0] != self.next_link:
                return f"link {self.next_link} of the audit is missing: the next that is there is {link[0]}"
            fault = self._fault_of(link, digest)
            if fault:
                return f"link {link[0]} of the audit ({_about(link)}) is broken: {fault}"
            self._pass(link, digest)
        return ""

    def left_over(self) -> str:
        """The first row that no link covers, in words; empty where there is none."""
        return self._tables.left_over() if self._tables else ""

    def _fault_of(self, link: Row, digest: str) -> str:
        first_seq = link[4]
        if self._tables is None:
            self._tables = Tables(self._connection, link[0], None if self._whole else first_seq)
            self.last_seq = first_seq - 1
        if first_seq - 1 != self.last_seq:
            return f"its first record is {first_seq}, but the one before it is {self.last_seq}"
        rows = self._tables.rows_of(link)
        if link_hash(self.last_hash, link, rows) != digest or unknown_to_0_1_0(link, rows):
            return CHANGED
        return self._message_fault(link)

    def _message_fault(self, link: Row) -> str:
        """Messages that the lab has may be gone, where a link says so; each that is kept must be as it was."""
        first_seq, last_seq, told = link[4], link[5], link[8]
        assert self._tables is not None
        kept = {message[0]: message for message in self._tables.messages_up_to(last_seq)}
        for seq, digest in enumerate(told.split(), first_seq):
            message = kept.pop(seq, None)
            if message is None:
                if seq not in self._gone and self._numbered:
                    return f"its message {seq} is missing, and no link says that it was let go of"
            elif message_hash(message) != digest:
                return f"its message {seq} was changed after it was written"
            elif seq in self._gone:
                return f"its message {seq} is there again, after it was let go of"
        return f"the message {min(kept)} has no link: it was added afterwards" if kept else ""

    def _pass(self, link: Row, digest: str) -> None:
        session, kind, at_utc = link[1], link[2], link[6]
        self.links += 1
        self.next_link += 1
        self.last_hash, self.last_seq = digest, link[5]
        note = {} if link[7] == "{}" else json.loads(link[7])
        self.sealed.update(note.get("sealed", {}))
        if kind == "begun":
            self.open[session] = {}
        elif kind == "ended":
            self.open.pop(session, None)
            self.ended.add(session)
        elif kind == "signed":
            self.signed[session] = (at_utc, note.get("signed_by", ""))
        elif kind == "withdrawn":
            self.signed.pop(session, None)
        for name, plates in note.get("plates", {}).items():
            self.open.setdefault(name, {}).update(plates)


def _gone(connection: sqlite3.Connection) -> Spans:
    """Messages that were let go of, as far as the links say so."""
    notes = connection.execute("SELECT note FROM audit WHERE kind IN ('pruned', 'carried')")
    return Spans.read(*(json.loads(note).get("gone", "") for (note,) in notes))


def _about(link: Row) -> str:
    frame = "" if link[3] is None else f" {link[3]}"
    session = f" of session {link[1]}" if link[1] else ""
    return f"{link[2]}{frame}{session}, {link[6]}"
