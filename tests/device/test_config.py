"""The configuration: defaults that work, and one sentence for whatever is wrong."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from fnrbc_device.config import DEFAULT_PATH, Config, load_config
from fnrbc_device.errors import ConfigError

WHOLE = """
state_dir = "/srv/fnrbc"
bundle = "/srv/bundle.zip"

[camera]
kind = "replay"
path = "/srv/frames"
pixel_size_um = 0.125
fps = 15.0
seed = 3

[mqtt]
ca_file = "/etc/fnrbc/ca.pem"
host = "broker.example"
port = 8883
device = "scope-2"

[web]
enabled = false
port = 0
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fnrbc.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.exit_code == 78
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_every_value_of_a_whole_file_is_taken(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, WHOLE))

    assert (config.state_dir, config.bundle) == (Path("/srv/fnrbc"), Path("/srv/bundle.zip"))
    assert (config.camera.kind, config.camera.path) == ("replay", Path("/srv/frames"))
    assert (config.camera.pixel_size_um, config.camera.fps, config.camera.seed) == (0.125, 15.0, 3)
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.device) == ("broker.example", 8883, "scope-2")
    assert (config.web.enabled, config.web.port, config.web.host) == (False, 0, "127.0.0.1")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "")) == Config()


@pytest.mark.skipif(DEFAULT_PATH.exists(), reason=f"{DEFAULT_PATH} exists here")
def test_where_there_is_no_file_the_defaults_hold() -> None:
    config = load_config(None)

    assert config == Config()
    assert config.camera.kind == "simulated"


@pytest.mark.parametrize(
    ("text", "name", "cure"),
    [
        ('stat_dir = "/srv"', "stat_dir", "did you mean state_dir?"),
        ("[camera]\npixel_size = 0.1", "camera.pixel_size", "did you mean pixel_size_um?"),
        ('[mqtt]\nhots = "x"', "mqtt.hots", "did you mean host?"),
        ("[wbe]\nport = 1", "wbe", "did you mean web?"),
        ("[web]\nqqqq = 1", "web.qqqq", "known are enabled, cert_file, key_file, host, port"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known(tmp_path: Path, text: str, name: str, cure: str) -> None:
    sentence = refused(written(tmp_path, text))

    assert f"{name} is unknown" in sentence
    assert cure in sentence


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("[camera]\npixel_size_um = 0", "camera.pixel_size_um", "0"),
        ("[camera]\npixel_size_um = nan", "camera.pixel_size_um", "nan"),
        ("[camera]\nfps = 0.1", "camera.fps", "0.1"),
        ('[camera]\nkind = "webcam"', "camera.kind", "'webcam'"),
        ("[camera]\nseed = -1", "camera.seed", "-1"),
        ("[web]\nport = 70000", "web.port", "70000"),
        ('[web]\nhost = "0.0.0.0"', "web.host", "'0.0.0.0'"),
        ('[web]\nhost = "example.org"', "web.host", "'example.org'"),
        ('[web]\nkey_file = "k"', "web.key_file", "'k'"),
        ('[web]\nlogin = "never"', "web.login", "'never'"),
        ('[web]\nnames = ["a b"]', "web.names.0", "'a b'"),
        ("[mqtt]\nport = 0", "mqtt.port", "0"),
        ('[mqtt]\ndevice = "a/b"', "mqtt.device", "'a/b'"),
        ("bundle = 7", "bundle", "7"),
        ('camera = "here"', "camera", "'here'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_name_and_the_value(
    tmp_path: Path, text: str, name: str, value: str
) -> None:
    assert f"{name} is {value}, but " in refused(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in refused(tmp_path / "nowhere.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize("text", ["[camera", "fps: 30", "a = 1\na = 2"])
def test_what_is_no_toml_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    sentence = refused(written(tmp_path, text))

    assert "is no TOML" in sentence
    assert "line" in sentence


def test_bytes_that_are_no_text_are_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "fnrbc.toml"
    path.write_bytes(b"\xff\xfe\x00")

    assert "is no TOML" in refused(path)


def test_a_configuration_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Config().state_dir = Path("/elsewhere")  # type: ignore[misc]


def test_the_fingerprint_names_the_values(tmp_path: Path) -> None:
    same, other = written(tmp_path, WHOLE), load_config(written(tmp_path, WHOLE.replace("15.0", "16.0")))
    config = load_config(written(tmp_path, WHOLE))

    assert load_config(same).fingerprint() == config.fingerprint()
    assert other.fingerprint() != config.fingerprint()
    assert len(config.fingerprint()) == 64


def test_the_shipped_example_says_what_the_defaults_are() -> None:
    example = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "fnrbc.example.toml"

    assert load_config(example) == Config()


def test_the_example_of_a_laboratory_asks_for_controls() -> None:
    laboratory = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "fnrbc.laboratory.toml"

    rules = load_config(laboratory).quality.rules()
    assert rules.asked
    assert set(rules.assigned) == {"low", "high"}
