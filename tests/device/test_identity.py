"""Two devices are never one, whatever sites and devices are called: to Home Assistant, to the broker, in its access."""

import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest

from fnrbc_device.contract.homeassistant import discovery, discovery_topic
from fnrbc_device.contract.topics import Topics
from fnrbc_device.mqtt.settings import MqttSettings

MAKE_ACL = Path(__file__).parents[2] / "deploy" / "mqtt" / "make-acl"

PAIRS = [
    (("north", "scope-1"), ("south", "scope-1")),
    (("a_b", "c"), ("a", "b_c")),
    (("a-b", "c"), ("a", "b-c")),
    (("a", "_b"), ("a_", "b")),
    (("lab", "lab"), ("lab", "lab_lab")),
]


def identities(site, device):
    """All by which Home Assistant tells one thing from another."""
    said = json.loads(discovery(Topics(site, device)))
    return {*said["device"]["identifiers"], *(one["unique_id"] for one in said["components"].values())}


@pytest.mark.parametrize("pair", PAIRS)
def test_two_devices_share_no_topic_of_discovery_and_no_identity(pair):
    first, second = pair

    assert discovery_topic(Topics(*first)) != discovery_topic(Topics(*second))
    assert not identities(*first) & identities(*second)


@pytest.mark.parametrize(("site", "device"), [*itertools.chain(*PAIRS)])
def test_the_topic_is_one_that_home_assistant_takes_and_carries_the_site(site, device):
    topic = discovery_topic(Topics(site, device))

    # As Home Assistant reads it: prefix/component/[node/]object/config.
    found = re.fullmatch(r"homeassistant/(\w+)/(?:([a-zA-Z0-9_-]+)/)?([a-zA-Z0-9_-]+)/config", topic)
    assert found is not None
    assert found.groups() == ("device", site, device)


@pytest.mark.parametrize("pair", PAIRS)
def test_two_devices_on_one_machine_are_two_clients_of_the_broker(pair):
    names = {MqttSettings(site=site, device=device).client_id() for site, device in pair}

    assert len(names) == 2


def test_a_device_is_the_same_client_at_every_start():
    assert MqttSettings(site="north").client_id() == MqttSettings(site="north").client_id()


def test_the_access_list_lets_a_device_write_the_discovery_of_its_own_site_alone():
    roster = "device scope-1 north\ndashboard wall south\n"
    made = subprocess.run([MAKE_ACL], input=roster, capture_output=True, text=True, check=True, timeout=10).stdout

    assert re.findall("topic .*homeassistant.*", made) == [
        "topic write homeassistant/device/north/scope-1/config",
        "topic read homeassistant/device/south/+/config",
    ]
