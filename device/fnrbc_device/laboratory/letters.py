"""Letters from the record: of a session for who takes one along, and of each result for the laboratory's folder."""

import sqlite3
from pathlib import Path

from fnrbc_device.contract.results import ResultRecord
from fnrbc_device.errors import ReviewError
from fnrbc_device.laboratory.fhir import document
from fnrbc_device.laboratory.hl7 import message
from fnrbc_device.laboratory.letter import Letter
from fnrbc_device.laboratory.settings import LaboratorySettings, LetterForm
from fnrbc_device.language import N_, english
from fnrbc_device.sessions.results import result_of, specimen_then


def letter_of_session(
    connection: sqlite3.Connection, path: Path, session: str, site: str, settings: LaboratorySettings, named: bool
) -> Letter:
    """Make the letter of a session's newest result.

    Parameters
    ----------
    connection, path
        To the journal; nothing is changed.
    site
        Where the device stands.
    named
        Whether the specimen is named as it is written on the slide.

    Raises
    ------
    ReviewError
        Nobody signed the session off, or it is a blank or a control.
    """
    record = result_of(connection, path, session)
    if record is None:
        raise ReviewError(
            english("session %(session)s is not signed off and has no result yet; sign it off first", session=session)
        )
    if record.kind != "sample":
        kind = english("blank") if record.kind == "blank" else english("control")
        words = N_("session %(session)s is a %(kind)s, whose count is no result; take its report along")
        raise ReviewError(english(words, session=session, kind=kind))
    return letter_of(connection, record, site, settings, named)


def letter_of(
    connection: sqlite3.Connection, record: ResultRecord, site: str, settings: LaboratorySettings, named: bool
) -> Letter:
    """Make the letter of a result, with the specimen as it was called then: it may be withdrawn for just that."""
    specimen = specimen_then(connection, record) if named else record.specimen
    return Letter(record, specimen, not named, site, settings)


def written(letter: Letter, form: LetterForm) -> bytes:
    """Write a letter as a file."""
    return message(letter).encode() if form == "hl7" else document(letter)
