"""What all messages are: flat JSON objects of scalars, one fixed schema a topic.

*Records* go to the log, each once, with a ``seq`` that has no gap. *States* are retained, newest value only,
and carry ``log_seq``, the last record they include, so that anyone can check a tally against the log.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Text = Annotated[str, Field(max_length=256)]


class Payload(BaseModel):
    """Any message. Frozen; an unknown field, a NaN or a value out of bounds is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def to_json(self) -> str:
        """Write the message as it goes out."""
        return self.model_dump_json(by_alias=True)


def schema_field(name: str) -> Any:
    """Field that names the message's schema and its version; ``schema`` itself is taken by pydantic."""
    return Field(
        default=name,
        serialization_alias="schema",
        validation_alias=AliasChoices("schema", "schema_"),
        description="Name of this message's schema, and its version.",
    )


class Record(Payload):
    """What every record of the log carries. (device, epoch, seq) names it for ever."""

    device: Text
    """The device's name within its site."""
    epoch: Text
    """Random, made with the database: a new journal starts a new count of ``seq``."""
    seq: Annotated[int, Field(ge=1)]
    """Number of the record: each once, without a gap."""
    ts: Text
    """UTC, ISO 8601 with milliseconds."""
    ts_sync: bool
    """Whether a time server held the clock."""
    mono_ms: Count
    """Monotonic clock: orders the records of one start of the machine even where ``ts`` jumped."""
    session: Text
    """The session that it is about; empty where there is none."""
    replayed: bool = False
    """Sent again on request."""


class State(Payload):
    """What every state carries."""

    device: Text
    """The device's name within its site."""
    ts: Text
    """When it was said: UTC, ISO 8601 with milliseconds."""
    log_seq: Count
    """``seq`` of the last record that this state includes; 0 before the first."""
    ruo: Literal[True] = True
    """For research use only. Not for use in diagnostic procedures."""
