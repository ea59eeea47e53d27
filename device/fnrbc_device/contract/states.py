"""What the device keeps retained for all who come: how it stands now."""

from typing import Annotated, Any, Literal

from pydantic import Field

from fnrbc_device.contract.figures import claim_fields, rate_fields
from fnrbc_device.contract.payloads import Count, NotNegative, Share, State, Text, schema_field
from fnrbc_device.records import ClaimState, HealthState, SessionKind, SessionState, Tally


class StatusNow(State):
    """``status``: who speaks."""

    schema_: Literal["status/1"] = schema_field("status/1")
    software: Text
    """What counts."""
    bundle: Text
    """Id of the model bundle."""
    camera: Text
    """The source of frames, for people."""
    boot_id: Text
    """Random, of this start of the machine: ``mono_ms`` counts from there."""
    epoch: Text
    """Of the journal that now counts: with ``device`` and ``seq`` it names a record."""
    epoch_first_seq: Annotated[int, Field(ge=1)] = 1
    """Number of this epoch's first record: above 1 where a backup was restored and the count of ``seq`` went on."""
    epoch_before: Text = ""
    """The epoch of the records before that one; empty where there are none."""
    backlog: Count
    """Records that wait for the broker."""
    clock_sync: bool
    """Whether a time server holds the clock."""
    cert_days_left: int | None = None
    """Whole days until the device's certificate ends; null where it has none."""


class SessionNow(State):
    """``session``: what the device is doing."""

    schema_: Literal["session/1"] = schema_field("session/1")
    session: Text
    """Name of the session; empty before the first."""
    state: SessionState
    """What it does."""
    started: Text | None = None
    """UTC, ISO 8601; null while idle."""
    specimen: Text = ""
    """Hash of the specimen's id under a key that stays on the device; empty where none was given."""
    kind: SessionKind = "sample"
    """What lies under the objective."""


class Counts(State):
    """The figures that ``tally`` and ``summary`` share."""

    session: Text
    """The session that is counted."""
    kind: SessionKind = "sample"
    """Of a *blank* all fNRBC are false; a *control* is counted again and again. Neither is a result."""
    fnrbc: Count
    """Cells that the machine counted as fNRBC."""
    leukocytes: Count
    """Cells that it counted as leukocytes."""
    other: Count
    """Cells of other classes."""
    indeterminate: Count
    """Cells that a person must decide on."""
    cells: Count
    """All cells counted."""
    fnrbc_per_100_leukocytes: NotNegative | None
    """Null until a leukocyte was counted."""
    ci95_low: NotNegative | None
    """Lower end of the ratio's exact 95 % interval."""
    ci95_high: NotNegative | None
    """Upper end of the ratio's exact 95 % interval."""
    leukocytes_to_go: Count | None
    """How many more to count until the interval is +-20 % of its value; null until there is a ratio."""
    claim: ClaimState | None = None
    """What the count may claim: more than the network's false calls explain, not distinguishable from none, or nothing,
    since the session is provisional. Null until a leukocyte was counted."""
    claim_per_100_leukocytes: NotNegative | None = None
    """How many fNRBC per 100 leukocytes there are, freed of the network's false calls and misses; null where the claim
    is provisional."""
    claim_ci95_low: NotNegative | None = None
    """Lower end of the claim's 95 % interval."""
    claim_ci95_high: NotNegative | None = None
    """Null also where the errors are known so badly that there is no upper end."""
    limit_of_blank: Count | None = None
    """How many fNRBC a slide without any may show among so many cells, at 97.5 %."""
    claim_source: Literal["shipped", "site"] | None = None
    """Where the network's errors were measured: before it was shipped, or at this site."""
    provisional: Text = ""
    """Why the session lies outside of what the network was measured on: from the closed list of reasons, separated by
    commas; empty where it does not."""
    verified: bool
    """False: these are the machine's counts. What a person verified and signed off is said on ``result``."""
    frames: Count
    """Frames that the camera delivered and that were looked at."""
    frames_used: Count
    """Of these, how many were used."""
    frames_rejected: Count
    """Of these, how many were not used."""
    frames_dropped: Count
    """Frames passed over for newer ones."""
    islands: Count
    """Patches of the slide that are not joined: above 1 a cell may be counted twice."""
    area_mm2: NotNegative
    """Area seen, each place once."""
    revisit_share: Share
    """Of the area that came into view, what had been seen before."""
    cells_open: Count
    """Cells seen and not settled yet."""
    elapsed_s: NotNegative
    """Time since the session began."""


class TallyNow(Counts):
    """``tally``: the live counts."""

    schema_: Literal["tally/1"] = schema_field("tally/1")
    state: SessionState
    """What the session does."""


class SummaryNow(Counts):
    """``summary``: the last finished session."""

    schema_: Literal["summary/1"] = schema_field("summary/1")
    bundle: Text
    """Id of the model bundle."""
    software: Text
    """What counted."""
    started: Text
    """When the session began: UTC, ISO 8601."""
    finished: Text
    """When it ended: UTC, ISO 8601."""
    complete: bool
    """Nothing is left open: no cell unsettled, no island unjoined."""


class HealthNow(State):
    """``health``: how well it goes. What a machine cannot measure is null."""

    schema_: Literal["health/1"] = schema_field("health/1")
    state: HealthState
    """How the device is."""
    reasons: Text
    """From the closed list of reasons, separated by commas; empty where all is well."""
    fps: NotNegative
    """Frames analysed a second."""
    latency_ms_p50: NotNegative | None = None
    """From the camera to the tally, median."""
    latency_ms_p95: NotNegative | None = None
    """The same, 95th percentile."""
    sharpness: Share | None = None
    """Of the last frame, against the session's sharpest."""
    exposure_ms: NotNegative | None = None
    """Exposure time of the camera."""
    pan_um_s: NotNegative | None = None
    """Speed of the slide under the objective."""
    gpu_temp_c: float | None = None
    """Temperature of the GPU."""
    cpu_temp_c: float | None = None
    """Temperature of the processor."""
    throttled: bool | None = None
    """Whether the machine slows itself down."""
    mem_used_mb: NotNegative | None = None
    """Memory that the process holds."""
    disk_free_mb: NotNegative | None = None
    """Room on the disk of the record."""
    backlog: Count = 0
    """Records that wait for the broker."""


class AlarmNow(State):
    """``alarm/{code}``: how one alarm stands."""

    schema_: Literal["alarm/1"] = schema_field("alarm/1")
    code: Text
    """Code of the alarm, from the closed list of reasons or one of the sending itself."""
    active: bool
    """Whether it stands."""
    detail: Text
    """What is the matter and what to do; empty when it is over."""


def count_fields(tally: Tally) -> dict[str, Any]:
    """Fields of ``tally`` and ``summary`` that come from the tally itself."""
    return {
        "fnrbc": tally.fnrbc,
        "leukocytes": tally.leukocytes,
        "other": tally.other,
        "indeterminate": tally.indeterminate,
        "cells": tally.cells,
        **rate_fields(tally.fnrbc_per_100_leukocytes),
        "leukocytes_to_go": tally.leukocytes_to_go,
        **claim_fields(tally.claim, tally.provisional),
        "frames": tally.frames,
        "frames_used": tally.frames_used,
        "frames_rejected": sum(tally.frames_rejected.values()),
        "frames_dropped": tally.frames_dropped,
        "islands": tally.islands,
        "area_mm2": round(tally.unique_area_mm2, 4),
        "revisit_share": round(tally.revisit_share, 4),
        "cells_open": tally.cells_open,
    }
