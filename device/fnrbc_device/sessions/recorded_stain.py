"""The stain of a session as it was put on record, and how far it lies from the reference, in plain words."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnrbc_device.language import _, decimal, ngettext
from fnrbc_device.vision.stain import REFERENCE_NUCLEUS, degrees


@dataclass(frozen=True, slots=True)
class RecordedStain:
    """What nuclei of a session absorb; optical densities (natural logarithm) in red, green, blue."""

    state: str
    """As ``SessionStain.state``."""
    nucleus: tuple[float, float, float] | None
    """None where it was never settled."""
    changes: int
    """Times that the session's stain was left for another."""

    def in_words(self) -> str:
        """Such as ``nuclei 1.30 1.71 0.92 (...)``."""
        if self.nucleus is None:
            return _("never settled, too few fields showed nuclei and glass: pictures were looked at as they are")
        turned = degrees(self.nucleus, REFERENCE_NUCLEUS)
        share = float(np.linalg.norm(self.nucleus) / np.linalg.norm(REFERENCE_NUCLEUS))
        as_percent = f"{share:.0%}"
        words = _(
            "nuclei absorb %(colour)s (optical density in red, green, blue), %(turned)s degrees from the reference in "
            "colour and %(share)s of its strength; pictures were brought to the reference",
            colour=_colour(self.nucleus),
            turned=round(turned),
            share=as_percent,
        )
        if not self.changes:
            return words
        changed = ngettext(
            "changed %(count)s time within the session", "changed %(count)s times within the session", self.changes
        )
        return f"{words}; {changed}"


def recorded_stain(connection: sqlite3.Connection, session: str) -> RecordedStain | None:
    """What the record says last of a session's stain; None of a session that was counted before that was recorded."""
    rows = connection.execute(
        "SELECT note FROM audit WHERE session = ? AND kind = 'stain' ORDER BY link", (session,)
    ).fetchall()
    return stain_of([json.loads(note) for (note,) in rows])


def stain_of(notes: Sequence[Mapping[str, Any]]) -> RecordedStain | None:
    """What a session's notes of its stain, in their order, say; None where there are none."""
    if not notes:
        return None
    last = notes[-1]
    nucleus = last.get("nucleus_od")
    return RecordedStain(last["state"], tuple(nucleus) if nucleus else None, _changes(notes))


def stain_happened(fields: Mapping[str, Any]) -> str:
    """What a note of the stain says happened, in words."""
    if fields["state"] == "unsettled":
        return _("stain never settled")
    colour = _colour(fields["nucleus_od"])
    if fields.get("final"):
        return _("stain of the whole session: nuclei %(colour)s", colour=colour)
    if fields["state"] == "changed":
        return _("stain changed: nuclei %(colour)s", colour=colour)
    return _("stain settled: nuclei %(colour)s", colour=colour)


def _colour(nucleus: Sequence[float]) -> str:
    return " ".join(decimal(part, 2) for part in nucleus)


def _changes(notes: Sequence[Mapping[str, Any]]) -> int:
    """The end of a session repeats its last state, with ``final``."""
    return sum(note["state"] == "changed" and not note.get("final") for note in notes)
