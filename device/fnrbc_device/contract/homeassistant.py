"""Home Assistant's discovery: one retained message that makes a device with its sensors appear there."""

import json
from typing import Any, Final

import fnrbc_device
from fnrbc_device.contract.topics import AVAILABILITY, HEALTH, RESULT, SESSION, TALLY, Delivery, Topics
from fnrbc_device.texts import RESEARCH_USE_ONLY

DISCOVERY: Final = Delivery(qos=1, retain=True)

_MEASURED: Final = {"state_class": "measurement"}
"""Home Assistant keeps long-term statistics of what is declared so. Tallies start anew with each session: none of them
is declared as ever rising."""

_PRECISE: Final = {**_MEASURED, "suggested_display_precision": 2}

_SENSORS: Final[tuple[tuple[str, str, str, dict[str, Any]], ...]] = (
    ("fnrbc", "fNRBC", TALLY, {**_MEASURED, "icon": "mdi:counter"}),
    ("leukocytes", "Leukocytes", TALLY, {**_MEASURED, "icon": "mdi:counter"}),
    ("indeterminate", "Indeterminate", TALLY, {**_MEASURED, "icon": "mdi:help-circle-outline"}),
    ("fnrbc_per_100_leukocytes", "fNRBC per 100 leukocytes", TALLY, _PRECISE),
    ("ci95_low", "95 % interval, low", TALLY, _PRECISE),
    ("ci95_high", "95 % interval, high", TALLY, _PRECISE),
    ("area_mm2", "Area seen", TALLY, {**_MEASURED, "unit_of_measurement": "mm²"}),
    ("fnrbc", "Verified fNRBC", RESULT, {**_MEASURED, "icon": "mdi:check-decagram"}),
    ("leukocytes", "Verified leukocytes", RESULT, {**_MEASURED, "icon": "mdi:check-decagram"}),
    ("fnrbc_per_100_leukocytes", "Verified fNRBC per 100 leukocytes", RESULT, _PRECISE),
    ("ci95_low", "Verified 95 % interval, low", RESULT, _PRECISE),
    ("ci95_high", "Verified 95 % interval, high", RESULT, _PRECISE),
    ("event", "Last result", RESULT, {"icon": "mdi:check-decagram"}),
    ("session", "Session of the last result", RESULT, {"icon": "mdi:microscope"}),
    ("signed_by", "Signed off by", RESULT, {"icon": "mdi:account-check"}),
    ("signed", "Signed off at", RESULT, {"device_class": "timestamp"}),
    ("state", "Session", SESSION, {"icon": "mdi:microscope"}),
    ("reasons", "Health", HEALTH, {"icon": "mdi:heart-pulse"}),
    ("fps", "Frames a second", HEALTH, {**_MEASURED, "unit_of_measurement": "1/s", "entity_category": "diagnostic"}),
    ("backlog", "Records waiting", HEALTH, {**_MEASURED, "entity_category": "diagnostic"}),
)
"""Field, name, topic and what else Home Assistant wants to know."""


def discovery_topic(topics: Topics) -> str:
    """Where Home Assistant looks, with its default prefix: the site is its node, so that no other site writes there."""
    return f"homeassistant/device/{topics.site}/{topics.device}/config"


def discovery(topics: Topics) -> str:
    """Describe a device and its sensors.

    Parameters
    ----------
    topics
        Whose.

    Returns
    -------
    str
        JSON of Home Assistant's device discovery, understood since its version 2024.11.
    """
    # The slash stands in no name: joined by what does, two sites could come to one identity.
    identity = f"fnrbc/{topics.site}/{topics.device}"
    return json.dumps(
        {
            "device": {
                "identifiers": [identity],
                "name": f"fnrbc {topics.site} {topics.device}",
                "model": f"fNRBC counter. {RESEARCH_USE_ONLY}",
                "sw_version": fnrbc_device.__version__,
            },
            "origin": {"name": "fnrbc", "sw_version": fnrbc_device.__version__},
            "availability": [{"topic": topics.full(AVAILABILITY)}],
            "components": {
                f"{suffix}_{field}": _sensor(identity, topics, field, name, suffix, more)
                for field, name, suffix, more in _SENSORS
            },
        }
    )


def _sensor(identity: str, topics: Topics, field: str, name: str, suffix: str, more: dict[str, Any]) -> dict[str, Any]:
    # What is null in the message is unknown there. A number is made so by the word None, a text by its own.
    nothing = "None" if "state_class" in more or "device_class" in more else "unknown"
    return {
        "platform": "sensor",
        "unique_id": f"{identity}/{suffix}/{field}",
        "name": name,
        "state_topic": topics.full(suffix),
        "value_template": f"{{{{ value_json.{field} if value_json.{field} is not none else '{nothing}' }}}}",
        **more,
    }
