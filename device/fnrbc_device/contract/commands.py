"""Commands as they come in: read strictly, and refused with the reason before anything is done."""

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fnrbc_device.errors import CommandError
from fnrbc_device.records import SessionKind

MAX_COMMAND_BYTES: Final = 2048
"""The longest command, a mark with its note in four-byte characters, has 1.3 kB."""

MAX_AGE_S: Final = 30.0
"""By the contract. Clocks that differ by more refuse each other's commands, and the reply tells the difference."""

MAX_REPLAY: Final = 10_000
"""Records of one replay: some 5 MB, ten seconds of sending. Who lacks more asks again."""

Verb = Literal["start", "pause", "resume", "stop", "mark", "replay", "ping"]
VERBS: Final[tuple[Verb, ...]] = ("start", "pause", "resume", "stop", "mark", "replay", "ping")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message on a command topic, as the broker handed it over."""

    topic: str
    payload: bytes
    retained: bool


class Request(BaseModel):
    """What every command carries."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    id: Annotated[str, Field(pattern="^[A-Za-z0-9_.-]{1,64}$")]
    """Chosen by the sender, another for each command."""
    ts: Annotated[str, Field(max_length=40)]
    """When it was given: ISO 8601 with its offset from UTC, such as ``2026-03-01T09:30:00.125Z``."""


class StartRequest(Request):
    """``start``: what lies under the objective, where that is not what the configuration says."""

    kind: SessionKind | None = None
    """Null for what the configuration says."""


class MarkRequest(Request):
    """``mark``: a note for the log."""

    note: Annotated[str, Field(max_length=200)] = ""
    """In the sender's words."""


class ReplayRequest(Request):
    """``replay``: records of the log again."""

    epoch: Annotated[str, Field(min_length=1, max_length=64)]
    """Of the records that are wanted: from ``status``."""
    from_seq: Annotated[int, Field(ge=1, lt=2**53)]
    """The first record wanted."""
    to_seq: Annotated[int, Field(ge=1, lt=2**53)]
    """The last record wanted."""

    @model_validator(mode="after")
    def _in_order(self) -> "ReplayRequest":
        if not self.from_seq <= self.to_seq < self.from_seq + MAX_REPLAY:
            raise ValueError(f"to_seq lies before from_seq, or {MAX_REPLAY} or more after it")
        return self


_SHAPES: Final[dict[str, type[Request]]] = {"start": StartRequest, "mark": MarkRequest, "replay": ReplayRequest}


def shape_of(verb: Verb) -> type[Request]:
    """What a command's payload must look like."""
    return _SHAPES.get(verb, Request)


def read_request(verb: str, payload: bytes) -> tuple[Verb, Request]:
    """Read a command.

    Raises
    ------
    CommandError
        ``oversized``, ``unknown`` or ``malformed``.
    """
    if len(payload) > MAX_COMMAND_BYTES:
        raise CommandError(
            "oversized", f"the command has {len(payload)} bytes, more than {MAX_COMMAND_BYTES}; send a shorter one"
        )
    known = next((one for one in VERBS if one == verb), None)
    if known is None:
        raise CommandError("unknown", f"there is no command {verb[:32]!a}; there are {', '.join(VERBS)}")
    try:
        return known, shape_of(known).model_validate_json(payload)
    except ValidationError as error:
        raise CommandError("malformed", f"the payload of {known} is not right: {_first_fault(error)}") from error


def require_fresh(given: str, now: datetime) -> None:
    """Refuse a command that was given too long ago, or in the future.

    Raises
    ------
    CommandError
        ``stale``, or ``malformed`` where the time cannot be read.
    """
    age_s = (now - _moment(given)).total_seconds()
    if abs(age_s) > MAX_AGE_S:
        side = "ago" if age_s > 0 else "ahead"
        raise CommandError(
            "stale",
            f"the command was given {min(abs(age_s), 1e9):.0f} s {side} by its ts, the limit is {MAX_AGE_S:.0f}; "
            "send it anew, and set both clocks",
        )


def _moment(given: str) -> datetime:
    try:
        # Python 3.10 reads no "Z".
        moment = datetime.fromisoformat(given[:-1] + "+00:00" if given.endswith("Z") else given)
        return moment.astimezone(timezone.utc) if moment.tzinfo else _without_offset(given)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            "malformed", f"ts {given!a} is no time; write ISO 8601 with an offset, such as 2026-03-01T09:30:00.125Z"
        ) from error


def _without_offset(given: str) -> datetime:
    raise ValueError(given)


def _first_fault(error: ValidationError) -> str:
    """The first thing wrong. What the sender wrote is shown as ASCII and cut: it ends up in logs and on pages."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    return f"{name[:40]!a}: {fault['msg'][:120].encode('ascii', 'replace').decode()}"
