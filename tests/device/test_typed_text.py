"""Text that people typed is read as their editor wrote it, or refused in one sentence."""

import pytest

from fnrbc_device.config import load_config
from fnrbc_device.errors import ConfigError
from fnrbc_device.host.text_file import text_of
from fnrbc_device.mqtt.settings import MqttSettings

WORDS = 'site = "lab"  # µm, Größe 3 €\n'


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_whatever_an_editor_wrote_is_the_same_text(encoding):
    content = WORDS.encode(encoding)

    assert text_of(content) == WORDS


def test_older_linux_wrote_latin_1():
    assert text_of("Größe\x81".encode("latin-1")) == "Größe\x81"


@pytest.mark.parametrize("content", [b"\x00\x01\x02\x03\x00\x00", b"\xff\xfea", b"\x7fELF\x02\x01\x01" + bytes(20)])
def test_what_is_no_text_is_refused(content):
    with pytest.raises(ValueError, match=r"zero characters|decode"):
        text_of(content)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_configuration_is_read_as_it_was_saved(tmp_path, encoding, newline):
    text = f'# Größe in µm{newline}[mqtt]{newline}site = "north"{newline}[[objectives]]{newline}'
    path = tmp_path / "fnrbc.toml"
    path.write_bytes(f'{text}name = "40x Öl"{newline}pixel_size_um = 0.1{newline}'.encode(encoding))

    config = load_config(path)

    assert (config.mqtt.site, config.objectives[0].name) == ("north", "40x Öl")


def test_a_configuration_that_is_no_text_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "fnrbc.toml"
    path.write_bytes(bytes(range(256)))

    with pytest.raises(ConfigError, match=r"fnrbc\.toml is no TOML: ") as refused:
        load_config(path)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 78


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252", "latin-1"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_is_the_one_that_was_typed(tmp_path, encoding, end):
    path = tmp_path / "password"
    path.write_bytes(f"paßwört §7{end}".encode(encoding))

    assert MqttSettings(username="scope", password_file=path).password() == "paßwört §7"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(20), "is no text"),
        (b"\xff\xfe", "has 0 bytes"),
        (b" \r\n", "has 0 bytes"),
        ("ß".encode() * 2049, "has 4098 bytes, not 1 to 4096"),
    ],
)
def test_a_file_that_holds_no_password_is_refused_in_one_sentence(tmp_path, content, says):
    path = tmp_path / "password"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=says) as refused:
        MqttSettings(username="scope", password_file=path).password()
    assert "\n" not in str(refused.value)
