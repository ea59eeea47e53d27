"""What ``fnrbc check`` finds of the folder that the laboratory's interface engine watches."""

import os
import tempfile
from pathlib import Path
from typing import Final

from fnrbc_device.commands.finding import Finding, another_user
from fnrbc_device.config import Config
from fnrbc_device.host.disk_space import MB, room_bytes

LEAST_MB: Final = 1
"""A result is a file of at most some 20 kB in both forms together; this holds fifty of them."""

PROBE: Final = b"fnrbc check looks whether this device may write here\n"


def look_at_laboratory(config: Config) -> Finding:
    """Hand nothing over, but see that it could be: the folder is there, lets this user write and has room.

    Raises
    ------
    OSError
        Something on the way to the folder cannot be read.
    """
    folder = config.laboratory.folder
    if folder is None:
        return Finding("laboratory", "not used", "laboratory.folder is not set")
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "does not exist"
        return Finding("laboratory", "fault", f"{folder} {found}; make or mount it, or mend laboratory.folder")
    if config.state_dir.is_dir() and (words := another_user(config.state_dir)):
        return Finding("laboratory", "warning", f"whether the daemon may write to {folder} was not tried: {words}")
    free = room_bytes(folder) // MB
    if free < LEAST_MB:
        words = f"{free} MB are free for {folder}, and a result needs room; let the interface engine take files away"
        return Finding("laboratory", "fault", words)
    if words := _refused(folder):
        cure = "let this device's user write there; until then signed results wait"
        return Finding("laboratory", "fault", f"{folder} takes no file ({words}); {cure}")
    forms = " and ".join({"hl7": "HL7", "fhir": "FHIR"}[form] for form in config.laboratory.forms)
    return Finding("laboratory", "ok", f"signed results go to {folder} as {forms}; {free} MB are free")


def _refused(folder: Path) -> str:
    """Why a file cannot be written there; empty where it can. It is hidden, as parts are, and gone at once.

    A mount may promise what it then refuses: so one is written.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".fnrbc-check-", suffix=".part") as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""
