"""What the log carries: steps of the count, sessions and alarms, each once."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from fnrbc_device.contract.payloads import Count, NotNegative, Positive, Record, Share, Text, schema_field
from fnrbc_device.records import CountEvent, EventName, Role, SessionKind

Judgement = Literal["confirmed", "rejected", "reclassified"]
"""What a person says of a cell: it is of the target class; it is no cell to count; it is of another class."""


class CellRecord(Record):
    """``log/cell``: one step of the count, or a person's decision on a cell."""

    schema_: Literal["cell/1"] = schema_field("cell/1")
    cell_id: Annotated[int, Field(ge=1)]
    """Number of the cell within its session."""
    event: Literal[EventName, Judgement, "undone"]
    """What the machine did, *counted* or *retracted*, or what a person did: the rest."""
    class_name: Text = Field(
        serialization_alias="class", validation_alias=AliasChoices("class", "class_name")
    )
    """The machine's where ``review`` is *unverified* or *rejected*, else the person's."""
    role: Role
    """What that class means for the count."""
    probability: Share
    """Of the target class where it is the target's or indeterminate, else of the named class."""
    target_probability: Share
    """Calibrated probability that the cell is an fNRBC, fused over its views."""
    x_um: float
    """Place on the slide within its island, from the first frame's top-left corner, to the right."""
    y_um: float
    """The same, downwards."""
    diameter_um: NotNegative
    """Diameter of the circle with the whole cell's area."""
    views: Count
    """How many whole, sharp views the cell had by then."""
    island: Count
    """Patch of the slide whose frames are registered to each other."""
    bundle: Text
    """Id of the model bundle."""
    review: Literal["unverified", Judgement]
    """How the cell stands after this record for its reader. The machine's count is unverified until a person looked."""
    reason: Text
    """Why the step was taken, in words or a code."""
    reviewer: Text = ""
    """Who decided; empty where the machine did."""
    reader: Literal[0, 1, 2] = 0
    """0 the machine, whose records alone make ``tally`` and ``summary``; 1 the person whose decisions make the verified
    count; 2 a second reader, blind to the first, who moves no count."""


class SessionRecord(Record):
    """``log/session``: a session started, went on after a crash or finished; what it rests on, counts at its end."""

    schema_: Literal["session_log/1"] = schema_field("session_log/1")
    event: Literal["started", "resumed", "finished", "described"]
    """*described*: specimen, operator or note were given after the start; ``specimen`` is then the new one's hash."""
    software: Text
    """What counts."""
    bundle: Text
    """Id of the model bundle."""
    source: Text
    """The camera, the folder or the simulation, for people."""
    pixel_size_um: Positive
    """Size of a camera pixel on the slide."""
    specimen: Text = ""
    """Hash of the specimen's id under a key that stays on the device; empty where none was given."""
    kind: SessionKind = "sample"
    """A blank holds no fNRBC, a control is counted again and again: neither says anything of a patient."""
    cells: Count | None = None
    """All cells counted; null before the end, as are the counts below."""
    fnrbc: Count | None = None
    """Cells that the machine counted as fNRBC."""
    leukocytes: Count | None = None
    """Cells that it counted as leukocytes."""
    other: Count | None = None
    """Cells of other classes."""
    indeterminate: Count | None = None
    """Cells that its views did not settle."""
    frames: Count | None = None
    """Frames that the camera delivered and that were looked at."""
    frames_used: Count | None = None
    """Of these, how many were used."""
    complete: bool | None = None
    """Nothing was left open: no cell unsettled, no island unjoined."""
    chain_link: Count = 0
    """Last link of the device's audit before this record."""
    chain_hash: Text = ""
    """Its hash: with it, who keeps this record can prove the device's record up to that link."""


class AlarmRecord(Record):
    """``log/alarm``: an alarm was raised or cleared."""

    schema_: Literal["alarm_log/1"] = schema_field("alarm_log/1")
    code: Text
    """Code of the alarm, from the closed list of reasons or one of the sending itself."""
    event: Literal["raised", "cleared"]
    """Whether it begins or is over."""
    detail: Text
    """What is the matter and what to do; empty when it is over."""


def cell_fields(event: CountEvent) -> dict[str, Any]:
    """Fields of ``log/cell`` that come from the event itself, rounded to what the optics can mean."""
    verdict = event.verdict
    return {
        "cell_id": int(event.cell),
        "event": event.event,
        "class_name": verdict.class_name,
        "role": verdict.role,
        "probability": round(float(verdict.probability), 4),
        "target_probability": round(float(verdict.target_probability), 4),
        "x_um": round(float(event.x_um), 2),
        "y_um": round(float(event.y_um), 2),
        "diameter_um": round(float(event.diameter_um), 2),
        "views": int(event.views),
        "island": int(event.island),
        "review": event.event if event.event in ("confirmed", "rejected") else "unverified",
        "reason": event.reason,
    }
