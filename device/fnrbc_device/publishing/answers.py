"""What the messages say of commands: the record of each, and the reply to who gave it."""

from typing import Annotated, Literal

from pydantic import Field

from fnrbc_device.publishing.payloads import Count, Payload, Record, Text, schema_field
from fnrbc_device.records import SessionState

RefusalCode = Literal[
    "",
    "retained",
    "stale",
    "repeated",
    "oversized",
    "malformed",
    "unknown",
    "wrong_state",
    "not_kept",
    "busy",
    "failed",
]
"""Why a command was not followed; empty where it was."""


class AuditRecord(Record):
    """``log/audit``: who asked for what, and what became of it."""

    schema_: Literal["audit/1"] = schema_field("audit/1")
    user: Text
    """From the topic, where the broker's access list vouches for it."""
    verb: Text
    request: Text
    """Id that the user gave; empty where none could be read."""
    outcome: Literal["accepted", "refused"]
    code: RefusalCode
    detail: Text
    """Of a mark its note, of a replay its range, of a refusal the reason in words."""
    times: Annotated[int, Field(ge=1)] = 1
    """How many this record stands for: of a flood, only the first refusals have a record each."""


class Reply(Payload):
    """``reply/{user}``: what became of a command."""

    schema_: Literal["reply/1"] = schema_field("reply/1")
    device: Text
    ts: Text
    request: Text
    """Id of the command."""
    verb: Text
    accepted: bool
    code: RefusalCode
    reason: Text
    """In words; empty where it was accepted."""
    state: SessionState
    """Of the session, after the command."""
    epoch: Text
    log_seq: Count
    oldest_seq: Count
    """The oldest record that can still be replayed; 0 where there is none."""
    repeated: bool = False
    """The same id came before: this is the answer that it got then."""
