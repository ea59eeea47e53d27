"""A session's result as the laboratory is told of it: made from the record at the moment of its sign-off."""

import json
import sqlite3
from pathlib import Path
from typing import Any, Final

from fnrbc_device.contract.figures import claim_fields, rate_fields
from fnrbc_device.contract.results import ResultRecord
from fnrbc_device.journal.details import described
from fnrbc_device.journal.results import results_of
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.language import ENGLISH, speaking
from fnrbc_device.records import SessionMeta
from fnrbc_device.sessions.archive import ArchivedSession, read

MAX_OPEN: Final = 600
"""Characters of what is left open; a session names some 60 for each thing."""


def signed_record(
    entry: ArchivedSession, envelope: dict[str, Any], anchor: dict[str, Any], version: int, specimen: str, reason: str
) -> ResultRecord:
    """Make the record of a session that is signed off.

    Parameters
    ----------
    entry
        As it stands after its sign-off.
    envelope
        Of the record.
    anchor
        The audit's last link and its hash.
    version
        Which sign-off of the session it is, from 1.
    specimen
        Hash of the specimen's id.
    reason
        Why it was signed although something is open; empty where nobody had to say.
    """
    verified, machine = entry.verified, entry.tally
    machine_rate = machine.fnrbc_per_100_leukocytes
    return ResultRecord(
        **envelope,
        event="signed",
        version=version,
        verified=True,
        kind=entry.meta.kind,
        specimen=specimen,
        fnrbc=verified.fnrbc,
        leukocytes=verified.leukocytes,
        leukocytes_by_machine=verified.leukocytes_by_machine,
        other=verified.other,
        **rate_fields(verified.fnrbc_per_100_leukocytes),
        **claim_fields(verified.claim, machine.provisional),
        candidates=verified.candidates,
        reviewed=verified.reviewed,
        complete=not entry.left_open,
        left_open=_in_english(entry)[:MAX_OPEN],
        machine_fnrbc=machine.fnrbc,
        machine_leukocytes=machine.leukocytes,
        machine_indeterminate=machine.indeterminate,
        machine_cells=machine.cells,
        machine_per_100_leukocytes=round(machine_rate.value, 4) if machine_rate else None,
        area_mm2=round(machine.unique_area_mm2, 4) if entry.area_known else None,
        frames_used_share=round(machine.frames_used / machine.frames, 4) if machine.frames else None,
        signed_by=entry.signed_by or "",
        signed=entry.signed_utc or "",
        reason=reason,
        started=entry.started_utc,
        finished=entry.ended_utc or "",
        bundle=entry.meta.bundle[:256],
        software=entry.meta.software[:256],
        chain_link=anchor["chain_link"],
        chain_hash=anchor["chain_hash"],
    )


def _in_english(entry: ArchivedSession) -> str:
    """What is left open, whatever language is spoken to who signs."""
    with speaking(ENGLISH):
        return "; ".join(entry.left_open)


def result_of(connection: sqlite3.Connection, path: Path, session: str) -> ResultRecord | None:
    """The newest result of a session; None where nobody signed it off.

    Of a session that an older version signed off none was told: it is made from its sign-off.
    """
    if known := results_of(connection, session):
        return known[-1]
    entry = read(connection, session)
    link = connection.execute(
        "SELECT link, hash, first_seq, payload FROM audit LEFT JOIN outbox ON seq = first_seq"
        " WHERE session = ? AND kind = 'signed' ORDER BY link DESC LIMIT 1",
        (session,),
    ).fetchone()
    if entry is None or entry.signed_utc is None or link is None:
        return None
    number, digest, seq, payload = link
    (epoch,) = connection.execute("SELECT epoch FROM journal").fetchone()
    told = json.loads(payload or "{}")
    envelope: dict[str, Any] = {
        "device": told.get("device", "fnrbc"), "epoch": told.get("epoch", epoch), "seq": seq, "ts": entry.signed_utc,
        "ts_sync": told.get("ts_sync", False), "mono_ms": told.get("mono_ms", 0), "session": session,
    }  # fmt: skip
    anchor = {"chain_link": number, "chain_hash": digest}
    return signed_record(entry, envelope, anchor, 1, specimen_hash(entry.meta.specimen, path.parent), "")


def specimen_then(connection: sqlite3.Connection, record: ResultRecord) -> str:
    """The specimen's id as it was when a result was told: it may have been withdrawn for just that."""
    row = connection.execute("SELECT meta FROM sessions WHERE session = ?", (record.session,)).fetchone()
    return described(connection, record.session, SessionMeta(**json.loads(row[0])), record.seq).specimen if row else ""
