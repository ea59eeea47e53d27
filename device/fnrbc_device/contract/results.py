"""What the laboratory is told of a session's sign-off: the verified counts, what they may claim and who answers."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from fnrbc_device.contract.payloads import Count, NotNegative, Payload, Record, Share, State, Text, schema_field
from fnrbc_device.records import ClaimState, SessionKind

Words = Annotated[str, Field(max_length=600)]

ResultEvent = Literal["signed", "withdrawn", "superseded", "removed"]
"""What became of a result. The first alone makes one that stands."""


class ResultFields(Payload):
    """What a result says, in the log and as a state."""

    session: Text
    """The session that the result is of."""
    event: ResultEvent
    """*signed*: it stands. *withdrawn*: its sign-off was taken back. *superseded*: the session was signed again, and
    the next record holds the new result. *removed*: the device let go of the session, as it does of the oldest."""
    version: Annotated[int, Field(ge=1)]
    """Counts the sign-offs of the session: 1 is its first result, above that one that was corrected."""
    verified: bool
    """True while the result stands: a person signed it off. False where it does not, and then no figure is given."""
    kind: SessionKind
    """Of a *blank* all fNRBC are false; a *control* is counted again and again. Neither is a result of a specimen."""
    specimen: Text
    """Hash of the specimen's id under a key that stays on the device; empty where none was given."""
    fnrbc: Count | None = None
    """Cells that a person calls fNRBC."""
    leukocytes: Count | None = None
    """Those that a person calls so, and those of the machine that nobody was asked about."""
    leukocytes_by_machine: Count | None = None
    """Of these leukocytes, the machine's alone: nobody decided on them."""
    other: Count | None = None
    """Cells that a person calls otherwise."""
    fnrbc_per_100_leukocytes: NotNegative | None = None
    """Null where a candidate was not decided on, or no leukocyte was counted."""
    ci95_low: NotNegative | None = None
    """Lower end of the ratio's exact 95 % interval."""
    ci95_high: NotNegative | None = None
    """Upper end of the ratio's exact 95 % interval."""
    claim: ClaimState | None = None
    """What the verified count may claim; null where there is no ratio."""
    claim_per_100_leukocytes: NotNegative | None = None
    """The ratio with the network's misses taken out; null where nothing can be claimed."""
    claim_ci95_low: NotNegative | None = None
    """Lower end of the claim's 95 % interval."""
    claim_ci95_high: NotNegative | None = None
    """Upper end of the claim's 95 % interval; null also where there is none."""
    limit_of_blank: Count | None = None
    """How many fNRBC a slide without any may show among so many cells, at 97.5 %, by the machine's errors."""
    claim_source: Literal["shipped", "site"] | None = None
    """Where the network's errors were measured: before it was shipped, or at this site."""
    provisional: Text = ""
    """Why the session lies outside of what the network was measured on: from the closed list of reasons, separated by
    commas; empty where it does not."""
    candidates: Count | None = None
    """Cells that a person was asked about."""
    reviewed: Count | None = None
    """Of the candidates, how many a person decided on."""
    complete: bool | None = None
    """Nothing was left open: every candidate decided on, every frame's place known, no cell unsettled."""
    left_open: Words = ""
    """What was left open at the sign-off, in words; empty where nothing was."""
    machine_fnrbc: Count | None = None
    """The machine's own count, unverified, for comparison."""
    machine_leukocytes: Count | None = None
    """The machine's own count of leukocytes, unverified."""
    machine_indeterminate: Count | None = None
    """Cells that the machine left to a person."""
    machine_cells: Count | None = None
    """All cells that the machine counted."""
    machine_per_100_leukocytes: NotNegative | None = None
    """The machine's own ratio, unverified."""
    area_mm2: NotNegative | None = None
    """Area of the slide that was seen, each place once; null where it is not on record."""
    frames_used_share: Share | None = None
    """Of the frames that came, how many were used."""
    signed_by: Text
    """Who answers for the result."""
    signed: Text
    """When it was signed off: UTC, ISO 8601."""
    reason: Words = ""
    """Why it was signed off although something was open or its control did not pass; else empty."""
    withdrawn_by: Text = ""
    """Who took the sign-off back; empty where nobody did."""
    withdrawn: Text = ""
    """When it was taken back: UTC, ISO 8601; empty where it was not."""
    withdrawn_reason: Words = ""
    """Why it was taken back."""
    started: Text
    """When the session began: UTC, ISO 8601."""
    finished: Text
    """When the session ended: UTC, ISO 8601."""
    bundle: Text
    """Id of the model bundle that the session was counted with."""
    software: Text
    """What counted it."""
    chain_link: Count
    """Last link of the device's audit before this record."""
    chain_hash: Text
    """Its hash: with it, who keeps this result can prove the device's record up to that link."""


class ResultRecord(ResultFields, Record):
    """``log/result``: a session was signed off, or what became of its sign-off. Each once, in order, as all records."""

    schema_: Literal["result_log/1"] = schema_field("result_log/1")


class ResultNow(ResultFields, State):
    """``result``: the newest of these, retained. A result that does not stand gives no figure."""

    schema_: Literal["result/1"] = schema_field("result/1")


FIGURES: Final = tuple(name for name, field in ResultFields.model_fields.items() if field.default is None)
"""What is null in a result that does not stand."""


def result_now(record: ResultRecord) -> ResultNow:
    """Make the retained state of a record."""
    fields = {name: getattr(record, name) for name in ResultFields.model_fields}
    return ResultNow(device=record.device, ts=record.ts, log_seq=record.seq, **fields)


def fallen(record: ResultRecord, event: ResultEvent, envelope: dict[str, Any], **more: Any) -> ResultRecord:
    """Make the record that says that a result does not stand any more: whose it was, and no figure.

    Parameters
    ----------
    record
        That said that it stands.
    event
        What became of it.
    envelope
        Of the new record.
    more
        Fields that say why, by whom and when.
    """
    kept = {name: getattr(record, name) for name in ResultFields.model_fields if name not in FIGURES}
    said = {"event": event, "verified": False, "left_open": "", "provisional": ""}
    return ResultRecord(**(kept | said | envelope | more))
