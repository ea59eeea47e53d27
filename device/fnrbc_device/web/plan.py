"""From what a person typed to a session's plan: each field read strictly, and refused in one sentence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast, get_args

from fnrbc_device.errors import CommandError
from fnrbc_device.journal.specimen import MAX_NOTE, MAX_SPECIMEN, written
from fnrbc_device.language import english
from fnrbc_device.records import SessionKind
from fnrbc_device.session_state import SessionPlan

MOST_LEUKOCYTES: Final = 1_000_000
LEAST_AREA_MM2: Final = 0.001
MOST_AREA_MM2: Final = 2000.0
"""A slide of 25 x 75 mm has 1,875."""

FIELDS: Final = ("kind", "specimen", "objective", "wanted_leukocytes", "wanted_area_mm2", "note")


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as it was filled in, to be shown again where something in it is refused."""

    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.fields.get(name, "")


def read_plan(typed: Typed, operator: str, objectives: Mapping[str, float]) -> SessionPlan:
    """Read a plan.

    Parameters
    ----------
    typed
        What was filled in; what is missing counts as empty.
    operator
        Who starts the session.
    objectives
        Pixel sizes in um by the names that may be chosen.

    Raises
    ------
    CommandError
        ``malformed``, with the field, its limit and the cure.
    """
    unknown = sorted(set(typed.fields) - set(FIELDS))
    if unknown:
        known = ", ".join(FIELDS)
        words = english("there is no field %(name)s; there are %(known)s", name=ascii(unknown[0][:32]), known=known)
        raise CommandError("malformed", words)
    objective = typed["objective"]
    if objective and objective not in objectives:
        known = ", ".join(objectives) or english("none: see [[objectives]] in the configuration")
        words = english("there is no objective %(name)s; there are %(known)s", name=ascii(objective[:40]), known=known)
        raise CommandError("malformed", words)
    return SessionPlan(
        operator=operator,
        specimen=written(english("specimen id"), typed["specimen"], MAX_SPECIMEN),
        note=written(english("note"), typed["note"], MAX_NOTE),
        objective=objective,
        pixel_size_um=objectives.get(objective),
        wanted_leukocytes=_leukocytes(typed["wanted_leukocytes"].strip()),
        wanted_area_mm2=_area(typed["wanted_area_mm2"].strip()),
        kind=_kind(typed["kind"]),
    )


def _kind(text: str) -> SessionKind | None:
    if not text:
        return None
    for kind in get_args(SessionKind):
        if kind == text:
            return cast(SessionKind, kind)
    known = ", ".join(get_args(SessionKind))
    words = english("there is no kind %(name)s; there are %(known)s", name=ascii(text[:20]), known=known)
    raise CommandError("malformed", words)


def _leukocytes(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= MOST_LEUKOCYTES:
        words = english(
            "%(count)s leukocytes are wanted; give a whole number from 1 to %(most)s",
            count=ascii(text[:20]),
            most=MOST_LEUKOCYTES,
        )
        raise CommandError("malformed", words)
    return int(text)


def _area(text: str) -> float | None:
    if not text:
        return None
    try:
        area = float(text)
    except ValueError:
        area = math.nan
    if not LEAST_AREA_MM2 <= area <= MOST_AREA_MM2:
        words = english(
            "an area of %(area)s mm2 is wanted; give %(least)s to %(most)s",
            area=ascii(text[:20]),
            least=LEAST_AREA_MM2,
            most=round(MOST_AREA_MM2),
        )
        raise CommandError("malformed", words)
    return area
