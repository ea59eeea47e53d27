"""A broker that cannot be used: its cause is named, not the likeliest one guessed. Each is a real server here."""

import ssl
from datetime import datetime, timedelta, timezone

import pytest

from answering import ACCEPTED, DAY, NOW, WRONG_LOGIN, WRONG_VERSION, Authority, level, server, tls, welcome
from fnrbc_device.errors import BrokerRefusedError, PublishError
from fnrbc_device.mqtt.certificates import validity_of
from fnrbc_device.mqtt.connection import Connection
from fnrbc_device.mqtt.diagnosis import untrusted
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.mqtt.wakeup import Wakeup


def opened(port, **settings):
    wakeup = Wakeup()
    try:
        with Connection(MqttSettings(port=port, **settings), wakeup) as connection:
            connection.open(lambda: False)
    finally:
        wakeup.close()


def why(port, **settings):
    with pytest.raises(PublishError) as refused:
        opened(port, **settings)
    words = str(refused.value)
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    "answer",
    [
        lambda said: ACCEPTED if level(said) == 4 else WRONG_VERSION,
        lambda said: ACCEPTED if level(said) == 4 else b"",
        lambda said: WRONG_LOGIN if level(said) == 4 else b"",
        lambda said: ACCEPTED,
        lambda said: WRONG_LOGIN,
    ],
    ids=["says so", "hangs up", "hangs up and wants a login", "takes all for its own", "refuses all as its own"],
)
def test_a_broker_of_mqtt_3_is_named_as_that_and_no_password_is_blamed(answer):
    with server(answer) as port:
        words = why(port, username="scope")

    assert "speaks MQTT 3.1.1 and no MQTT 5" in words
    assert "password" not in words


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0x84, "speaks MQTT 3.1.1 and no MQTT 5"),
        (0x85, "does not take our client id fnrbc-"),
        (0x86, "mend username or password_file"),
        (0x87, "mend username, password_file or its access list"),
        (0x89, "refused us for now (Server busy); it is tried again"),
        (0x8A, "has banned user scope"),
        (0x9A, "keeps no retained messages"),
        (0x9D, "has moved; mend mqtt.host"),
    ],
)
def test_each_refusal_has_its_own_cure(code, says):
    with server(lambda said: bytes([0x20, 3, 0, code, 0])) as port:
        assert says in why(port, username="scope")


def test_a_web_server_is_named(free_port):
    with server(lambda said: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "a web server is there" in why(port)


def test_something_else_is_said_to_be_no_mqtt():
    with server(lambda said: b"SSH-2.0-OpenSSH_9.6\r\n") as port:
        assert "what answers there is no MQTT" in why(port)


def test_a_name_without_an_address_is_named(tmp_path, ca):
    assert "has no address" in why(8883, host="nobody.invalid", ca_file=ca.path)


def test_a_broker_of_mqtt_5_that_hangs_up_is_not_called_old():
    answers = iter([b""])
    with server(lambda said: next(answers, bytes([0x20, 3, 0, 0, 0]))) as port:
        assert "though it speaks MQTT 5" in why(port)


@pytest.fixture
def ca(tmp_path):
    return Authority(tmp_path / "pki")


def test_over_tls_with_the_right_certificate_it_opens(ca):
    with server(welcome, tls(*ca.sign("broker"))) as port:
        opened(port, ca_file=ca.path)


def test_a_certificate_that_ended_is_said_to_have_ended_with_its_day(ca):
    path, key = ca.sign("broker", end=NOW - DAY)
    with server(welcome, tls(path, key)) as port:
        words = why(port, ca_file=ca.path)

    assert f"its certificate ended on {validity_of(path)[1]:%Y-%m-%d}, and this machine's clock says" in words
    assert "authority" not in words


def test_a_certificate_for_another_name_is_said_to_be_that(ca):
    with server(welcome, tls(*ca.sign("broker", alt=("broker.example",)))) as port:
        words = why(port, ca_file=ca.path)

    assert "its certificate is for another name than 127.0.0.1" in words
    assert "ended" not in words


def test_another_authoritys_certificate_is_said_to_be_that(ca, tmp_path):
    other = Authority(tmp_path / "other")
    with server(welcome, tls(*other.sign("broker"))) as port:
        words = why(port, ca_file=ca.path)

    assert "signed by another authority than that of" in words
    assert "ended" not in words


def test_a_port_without_tls_is_said_to_have_none(ca):
    with server(lambda said: bytes([0x20, 2, 0, 1])) as port:
        words = why(port, ca_file=ca.path)

    assert "speaks no TLS at this port" in words
    assert "certificate" not in words


def test_a_port_with_tls_spoken_to_in_plain_text_is_said_to_want_it(ca):
    with server(welcome, tls(*ca.sign("broker"))) as port:
        assert "it speaks TLS at this port; set ca_file" in why(port)


def test_a_broker_that_wants_our_certificate_says_that(ca):
    with server(welcome, tls(*ca.sign("broker"), ca.path)) as port:
        words = why(port, ca_file=ca.path)

    assert "certificate" in words
    assert "cert_file" in words


def test_our_own_certificate_that_ended_is_named(ca):
    path, key = ca.sign("scope", end=NOW - 2 * DAY)
    with server(welcome, tls(*ca.sign("broker"), ca.path)) as port:
        words = why(port, ca_file=ca.path, cert_file=path, key_file=key)

    assert f"this device's certificate {path} ended on" in words


def not_valid(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "certificate is not yet valid"
    return error


@pytest.mark.parametrize("code", [9, 10])
def test_a_clock_in_1970_is_named_and_no_certificate(ca, code):
    settings = MqttSettings(ca_file=ca.path)
    words = str(untrusted(settings, not_valid(code), datetime(1970, 1, 1, 0, 3, tzinfo=timezone.utc)))

    assert "this machine's clock says 1970-01-01, before this software was made" in words
    assert "ended" not in words


@pytest.mark.parametrize("ahead", [timedelta(hours=2), 400 * DAY])
def test_a_certificate_from_later_on_is_told_with_its_time_and_the_clocks(ca, ahead):
    path, key = ca.sign("broker", start=NOW + ahead, end=NOW + 2 * ahead)
    with server(welcome, tls(path, key)) as port:
        words = why(port, ca_file=ca.path)

    assert f"its certificate is good from {NOW + ahead:%Y-%m-%d %H:%M} UTC on, and this machine's clock says" in words
    assert "set the clock, or wait" in words


def test_the_authoritys_own_end_is_told_from_the_brokers(tmp_path):
    ended = Authority(tmp_path / "ended", end=NOW - DAY)
    with server(welcome, tls(*ended.sign("broker"))) as port:
        words = why(port, ca_file=ended.path)

    assert f"the authority's certificate {ended.path} ended on" in words


def test_a_refusal_is_a_refusal_and_an_absence_is_none(free_port):
    with server(lambda said: bytes([0x20, 3, 0, 0x87, 0])) as port, pytest.raises(BrokerRefusedError):
        opened(port)
    with pytest.raises(PublishError, match="cannot be reached") as away:
        opened(free_port)
    assert not isinstance(away.value, BrokerRefusedError)
