"""The rows of the journal, as its transactions write them: frames, events, messages and the audit's links."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from fnrbc_device.contract.log_records import CellRecord, SessionRecord, cell_fields
from fnrbc_device.contract.payloads import Record
from fnrbc_device.contract.results import ResultRecord, fallen
from fnrbc_device.contract.topics import LOG_CELL, LOG_RESULT, LOG_SESSION
from fnrbc_device.host.clock import Clock, iso_utc
from fnrbc_device.journal.audit import Kind, add_link, anchor, sealed
from fnrbc_device.journal.chain import PLATE_COLUMNS, ROW_COLUMNS, hash_of_plate, insert
from fnrbc_device.journal.envelope import Envelope
from fnrbc_device.journal.images import as_jpeg, as_png
from fnrbc_device.journal.queries import JournalQueries, Kept
from fnrbc_device.journal.results import enter_result
from fnrbc_device.journal.schema import EVENT_COLUMNS, event_row, roll_back
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.journal.sqlite_errors import journal_error
from fnrbc_device.records import BadFrame, CountEvent, SessionMeta, Step

MAX_REASON: Final = 256
"""Characters of a reason or a name that go into a message; the journal keeps them whole."""


class JournalWriter(JournalQueries):
    """Writes rows; which of them make a transaction is the journal's to say.

    Parameters
    ----------
    connection
        Of the thread that opened it.
    path
        For the words of an error.
    device
        Name that stands in every message.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, device: str, clock: Clock) -> None:
        super().__init__(connection, path)
        self._device = device
        self._clock = clock
        self.epoch: str
        """Random, made with the file: it tells this journal's numbers from those of any other."""
        self._last_seq: int
        self._waits_for_disk = True
        self.epoch, self._last_seq = connection.execute("SELECT epoch, last_seq FROM journal").fetchone()

    @contextmanager
    def _transaction(self, *, on_disk: bool = True) -> Iterator[None]:
        """Everything inside is written, or nothing; the number of the last record follows suit.

        Parameters
        ----------
        on_disk
            Whether it ends when the disk has what was written, this and all before; else the system brings it there.
        """
        before = self._last_seq
        try:
            self._wait_for_disk(on_disk)
            self._connection.execute("BEGIN IMMEDIATE")
            (self._last_seq,) = self._connection.execute("SELECT last_seq FROM journal").fetchone()
            yield
            self._connection.execute("UPDATE journal SET last_seq = ?", (self._last_seq,))
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._last_seq = before
            roll_back(self._connection)
            if isinstance(error, sqlite3.Error):
                raise journal_error(self._path, error) from error
            raise

    def _wait_for_disk(self, wait: bool) -> None:
        """Whether the transactions from here on wait for the disk."""
        if wait != self._waits_for_disk:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if wait else 'NORMAL'}")
            self._waits_for_disk = wait

    def _enter_frame(self, session_id: str, step: Step) -> None:
        frame, pose = step.frame, step.pose
        self._connection.execute(
            insert("frames", ROW_COLUMNS["frames"]),
            (
                session_id,
                frame.index,
                frame.captured_at_s,
                frame.name,
                pose.island if pose else None,
                pose.row_px if pose else None,
                pose.col_px if pose else None,
                step.reason is None,
                step.reason,
                frame.detail if isinstance(frame, BadFrame) else None,
            ),
        )

    def _enter_event(self, session_id: str, meta: SessionMeta, frame: int, event: CountEvent, kept: Kept) -> None:
        fields = cell_fields(event)
        fields["reason"] = event.reason[:MAX_REASON]
        self._tell(LOG_CELL, CellRecord(**self._envelope(session_id), bundle=meta.bundle, **fields))
        self._connection.execute(
            f"INSERT INTO events (seq, session, frame, {EVENT_COLUMNS}) VALUES ({', '.join('?' * 19)})",
            (self._last_seq, session_id, frame, *event_row(event)),
        )
        for number, view in enumerate(kept.views.get(event.cell, ())):
            row = (self._last_seq, number, int(view.frame), as_png(view.crop))
            self._connection.execute("INSERT INTO crops (seq, view, frame, picture) VALUES (?, ?, ?, ?)", row)
            if view.around is not None:
                around = (self._last_seq, number, float(view.around.side_um), as_jpeg(view.around.picture()))
                self._connection.execute(
                    "INSERT INTO surroundings (seq, view, side_um, picture) VALUES (?, ?, ?, ?)", around
                )

    def _keep_mosaics(self, session_id: str, kept: Kept) -> None:
        """Keep how the slide looked, with the record that was told last."""
        for mosaic in kept.mosaics:
            top, left = mosaic.origin_rc_um
            row = (self._last_seq, session_id, mosaic.island, float(mosaic.um_per_px), float(top), float(left))
            self._connection.execute(
                insert("mosaics", ROW_COLUMNS["mosaics"]),
                (*row, as_jpeg(mosaic.image)),
            )

    def _keep_plates(self, session_id: str, frame: int, kept: Kept) -> dict[str, Any]:
        """Keep what registration holds on to from this frame on; returns what its link notes of them."""
        if not kept.keyframes:
            return {}
        hashes = {}
        for keyframe in kept.keyframes:
            pose = (keyframe.pose.island, float(keyframe.pose.row_px), float(keyframe.pose.col_px))
            scale = (float(keyframe.factor), float(keyframe.pixel_um))
            about = (session_id, keyframe.number, frame, keyframe.frame)
            row = (*about, *pose, *scale, *kept.frame_shape, as_png(keyframe.grey))
            self._connection.execute(insert("plates", PLATE_COLUMNS), row)
            hashes[str(keyframe.number)] = hash_of_plate(row)
        return {"plates": {session_id: hashes}}

    def _tell_session(
        self,
        event: Literal["started", "resumed", "finished"],
        session_id: str,
        meta: SessionMeta,
        counts: dict[str, Any],
    ) -> int:
        about: dict[str, Any] = {
            "software": meta.software,
            "bundle": meta.bundle,
            "pixel_size_um": meta.pixel_size_um,
            "specimen": specimen_hash(meta.specimen, self._path.parent),
            "kind": meta.kind,
        }
        source = meta.source[:MAX_REASON]
        about |= anchor(self._connection)
        envelope = self._envelope(session_id)
        self._tell(LOG_SESSION, SessionRecord(**envelope, event=event, source=source, **about, **counts))
        return self._last_seq

    def _tell_removed(self, known: ResultRecord) -> None:
        """Tell that a result's session is not kept any more: what was told of it is then in other places alone."""
        removed = fallen(known, "removed", self._envelope(known.session), **anchor(self._connection))
        enter_result(self._connection, removed)
        self._tell(LOG_RESULT, removed)

    def _link(
        self, session_id: str, kind: Kind, first: int, frame: int | None = None, note: dict[str, Any] | None = None
    ) -> None:
        now = iso_utc(self._clock.utc())
        add_link(self._connection, session_id, kind, (first, self._last_seq), now, frame=frame, note=note)

    def _envelope(self, session_id: str) -> dict[str, Any]:
        return Envelope(self._device, self._clock).of(self.epoch, self._last_seq + 1, session_id)

    def _tell(self, topic: str, record: Record) -> None:
        self._connection.execute(
            "INSERT INTO outbox (seq, topic, payload) VALUES (?, ?, ?)", (record.seq, topic, record.to_json())
        )
        self._last_seq = record.seq

    def _cut_audit(self, session_id: str) -> dict[str, Any]:
        """Let the chain begin after a session; its acknowledged messages go with it. Returns what a link is to note.

        A session is decided on while others follow: its links behind the next session's first stay in the chain.
        """
        link, last_seq, digest = self._connection.execute(
            "SELECT link, last_seq, hash FROM audit WHERE session = :session AND link < coalesce((SELECT min(link)"
            " FROM audit JOIN sessions USING (session) WHERE session <> :session), link + 1)"
            " ORDER BY link DESC LIMIT 1",
            {"session": session_id},
        ).fetchone()
        (first,) = self._connection.execute("SELECT first_link FROM journal").fetchone()
        self._connection.execute("UPDATE journal SET first_link = ?, before_first = ?", (link + 1, digest))
        self._connection.execute("DELETE FROM audit WHERE link <= ?", (link,))
        self._connection.execute("DELETE FROM outbox WHERE seq <= ?", (last_seq,))
        self._connection.execute("UPDATE journal SET oldest_seq = max(oldest_seq, ?)", (last_seq + 1,))
        for table in ("reviews", "results", "details"):
            self._connection.execute(f"DELETE FROM {table} WHERE seq <= ?", (last_seq,))
        return {"session": session_id, "links": f"{first}-{link}", "sealed": sealed(self._connection)}
