"""What the messages say: flat, of a fixed shape, and in the topics of the contract."""

import json

import pytest
from pydantic import ValidationError

from fnrbc_device.contract.log_records import CellRecord, SessionRecord, cell_fields
from fnrbc_device.contract.states import HealthNow, SessionNow, StatusNow, SummaryNow, TallyNow, count_fields
from fnrbc_device.contract.topics import STATES, Topics
from fnrbc_device.errors import ConfigError
from fnrbc_device.records import Interval, Tally

STATE = {"device": "scope-1", "ts": "2026-03-01T12:00:00.000Z", "log_seq": 7}
ENVELOPE = {
    "device": "scope-1",
    "epoch": "00ff",
    "seq": 7,
    "ts": "2026-03-01T12:00:00.000Z",
    "ts_sync": True,
    "mono_ms": 12,
    "session": "s1",
}
TALLY = Tally(
    cells=50,
    fnrbc=3,
    leukocytes=40,
    other=5,
    indeterminate=2,
    fnrbc_per_100_leukocytes=Interval(7.5, 1.5, 22.0),
    frames=100,
    frames_used=90,
    frames_rejected={"blurred": 7, "too_fast": 3},
    frames_dropped=4,
    islands=1,
    leukocytes_to_go=812,
    unique_area_mm2=1.23456,
    revisit_share=0.123456,
)


def tally_now(**changes):
    fields = {**STATE, "session": "s1", "state": "running", "verified": False, "elapsed_s": 3.0}
    return TallyNow(**{**fields, **count_fields(TALLY), **changes})


def messages(make_step):
    event = make_step(3, [4]).events[0]
    about = {"software": "0.1.0", "bundle": "b"}
    times = {"started": "2026-03-01T12:00:00.000Z", "finished": "2026-03-01T12:10:00.000Z"}
    summary = {"session": "s1", "verified": False, "elapsed_s": 3.0, "complete": True}
    return [
        CellRecord(**ENVELOPE, bundle="b", **cell_fields(event)),
        SessionRecord(**ENVELOPE, **about, event="started", source="simulation", pixel_size_um=0.125),
        StatusNow(
            **STATE, **about, camera="simulation", boot_id="x", epoch="00ff", backlog=0, clock_sync=False
        ),
        SessionNow(**STATE, session="s1", state="running"),
        tally_now(),
        HealthNow(**STATE, state="counting", reasons="focus_lost,too_fast", fps=30.0),
        SummaryNow(**STATE, **about, **times, **summary, **count_fields(TALLY)),
    ]


def test_every_message_is_a_flat_object_of_scalars(make_step):
    for message in messages(make_step):
        fields = json.loads(message.to_json())
        assert all(value is None or isinstance(value, (str, int, float, bool)) for value in fields.values())


def test_every_message_names_its_schema_and_is_read_back_as_it_was(make_step):
    for message in messages(make_step):
        fields = json.loads(message.to_json())
        assert fields["schema"].endswith("/1")
        assert type(message).model_validate(fields) == message


def test_every_state_says_what_it_includes_and_what_it_is_for():
    for message in [tally_now(), SessionNow(**STATE, session="s1", state="idle")]:
        fields = json.loads(message.to_json())
        assert fields["log_seq"] == 7
        assert fields["ruo"] is True


def test_a_field_too_many_is_refused(make_step):
    for message in messages(make_step):
        fields = json.loads(message.to_json())
        with pytest.raises(ValidationError, match="surprise"):
            type(message).model_validate({**fields, "surprise": 1})


def test_a_field_too_few_is_refused():
    fields = json.loads(tally_now().to_json())
    del fields["fnrbc"]
    with pytest.raises(ValidationError, match="fnrbc"):
        TallyNow.model_validate(fields)


@pytest.mark.parametrize(
    "wrong", [{"fnrbc": -1}, {"fnrbc": "many"}, {"ci95_low": float("nan")}, {"state": "asleep"}]
)
def test_a_value_out_of_bounds_is_refused(wrong):
    with pytest.raises(ValidationError):
        tally_now(**wrong)


def test_the_tally_carries_its_interval_and_the_sum_of_what_was_rejected():
    fields = json.loads(tally_now().to_json())
    assert (fields["fnrbc_per_100_leukocytes"], fields["ci95_low"], fields["ci95_high"]) == (7.5, 1.5, 22.0)
    assert fields["frames_rejected"] == 10
    assert fields["area_mm2"] == 1.2346


def test_without_leukocytes_there_is_no_rate():
    fields = json.loads(tally_now(**count_fields(Tally(fnrbc=2, cells=2))).to_json())
    assert fields["fnrbc"] == 2
    assert fields["fnrbc_per_100_leukocytes"] is fields["ci95_low"] is fields["ci95_high"] is None


def test_a_machine_count_is_unverified_until_a_person_has_looked(make_step):
    reviews = [
        cell_fields(make_step(0, [1], event=event).events[0])["review"]
        for event in ("counted", "retracted", "confirmed", "rejected")
    ]
    assert reviews == ["unverified", "unverified", "confirmed", "rejected"]


def test_topics_stand_below_site_and_device():
    assert Topics("lab-2", "scope_1").full("log/cell") == "fnrbc/v1/lab-2/scope_1/log/cell"


@pytest.mark.parametrize("wrong", ["", "Lab", "lab 2", "a/b", "+", "#", "x" * 33, "lab\n", "größe"])
def test_what_cannot_be_part_of_a_topic_is_refused(wrong):
    with pytest.raises(ConfigError, match="1 to 32 of a-z"):
        Topics(wrong, "scope")
    with pytest.raises(ConfigError, match="1 to 32 of a-z"):
        Topics("lab", wrong)


def test_every_state_is_retained_and_only_health_may_be_lost():
    assert all(delivery.retain for delivery in STATES.values())
    assert [suffix for suffix, delivery in STATES.items() if delivery.qos == 0] == ["health"]
