"""``fnrbc check``: each fault is found, named and comes with its cure; none hides another."""

import resource
import socket
from datetime import datetime, timezone
from pathlib import Path

import pytest

from answering import ACCEPTED, DAY, NOW, WRONG_VERSION, Authority, level, server, tls, welcome
from fnrbc_device.commands.check import check
from fnrbc_device.commands.check_laboratory import look_at_laboratory
from fnrbc_device.config import Config, load_config
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.laboratory.settings import LaboratorySettings
from fnrbc_device.mqtt.settings import MqttSettings
from older_bundle import bundle_without_eyes


@pytest.fixture
def findings(tmp_path: Path):
    def look(text: str = "", state: str = "state", first: str = "") -> dict[str, tuple[str, str]]:
        (tmp_path / "state").mkdir(exist_ok=True)
        path = tmp_path / "fnrbc.toml"
        replay = f'[camera]\nkind = "replay"\npath = "{picture(tmp_path)}"\npixel_size_um = 0.125\n'
        camera = "" if "[camera]" in text else replay
        path.write_text(f'state_dir = "{tmp_path / state}"\n{first}{camera}{text}', encoding="utf-8")
        return {one.what: (one.state, one.words) for one in check(load_config(path))}

    return look


def picture(folder: Path) -> Path:
    import cv2
    import numpy as np

    path = folder / "frame.png"
    cv2.imwrite(str(path), np.full((96, 128, 3), 200, np.uint8))
    return path


def test_everything_is_looked_at_and_what_is_well_is_said(findings, tmp_path):
    found = findings("[mqtt]\nenabled = false\n")

    assert list(found) == [
        "configuration",
        "disk",
        "clock",
        "bundle",
        "gpu",
        "camera",
        "slides",
        "panel",
        "certificate",
        "broker",
        "secret",
        "laboratory",
        "page",
        "temperature",
    ]
    assert {found[name][0] for name in ("configuration", "disk", "bundle", "camera")} == {"ok"}
    assert {found[name][0] for name in ("gpu", "panel", "broker", "secret", "laboratory")} == {"not used"}


def test_a_missing_state_folder_and_a_silent_broker_are_both_found(findings, free_port):
    found = findings(f"[mqtt]\nport = {free_port}\n", state="nowhere")

    assert found["disk"][0] == "fault"
    assert found["disk"][1].endswith("does not exist; make it, and give it to the daemon's user")
    assert found["broker"][0] == "warning"
    assert found["broker"][1].endswith("start it there, or mend host and port; counting goes on without it")


def test_a_bundle_without_the_network_that_shall_find_the_cells_is_a_fault(findings, tmp_path):
    bundle = f'bundle = "{bundle_without_eyes(tmp_path / "older")}"\n'

    assert findings(method_of("network"), first=bundle)["bundle"][0] == "fault"
    assert findings(method_of("both"), first=bundle)["bundle"][0] == "ok"


def method_of(name: str) -> str:
    return f'[seeing]\nmethod = "{name}"\n[mqtt]\nenabled = false\n'


def test_too_little_room_is_a_fault(findings):
    state, words = findings("[record]\nleast_free_mb = 1000000\n[mqtt]\nenabled = false\n")["disk"]

    assert state == "fault"
    assert "below the limit of 1000000; free some" in words


def broker_of(findings, port, more=""):
    return findings(f"[mqtt]\nport = {port}\n{more}")["broker"]


def test_a_broker_that_lets_us_in_over_mqtt_5_is_well(findings, mosquitto):
    assert broker_of(findings, mosquitto.port) == (
        "ok", f"127.0.0.1 port {mosquitto.port} speaks MQTT 5 and let this device in"
    )  # fmt: skip


def test_a_port_that_only_opens_is_not_enough(findings):
    with server(lambda said: b"") as port:
        state, words = broker_of(findings, port)

    assert state == "warning"
    assert "hung up before its welcome" in words


def test_a_broker_of_mqtt_3_is_a_fault(findings):
    with server(lambda said: ACCEPTED if level(said) == 4 else WRONG_VERSION) as port:
        state, words = broker_of(findings, port)

    assert (state, "speaks MQTT 3.1.1 and no MQTT 5" in words) == ("fault", True)


def test_a_wrong_password_is_a_fault(findings, make_mosquitto):
    broker = make_mosquitto()
    broker.stop()
    config = broker._folder / "mosquitto.conf"
    config.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    broker.start()
    state, words = broker_of(findings, broker.port, 'username = "scope"\n')

    assert (state, "does not let user scope in" in words) == ("fault", True)


def test_a_check_beside_a_running_daemon_neither_throws_it_out_nor_calls_it_offline(findings, mosquitto, listen):
    daemon = listen(mosquitto.port, client_id=MqttSettings().client_id())

    assert broker_of(findings, mosquitto.port)[0] == "ok"

    assert daemon._client.is_connected()
    assert daemon.heard == []


def certificates_of(findings, ca, port, more=""):
    found = findings(f'[mqtt]\nport = {port}\nca_file = "{ca.path}"\n{more}')
    return found["certificate"], found["broker"][0]


def test_certificates_that_are_good_are_said_to_be_good_until_a_day(findings, tmp_path):
    ca = Authority(tmp_path / "pki")
    with server(welcome, tls(*ca.sign("broker", end=NOW + 100 * DAY))) as port:
        found = certificates_of(findings, ca, port)

    assert found == (("ok", f"all are good until {NOW + 100 * DAY:%Y-%m-%d} at least"), "ok")


@pytest.mark.parametrize(
    ("whose", "start", "end", "state", "says"),
    [
        ("broker", NOW - 9 * DAY, NOW - DAY, "fault", "the certificate of the broker at 127.0.0.1:"),
        ("broker", NOW + DAY, NOW + 9 * DAY, "fault", "set the clock, or wait"),
        ("broker", NOW - DAY, NOW + 9.5 * DAY, "warning", "ends in 9 days, the limit is 30"),
        ("scope", NOW - 9 * DAY, NOW - DAY, "fault", "this device's certificate "),
        ("scope", NOW - 9 * DAY, NOW + 5.5 * DAY, "warning", "ends in 5 days, the limit is 30"),
    ],
)
def test_a_certificate_out_of_its_time_is_named_with_its_day(findings, tmp_path, whose, start, end, state, says):
    ca = Authority(tmp_path / "pki")
    times = {"start": NOW - 9 * DAY, "end": NOW + 90 * DAY}
    scope, key = ca.sign("scope", **({"start": start, "end": end} if whose == "scope" else times))
    broker = ca.sign("broker", **({"start": start, "end": end} if whose == "broker" else times))
    with server(welcome, tls(*broker)) as port:
        found, _ = certificates_of(findings, ca, port, f'cert_file = "{scope}"\nkey_file = "{key}"\n')

    assert found[0] == state
    assert says in found[1]


def test_a_clock_in_1970_is_a_fault(findings, monkeypatch):
    monkeypatch.setattr(SystemClock, "utc", lambda self: datetime(1970, 1, 1, tzinfo=timezone.utc))
    state, words = findings("[mqtt]\nenabled = false\n")["clock"]

    assert state == "fault"
    assert "this machine's clock says 1970-01-01, before this software was made" in words


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o644, "fault"), (0o640, "fault")])
def test_a_secret_that_others_can_read_is_a_fault(findings, tmp_path, mode, state):
    secret = tmp_path / "password"
    secret.write_text("secret")
    secret.chmod(mode)

    assert findings(f'[mqtt]\nenabled = false\npassword_file = "{secret}"\n')["secret"][0] == state


def test_a_camera_that_is_not_there_is_a_fault_with_its_cure(findings, monkeypatch):
    monkeypatch.setattr("fnrbc_device.commands.check.CAMERA_S", 0.5)
    text = '[camera]\nkind = "uvc"\ndevice = "usb-nobody"\npixel_size_um = 0.1\n[mqtt]\nenabled = false\n'

    assert findings(text)["camera"] == (
        "fault",
        "uvc usb-nobody gave no picture in 0 s; camera /dev/v4l/by-id/usb-nobody cannot be opened; plug it in, or mend "
        "camera.device: there is none of that name, see /dev/v4l/by-id",
    )


def test_recorded_frames_that_cannot_be_read_are_a_fault(findings, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "1.png").write_bytes(b"no picture")
    text = f'[camera]\nkind = "replay"\npath = "{frames}"\npixel_size_um = 0.1\n[mqtt]\nenabled = false\n'

    state, words = findings(text)["camera"]

    assert (state, "1.png" in words) == ("fault", True)


def test_recorded_frames_of_which_nobody_knows_the_pixel_size_are_a_fault(findings, tmp_path):
    text = f'[camera]\nkind = "replay"\npath = "{picture(tmp_path)}"\n[mqtt]\nenabled = false\n'

    state, words = findings(text)["camera"]

    assert (state, "give camera.pixel_size_um" in words) == ("fault", True)


def test_a_frame_is_taken_and_its_size_said(findings):
    assert findings("[mqtt]\nenabled = false\n")["camera"][1].endswith("gives pictures of 128x96, 0.125 um a pixel")


def test_a_page_whose_port_is_taken_is_warned_of(findings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        state, words = findings(f"[mqtt]\nenabled = false\n[web]\nport = {port}\n")["page"]

    assert (state, f"port {port} of 127.0.0.1 is taken" in words) == ("warning", True)


def test_the_engine_is_proved_and_one_that_fails_its_proof_is_a_fault(findings, fake_gpu, monkeypatch):
    text = '[inference]\nruntime = "tensorrt"\n[mqtt]\nenabled = false\n'
    state, words = findings(text)["gpu"]
    assert state == "ok"
    assert words.endswith("engine-1.plan reproduces the golden crops, TensorRT 10.3.0, engine-1.plan the golden frames")

    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "channels")
    state, words = findings(text)["gpu"]
    assert (state, "until then onnxruntime counts" in words) == ("fault", True)


def test_a_live_camera_without_its_pixel_size_is_a_fault(findings):
    state, words = findings('[camera]\nkind = "uvc"\ndevice = "x"\n[mqtt]\nenabled = false\n')["camera"]

    assert state == "fault"
    assert "camera.pixel_size_um is missing" in words


def test_a_gpu_that_is_wanted_and_missing_is_a_fault(findings):
    assert findings('[inference]\nruntime = "tensorrt"\n[mqtt]\nenabled = false\n')["gpu"][0] == "fault"


def test_pins_come_with_a_word_on_their_pinmux(findings):
    pytest.importorskip("gpiozero", reason="gpiozero is not installed")
    state, words = findings('[panel]\npins = "mock"\n[mqtt]\nenabled = false\n')["panel"]

    assert (state, "pinmux" in words) == ("warning", True)


QUIET = "[mqtt]\nenabled = false\n"


def laboratory_of(findings, folder):
    return findings(f'{QUIET}[laboratory]\nfolder = "{folder}"\nforms = ["hl7", "fhir"]\n')["laboratory"]


def test_a_laboratory_folder_that_takes_files_is_well_and_stays_as_it_was(findings, tmp_path):
    folder = tmp_path / "lis"
    folder.mkdir()
    state, words = laboratory_of(findings, folder)

    assert (state, words.startswith(f"signed results go to {folder} as HL7 and FHIR; ")) == ("ok", True)
    assert list(folder.iterdir()) == []


def test_a_laboratory_folder_that_is_not_there_is_a_fault(findings, tmp_path):
    state, words = laboratory_of(findings, tmp_path / "lis")
    assert (state, words) == (
        "fault", f"{tmp_path / 'lis'} does not exist; make or mount it, or mend laboratory.folder",
    )  # fmt: skip
    (tmp_path / "lis").write_text("a file", encoding="utf-8")
    assert "lis is no folder; " in laboratory_of(findings, tmp_path / "lis")[1]


def test_a_laboratory_folder_without_room_is_a_fault(findings):
    state, words = laboratory_of(findings, "/proc")  # a mount of no size at all

    assert (state, words.startswith("0 MB are free for /proc, and a result needs room")) == ("fault", True)


def test_a_laboratory_folder_that_takes_no_file_is_a_fault_with_its_reason(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "lis").mkdir()
    config = Config(state_dir=tmp_path / "state", laboratory=LaboratorySettings(folder=tmp_path / "lis"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        found = look_at_laboratory(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    cure = "let this device's user write there; until then signed results wait"
    assert (found.state, found.words) == ("fault", f"{tmp_path / 'lis'} takes no file (File too large); {cure}")
    assert list((tmp_path / "lis").iterdir()) == []
