"""Puts signed results into a folder that the laboratory's interface engine watches: each once, whole, in order."""

import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Final

from fnrbc_device.contract.results import ResultRecord
from fnrbc_device.errors import JournalError
from fnrbc_device.host.atomic_file import sync_folder
from fnrbc_device.journal.epochs import log_state
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.results import last_result_seq, results_after
from fnrbc_device.laboratory.letters import letter_of, written
from fnrbc_device.laboratory.sent import Sent, begun, ended, read_sent, write_sent
from fnrbc_device.laboratory.settings import LaboratorySettings, LetterForm

LOOK_S: Final = 2.0
"""So often it is looked whether somebody signed, and a folder that refused is tried again."""

AT_ONCE: Final = 50
"""Results that are read at once."""

FILE_MODE: Final = 0o640
"""Of a file that is put there: the engine reads it by its group."""

ENDINGS: Final[dict[LetterForm, str]] = {"hl7": ".hl7", "fhir": ".fhir.json"}

TOLD: Final = ("signed", "withdrawn")
"""What is handed over. *superseded* is said by the corrected result itself; *removed* says nothing of the result."""

_log = logging.getLogger(__name__)


class Handover:
    """Hands over in a thread of its own. Counting and signing never wait for it.

    A file is written under a hidden name beside its place, its name is noted, and then it is renamed. Cut off in the
    middle, the next start sees by the hidden file whether the rename was done: so a file that the engine has taken
    and removed is never put there again.

    Parameters
    ----------
    settings
        With a folder.
    journal_path
        The record, which is there already. How far the handing over came is kept beside it.
    site
        Where the device stands.
    """

    def __init__(self, settings: LaboratorySettings, journal_path: Path, site: str) -> None:
        assert settings.folder is not None
        self._settings = settings
        self._folder = settings.folder
        self._journal_path = journal_path
        self._site = site
        self._sent: Sent | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="handover", daemon=True)
        self.trouble = ""
        """Why a result waits, in one sentence; empty where none does."""

    def start(self) -> None:
        """Begin. Returns at once."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread. Safe to call twice, and without a start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def hand_over(self) -> bool:
        """Put there what waits; False where something must wait on, with ``trouble`` saying why."""
        try:
            with reading(self._journal_path) as connection:
                log, newest = log_state(connection), last_result_seq(connection)
                if self._sent is None or self._sent.epoch != log.epoch:
                    self._note(read_sent(self._journal_path.parent, log, newest))
                while self._sent is not None and self._sent.seq < newest:
                    for record in results_after(connection, self._sent.seq, AT_ONCE):
                        self._put_all(record, self._letters(connection, record))
        except (OSError, JournalError) as error:
            self._say(self._fault(error))
            return False
        self._say("")
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.hand_over()
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever it is, and says it
                _log.exception("the handing over met a defect")
                self._say(f"the handing over of results met a defect ({error!r}); report this")
            self._stopping.wait(LOOK_S)

    def _letters(self, connection: sqlite3.Connection, record: ResultRecord) -> dict[str, bytes]:
        """The files of a result by their names; none where it is not handed over."""
        if record.event not in TOLD or record.kind != "sample":
            return {}
        named = self._settings.specimen_ids
        letter = letter_of(connection, record, self._site, self._settings, named)
        name = f"{record.device}-{record.epoch}-{record.seq:09d}-{record.session}"
        return {name + ENDINGS[form]: written(letter, form) for form in self._settings.forms}

    def _put_all(self, record: ResultRecord, files: dict[str, bytes]) -> None:
        assert self._sent is not None
        for name, content in files.items():
            if name not in self._sent.done:
                self._put(name, content)
        self._note(Sent(self._sent.epoch, record.seq))

    def _put(self, name: str, content: bytes) -> None:
        """Put one file there, or see that it is there already.

        Raises
        ------
        OSError
            The folder is missing or full, or is not the one where the file may be already.
        """
        assert self._sent is not None
        part = self._folder / f".{name}.part"
        inode = self._folder.stat().st_ino
        if self._sent.doing != name:
            _write_part(part, content)
            self._note(begun(self._sent, name, inode))
        elif self._sent.folder != inode:
            raise OSError(None, "it is another folder than before, and whether the file came through cannot be known")
        if part.exists():
            part.rename(self._folder / name)
            sync_folder(self._folder)
        self._note(ended(self._sent, name))

    def _note(self, sent: Sent) -> None:
        write_sent(self._journal_path.parent, sent)
        self._sent = sent

    def _fault(self, error: OSError | JournalError) -> str:
        if isinstance(error, JournalError):
            return str(error)
        waits = f"results wait for the laboratory's folder {self._folder}"
        return f"{waits}: {error.strerror or error}; mount it, make room there and let this device write"

    def _say(self, words: str) -> None:
        if words and words != self.trouble:
            _log.warning("%s", words)
        self.trouble = words


def _write_part(part: Path, content: bytes) -> None:
    """Write the file whole under its hidden name, and leave nothing behind where that fails."""
    part.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(part.parent)
