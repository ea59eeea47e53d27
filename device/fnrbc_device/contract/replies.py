"""What the messages say of commands: the record of each, and the reply to who gave it."""

from typing import Annotated, Literal

from pydantic import Field

from fnrbc_device.contract.payloads import Count, Payload, Record, Text, schema_field
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
    "denied",
    "not_kept",
    "busy",
    "failed",
]
"""Why a command was not followed; empty where it was."""


class AuditRecord(Record):
    """``log/audit``: who asked for what, and what became of it."""

    schema_: Literal["audit/1"] = schema_field("audit/1")
    user: Text
    """From the topic, where the broker's access list vouches for it; at the page, who is logged in or says so."""
    verb: Text
    """What was asked for."""
    request: Text
    """Id that the user gave; empty where none could be read."""
    outcome: Literal["accepted", "refused"]
    """What became of it."""
    code: RefusalCode
    """Why it was refused; empty where it was not."""
    detail: Text
    """Of a mark its note, of a replay its range, of a refusal the reason in words."""
    times: Annotated[int, Field(ge=1)] = 1
    """How many this record stands for: of a flood, only the first refusals have a record each."""
    chain_link: Count = 0
    """Of a sign-off and of a restored backup: last link of the device's audit before this record; else 0."""
    chain_hash: Text = ""
    """Its hash; empty for other commands."""


class Reply(Payload):
    """``reply/{user}``: what became of a command."""

    schema_: Literal["reply/1"] = schema_field("reply/1")
    device: Text
    """The device's name within its site."""
    ts: Text
    """When it was said: UTC, ISO 8601 with milliseconds."""
    request: Text
    """Id of the command."""
    verb: Text
    """What was asked for."""
    accepted: bool
    """Whether it was followed."""
    code: RefusalCode
    """Why it was not; empty where it was."""
    reason: Text
    """In words; empty where it was accepted."""
    state: SessionState
    """Of the session, after the command."""
    epoch: Text
    """Of the journal that now counts."""
    epoch_first_seq: Annotated[int, Field(ge=1)] = 1
    """Number of this epoch's first record."""
    log_seq: Count
    """Number of the last record."""
    oldest_seq: Count
    """From this record on all can be replayed; above ``log_seq`` where none can any more."""
    repeated: bool = False
    """The same id came before: this is the answer that it got then."""
