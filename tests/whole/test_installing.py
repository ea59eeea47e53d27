"""The installer: a version beside the other, one link that names the one that counts, and the way back."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def wheel(folder: Path, version: str, works: bool = True, needs: str = "tally") -> Path:
    """A wheel as small as can be, with the names of the real one, that needs another."""
    files = {
        "fnrbc_device/__init__.py" if works else "other/__init__.py": "",
        "fnrbc_device/cli.py": f"def main():\n    print('{version}')\n",
    }
    if not works:
        del files["fnrbc_device/cli.py"]
    scripts = {"entry_points.txt": "[console_scripts]\nfnrbc = fnrbc_device.cli:main\n"}
    return packed(folder, "fnrbc", version, files, f"Requires-Dist: {needs}\n", scripts)


def packed(folder: Path, name: str, version: str, files: dict[str, str], needs: str = "", more=None) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    about = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files = files | {f"{info}/{name}": content for name, content in (about | (more or {})).items()}
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"]))
    return path


def requirements(*wheels: Path, python: str = HERE) -> str:
    """What deploy/hashes.py would write of these."""
    lines = [f"# CPython 3.1 {python} on aarch64 x86_64"]
    for one in wheels:
        name, version, *_ = one.name.split("-")
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(one.read_bytes()).hexdigest()}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def pinned(tmp_path):
    """A copy of the deploy folder that pins one small wheel, which lies where pip looks."""
    deploy = shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "wheels").mkdir()
    tally = packed(tmp_path / "wheels", "tally", "1.0", {"tally.py": "ONE = 1\n"})
    (deploy / "requirements.txt").write_text(requirements(tally))
    return deploy / "requirements.txt", tally


@pytest.fixture
def appliance(tmp_path, pinned):
    root = tmp_path / "root"
    offline = f"--no-index --find-links {tmp_path / 'wheels'}"
    environment = {**os.environ, "ROOT": str(root), "PYTHON": sys.executable, "PIP_ARGS": offline}
    environment.pop("PYTHONPATH", None)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(pinned[0].parent / "appliance.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)

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
    assert subprocess.run([current / "bin" / "python", "-I", "-c", "import tally"]).returncode == 0
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


def refused(appliance, file: Path) -> str:
    """What the installer says, in one line, having changed nothing."""
    root, run = appliance
    done = run("install", str(file))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    home = root / "opt" / "fnrbc"
    assert not home.exists() or list(home.iterdir()) == []
    return done.stderr


def test_a_file_that_is_not_the_pinned_one_is_refused(appliance, pinned, tmp_path):
    file, tally = pinned
    packed(tally.parent, "tally", "1.0", {"tally.py": "ONE = 2\n"})

    said = refused(appliance, wheel(tmp_path, "1.0.0"))

    assert said == f"error: tally==1.0 is not the file that {file} pins (its hash differs); nothing was changed\n"


def test_what_the_wheel_needs_and_nobody_pinned_is_not_fetched(appliance, tmp_path):
    packed(tmp_path / "wheels", "stranger", "1.0", {"stranger.py": ""})

    said = refused(appliance, wheel(tmp_path, "1.0.0", needs="stranger"))

    assert "fnrbc-1.0.0-py3-none-any.whl cannot be installed (No matching distribution found for stranger" in said


def test_what_a_pinned_file_needs_in_turn_is_pinned_too(appliance, pinned, tmp_path):
    file, tally = pinned
    packed(tally.parent, "stranger", "1.0", {"stranger.py": ""})
    packed(tally.parent, "tally", "1.0", {"tally.py": ""}, "Requires-Dist: stranger\n")
    file.write_text(requirements(tally))

    assert f"what {file} pins cannot be installed (" in refused(appliance, wheel(tmp_path, "1.0.0"))


def test_a_line_without_a_hash_is_refused(appliance, pinned, tmp_path):
    file, _ = pinned
    file.write_text(requirements() + "tally==1.0\n")

    assert f"what {file} pins cannot be installed (" in refused(appliance, wheel(tmp_path, "1.0.0"))


def test_without_the_pinned_versions_nothing_is_installed(appliance, pinned, tmp_path):
    file, _ = pinned
    file.unlink()

    said = refused(appliance, wheel(tmp_path, "1.0.0"))

    assert said == f"error: {file} is missing; take the whole deploy folder of the release\n"


def test_a_python_without_hashes_is_refused_before_anything_is_fetched(appliance, pinned, tmp_path):
    file, tally = pinned
    file.write_text(requirements(tally, python="3.2"))

    said = refused(appliance, wheel(tmp_path, "1.0.0"))

    assert said == f"error: {file} is for Python 3.1, 3.2, not {HERE}; choose another with PYTHON=\n"
