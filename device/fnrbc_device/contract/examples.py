"""One message of each topic, as it would come from one session of a device: what the contract's pages show."""

import json
from typing import Any, Final

from fnrbc_device.contract import log_records, payloads, states
from fnrbc_device.contract import replies as answers
from fnrbc_device.contract.results import ResultNow, ResultRecord

_AT: Final = "2026-03-02T09:41:07.125Z"
_BUNDLE: Final = "8c1f0a6be2d94f57a3b1c0d2e4f60718293a4b5c6d7e8f90a1b2c3d4e5f60718"
_HASH: Final = "6953f6716f85fbf7d5cd543d8831c18d65193295a6e6e60b3748f922ecfc3765"
_SESSION: Final = "s20260302-090512"
_SPECIMEN: Final = "5e0c7a91b2d3f486"
_SOFTWARE: Final = "fnrbc 0.2.0"

_ENVELOPE: Final[dict[str, Any]] = {
    "device": "scope-1", "epoch": "9f86d081884c7d65", "seq": 1423, "ts": _AT, "ts_sync": True, "mono_ms": 8123456,
    "session": _SESSION,
}  # fmt: skip
_STATE: Final[dict[str, Any]] = {"device": "scope-1", "ts": _AT, "log_seq": 1423}
_COUNTS: Final[dict[str, Any]] = {
    "session": _SESSION, "fnrbc": 24, "leukocytes": 412, "other": 31, "indeterminate": 3, "cells": 470,
    "fnrbc_per_100_leukocytes": 5.8252, "ci95_low": 3.6897, "ci95_high": 8.7902, "leukocytes_to_go": 1210,
    "claim": "above_blank", "claim_per_100_leukocytes": 5.7113, "claim_ci95_low": 3.4021, "claim_ci95_high": 8.9034,
    "limit_of_blank": 5, "claim_source": "shipped", "provisional": "", "verified": False, "frames": 2298,
    "frames_used": 2101, "frames_rejected": 197, "frames_dropped": 12, "islands": 1, "area_mm2": 4.2184,
    "revisit_share": 0.0712, "cells_open": 0, "elapsed_s": 187.4,
}  # fmt: skip
_RESULT: Final[dict[str, Any]] = {
    "session": _SESSION, "event": "signed", "version": 1, "verified": True, "kind": "sample", "specimen": _SPECIMEN,
    "fnrbc": 21, "leukocytes": 415, "leukocytes_by_machine": 409, "other": 3, "fnrbc_per_100_leukocytes": 5.0602,
    "ci95_low": 3.099, "ci95_high": 7.8383, "claim": "above_blank", "claim_per_100_leukocytes": 5.1943,
    "claim_ci95_low": 3.0112, "claim_ci95_high": 8.2046, "limit_of_blank": 5, "claim_source": "shipped",
    "candidates": 27, "reviewed": 27, "complete": True, "machine_fnrbc": 24, "machine_leukocytes": 412,
    "machine_indeterminate": 3, "machine_cells": 470, "machine_per_100_leukocytes": 5.8252, "area_mm2": 4.2184,
    "frames_used_share": 0.9143, "signed_by": "carla", "signed": _AT, "started": "2026-03-02T09:05:12.000Z",
    "finished": "2026-03-02T09:08:19.400Z", "bundle": _BUNDLE, "software": _SOFTWARE, "chain_link": 3127,
    "chain_hash": _HASH,
}  # fmt: skip
_COMMAND: Final[dict[str, Any]] = {"id": "c0ffee-17", "ts": _AT}


def examples() -> dict[str, Any]:
    """An example by the name of each channel whose messages are JSON."""
    made: dict[str, payloads.Payload] = {
        "status": states.StatusNow(
            **_STATE, software=_SOFTWARE, bundle=_BUNDLE, camera="uvc 046d:0825", boot_id="0b51a4c5", backlog=0,
            epoch="9f86d081884c7d65", clock_sync=True, cert_days_left=211,
        ),
        "session": states.SessionNow(
            **_STATE, session=_SESSION, state="running", started="2026-03-02T09:05:12.000Z", specimen=_SPECIMEN
        ),
        "tally": states.TallyNow(**_STATE, **_COUNTS, state="running"),
        "health": states.HealthNow(
            **_STATE, state="degraded", reasons="pan_too_fast", fps=29.8, latency_ms_p50=21.4, latency_ms_p95=38.2,
            sharpness=0.82, exposure_ms=0.1, pan_um_s=140.2, gpu_temp_c=51.5, cpu_temp_c=48.0, throttled=False,
            mem_used_mb=812.3, disk_free_mb=51230.1, backlog=0,
        ),
        "summary": states.SummaryNow(
            **_STATE, **_COUNTS, bundle=_BUNDLE, software=_SOFTWARE, started="2026-03-02T09:05:12.000Z",
            finished="2026-03-02T09:08:19.400Z", complete=True,
        ),
        "result": ResultNow(**_STATE, **_RESULT),
        "log_cell": log_records.CellRecord(
            **_ENVELOPE, cell_id=118, event="counted", class_name="fnrbc", role="target", probability=0.9731,
            target_probability=0.9731, x_um=812.4, y_um=220.1, diameter_um=10.3, views=3, island=0, bundle=_BUNDLE,
            review="unverified", reason="evidence complete",
        ),
        "log_session": log_records.SessionRecord(
            **_ENVELOPE, event="finished", software=_SOFTWARE, bundle=_BUNDLE, source="uvc 046d:0825",
            pixel_size_um=0.086, specimen=_SPECIMEN, cells=470, fnrbc=24, leukocytes=412, other=31, indeterminate=3,
            frames=2298, frames_used=2101, complete=True, chain_link=3126, chain_hash=_HASH,
        ),
        "log_audit": answers.AuditRecord(
            **_ENVELOPE, user="carla", verb="sign", request="", outcome="accepted", code="",
            detail="27 of 27 candidates reviewed", chain_link=3126, chain_hash=_HASH,
        ),
        "log_alarm": log_records.AlarmRecord(
            **_ENVELOPE, code="camera_lost", event="raised", detail="The camera is gone: plug it in again."
        ),
        "log_result": ResultRecord(**_ENVELOPE, **{name: one for name, one in _RESULT.items() if name != "session"}),
        "alarm": states.AlarmNow(
            **_STATE, code="camera_lost", active=True, detail="The camera is gone: plug it in again."
        ),
        "reply": answers.Reply(
            device="scope-1", ts=_AT, request="c0ffee-17", verb="stop", accepted=True, code="", reason="",
            state="stopping", epoch="9f86d081884c7d65", log_seq=1423, oldest_seq=1,
        ),
    }  # fmt: skip
    commands = {f"cmd_{verb}": _COMMAND for verb in ("pause", "resume", "stop", "ping")} | {
        "cmd_start": {**_COMMAND, "kind": "sample"},
        "cmd_mark": {**_COMMAND, "note": "another field"},
        "cmd_replay": {**_COMMAND, "epoch": "9f86d081884c7d65", "from_seq": 1200, "to_seq": 1423},
    }
    return {name: json.loads(payload.to_json()) for name, payload in made.items()} | commands
