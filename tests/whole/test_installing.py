"""The installer: a version beside the other, one link that names the one that counts, and the way back."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "appliance.sh"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def wheel(folder: Path, version: str, works: bool = True) -> Path:
    """A wheel as small as can be, with the names of the real one."""
    path = folder / f"fnrbc-{version}-py3-none-any.whl"
    info = f"fnrbc-{version}.dist-info"
    files = {
        "fnrbc_device/__init__.py" if works else "other/__init__.py": "",
        "fnrbc_device/cli.py": f"def main():\n    print('{version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: fnrbc\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nfnrbc = fnrbc_device.cli:main\n",
    }
    if not works:
        del files["fnrbc_device/cli.py"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"]))
    return path


@pytest.fixture
def appliance(tmp_path):
    root = tmp_path / "root"
    environment = {**os.environ, "ROOT": str(root), "PYTHON": sys.executable, "PIP_ARGS": "--no-index --no-deps"}
    environment.pop("PYTHONPATH", None)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(SCRIPT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    return root, run


def test_install_upgrade_and_roll_back(appliance, tmp_path):
    root, run = appliance
    first = run("install", str(wheel(tmp_path, "1.0.0")))
    assert first.returncode == 0, first.stderr
    config = root / "etc" / "fnrbc" / "fnrbc.toml"
    config.write_text("# written by a person\n")
    assert run("rollback").stderr == "error: there is no version before this one\n"

    assert run("install", str(wheel(tmp_path, "1.1.0"))).returncode == 0
    assert run("status").stdout == "current 1.1.0\nprevious 1.0.0\n"
    assert run("rollback").stdout == "version 1.0.0 counts again\n"
    assert run("status").stdout == "current 1.0.0\nprevious 1.1.0\n"

    current = root / "opt" / "fnrbc" / "current"
    code = "from fnrbc_device.cli import main; main()"
    said = subprocess.run([current / "bin" / "python", "-I", "-c", code], capture_output=True, text=True)
    assert said.stdout == "1.0.0\n", said.stderr
    assert (current / "bin" / "fnrbc").read_text().startswith("#!/opt/fnrbc/1.0.0/bin/python\n")
    assert config.read_text() == "# written by a person\n"
    secret = root / "etc" / "fnrbc" / "credentials" / "mqtt-password"
    assert secret.stat().st_mode & 0o777 == 0o600
    for name in ("etc/systemd/system/fnrbc.service", "usr/lib/sysusers.d/fnrbc.conf"):
        assert (root / name).is_file()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_whatever_the_umask_the_service_can_read_what_is_installed_and_nobody_the_secret(appliance, tmp_path, umask):
    root, run = appliance
    before = os.umask(umask)
    try:
        assert run("install", str(wheel(tmp_path, "1.0.0"))).returncode == 0
    finally:
        os.umask(before)

    secret = root / "etc" / "fnrbc" / "credentials"
    for path in root.rglob("*"):
        if path.is_symlink() or path.is_relative_to(secret):
            continue
        mode = path.stat().st_mode & 0o777
        assert mode & (0o055 if path.is_dir() else 0o044) == (0o055 if path.is_dir() else 0o044), path
        assert mode & 0o022 == 0, path  # nobody else can change it
    assert secret.stat().st_mode & 0o777 == 0o700
    assert (secret / "mqtt-password").stat().st_mode & 0o777 == 0o600


def test_a_wheel_that_does_not_work_changes_nothing(appliance, tmp_path):
    root, run = appliance
    refused = run("install", str(wheel(tmp_path, "2.0.0", works=False)))

    assert refused.returncode == 1
    assert refused.stderr.endswith("holds no fnrbc\n")
    assert list((root / "opt" / "fnrbc").iterdir()) == []
    assert run("install", "nowhere.whl").stderr.startswith("error: nowhere.whl does not exist")
    assert run().stderr == "error: say install, rollback or status\n"
