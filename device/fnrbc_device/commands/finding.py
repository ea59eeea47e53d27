"""What one look of ``fnrbc check`` found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault", "not used"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found."""

    what: str
    state: State
    words: str
    """What is there; or what is missing, and how to mend it."""
