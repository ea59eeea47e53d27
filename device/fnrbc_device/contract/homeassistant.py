"""Home Assistant's discovery: one retained message that makes a device with its sensors appear there."""

import json
from typing import Any, Final

import fnrbc_device
from fnrbc_device.contract.topics import AVAILABILITY, HEALTH, SESSION, TALLY, Delivery, Topics
from fnrbc_device.texts import RESEARCH_USE_ONLY

DISCOVERY: Final = Delivery(qos=1, retain=True)

_SENSORS: Final[tuple[tuple[str, str, str, dict[str, str]], ...]] = (
    ("fnrbc", "fNRBC", TALLY, {"icon": "mdi:counter"}),
    ("leukocytes", "Leukocytes", TALLY, {"icon": "mdi:counter"}),
    ("indeterminate", "Indeterminate", TALLY, {"icon": "mdi:help-circle-outline"}),
    ("fnrbc_per_100_leukocytes", "fNRBC per 100 leukocytes", TALLY, {"suggested_display_precision": "2"}),
    ("ci95_low", "95 % interval, low", TALLY, {"suggested_display_precision": "2"}),
    ("ci95_high", "95 % interval, high", TALLY, {"suggested_display_precision": "2"}),
    ("area_mm2", "Area seen", TALLY, {"unit_of_measurement": "mm²"}),
    ("state", "Session", SESSION, {"icon": "mdi:microscope"}),
    ("reasons", "Health", HEALTH, {"icon": "mdi:heart-pulse"}),
    ("fps", "Frames a second", HEALTH, {"unit_of_measurement": "1/s", "entity_category": "diagnostic"}),
    ("backlog", "Records waiting", HEALTH, {"entity_category": "diagnostic"}),
)
"""Field, name, topic and what else Home Assistant wants to know. Tallies start anew with each session, so none of them
is declared as ever rising."""


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


def _sensor(identity: str, topics: Topics, field: str, name: str, suffix: str, more: dict[str, str]) -> dict[str, Any]:
    sensor: dict[str, Any] = {
        "platform": "sensor",
        "unique_id": f"{identity}/{suffix}/{field}",
        "name": name,
        "state_topic": topics.full(suffix),
        # What is null in the message is unknown there, not the word None.
        "value_template": f"{{{{ value_json.{field} if value_json.{field} is not none else 'unknown' }}}}",
        **more,
    }
    if "suggested_display_precision" in more:
        sensor["suggested_display_precision"] = int(more["suggested_display_precision"])
    return sensor
