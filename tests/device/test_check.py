"""``fnrbc check``: each fault is found, named and comes with its cure; none hides another."""

import socket
from pathlib import Path

import pytest

from fnrbc_device.commands.check import check
from fnrbc_device.config import load_config


@pytest.fixture
def findings(tmp_path: Path):
    def look(text: str = "", state: str = "state") -> dict[str, tuple[str, str]]:
        (tmp_path / "state").mkdir(exist_ok=True)
        path = tmp_path / "fnrbc.toml"
        replay = f'[camera]\nkind = "replay"\npath = "{picture(tmp_path)}"\n' if "[camera]" not in text else ""
        path.write_text(f'state_dir = "{tmp_path / state}"\n{replay}{text}', encoding="utf-8")
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
        "panel",
        "broker",
        "secret",
        "page",
        "temperature",
    ]
    assert {found[name][0] for name in ("configuration", "disk", "bundle", "camera")} == {"ok"}
    assert {found[name][0] for name in ("gpu", "panel", "broker", "secret")} == {"not used"}


def test_a_missing_state_folder_and_a_silent_broker_are_both_found(findings, free_port):
    found = findings(f"[mqtt]\nport = {free_port}\n", state="nowhere")

    assert found["disk"][0] == "fault"
    assert found["disk"][1].endswith("does not exist; make it, and give it to the daemon's user")
    assert found["broker"][0] == "warning"
    assert "does not answer" in found["broker"][1]


def test_too_little_room_is_a_fault(findings):
    state, words = findings("[record]\nleast_free_mb = 1000000\n[mqtt]\nenabled = false\n")["disk"]

    assert state == "fault"
    assert "below the limit of 1000000; free some" in words


def test_a_broker_that_answers_is_well(findings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert findings(f"[mqtt]\nport = {server.getsockname()[1]}\n")["broker"][0] == "ok"


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o644, "fault"), (0o640, "fault")])
def test_a_secret_that_others_can_read_is_a_fault(findings, tmp_path, mode, state):
    secret = tmp_path / "password"
    secret.write_text("secret")
    secret.chmod(mode)

    assert findings(f'[mqtt]\nenabled = false\npassword_file = "{secret}"\n')["secret"][0] == state


def test_a_camera_that_is_not_there_is_a_fault_with_its_cure(findings, monkeypatch):
    monkeypatch.setattr("fnrbc_device.commands.check.CAMERA_S", 0.5)
    text = '[camera]\nkind = "uvc"\ndevice = "usb-nobody"\npixel_size_um = 0.1\n[mqtt]\nenabled = false\n'

    assert findings(text)["camera"] == ("fault", "uvc usb-nobody gave no picture in 0 s; check cable and power")


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
