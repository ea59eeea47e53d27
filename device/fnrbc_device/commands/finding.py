"""What one look of ``fnrbc check`` found."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warning", "fault", "not used"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    what: str
    state: State
    words: str
    """What is there; or what is missing, and how to mend it."""


def another_user(folder: Path) -> str:
    """Say why what this user may do says nothing of the daemon; empty where the folder is this user's."""
    owner = folder.stat().st_uid
    if os.geteuid() == owner:
        return ""
    return f"{folder} belongs to another user than this one; run this as that user: sudo -u '#{owner}' fnrbc check"
