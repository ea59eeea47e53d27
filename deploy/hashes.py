"""Writes deploy/requirements.txt: what the device runs on, as constraints.txt pins it, with the hash of every wheel.

.venv/bin/python deploy/hashes.py

Fetches the wheels of each Python and each machine below, from where pip is set up to fetch, and hashes what came. What
they need in turn is read from the wheels themselves, so nothing is left out; the extras of pyproject.toml are left out,
for on a Jetson they come with JetPack. Run it again after each change of constraints.txt or of the dependencies.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from email.parser import Parser
from itertools import product
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sbom import pins

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MACHINES = ("aarch64", "x86_64")
GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17")  # Ubuntu 22.04 of JetPack 6 has 2.35

Needed = dict[str, tuple[str, str]]
"""Version and hash by name, for one Python on one machine."""


def direct() -> list[str]:
    """What pyproject.toml asks for at run time."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"(?ms)^dependencies = \[$(.*?)^\]$", text)
    assert block is not None
    return re.findall(r'(?m)^\s*"(.+)",$', block[1])


def names(requirements: Iterable[str], environment: dict[str, str]) -> set[str]:
    """Those that one environment needs."""
    wanted = map(Requirement, requirements)
    return {canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate(environment)}


def environment(python: str, machine: str) -> dict[str, str]:
    """A Linux with CPython, as markers see it."""
    other = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine, "extra": ""}
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython"}
    return {**default_environment(), **linux, **other, "platform_python_implementation": "CPython"}  # type: ignore[dict-item]


def fetch(wanted: dict[str, str], folder: Path, python: str, machine: str) -> None:
    """Have pip put the wheels of one target into a folder."""
    platforms = [f"manylinux_{version}_{machine}" for version in GLIBC] + [f"manylinux2014_{machine}"]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--implementation", "cp", "--python-version", python, "--dest", str(folder),
        *(f"--platform={platform}" for platform in platforms),
        *(f"{name}=={version}" for name, version in wanted.items()),
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(f"error: not every wheel for Python {python} on {machine} can be fetched; pip says why above")


def needed(python: str, machine: str) -> Needed:
    """Fetch what one target needs, in rounds: each wheel says what it needs in turn."""
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)
    here = environment(python, machine)
    done: Needed = {}
    open_names = names(direct(), here)
    while open_names:
        if missing := open_names - pinned.keys():
            raise SystemExit(f"error: constraints.txt does not pin {', '.join(sorted(missing))} for Python {python}")
        with tempfile.TemporaryDirectory() as made:
            fetch({name: pinned[name] for name in sorted(open_names)}, Path(made), python, machine)
            wheels = {canonicalize_name(path.name.split("-")[0]): path for path in Path(made).glob("*.whl")}
            done |= {name: (pinned[name], hashlib.sha256(wheels[name].read_bytes()).hexdigest()) for name in open_names}
            more = {name for path in wheels.values() for name in names(requires(path), here)}
        open_names = more - done.keys()
    return done


def requires(wheel: Path) -> list[str]:
    """What a wheel says that it needs."""
    with zipfile.ZipFile(wheel) as archive:
        (member,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        return Parser().parsestr(archive.read(member).decode()).get_all("Requires-Dist") or []


def marker(pythons: set[str]) -> str:
    """Say for which of the Pythons a line is."""
    if pythons == set(PYTHONS):
        return ""
    split = len(pythons)
    if pythons == set(PYTHONS[:split]):
        return f'; python_version < "{PYTHONS[split]}"'
    if pythons == set(PYTHONS[-split:]):
        return f'; python_version >= "{PYTHONS[-split]}"'
    raise SystemExit(f"error: no simple marker is for {', '.join(sorted(pythons))} alone")


def lines(found: dict[tuple[str, str], Needed]) -> list[str]:
    """One requirement a name and version, with the hashes of all its wheels."""
    pythons, hashes = defaultdict(set), defaultdict(set)
    for (python, _), one in found.items():
        for name, (version, digest) in one.items():
            pythons[name, version].add(python)
            hashes[name, version].add(digest)
    return [
        " \\\n    ".join([f"{name}=={version}{marker(pythons[name, version])}",
                         *(f"--hash=sha256:{digest}" for digest in sorted(hashes[name, version]))])
        for name, version in sorted(pythons)
    ]  # fmt: skip


def main() -> None:
    """Fetch, and write the file whole."""
    targets = list(product(PYTHONS, MACHINES))
    with ThreadPoolExecutor(len(targets)) as pool:
        found = dict(zip(targets, pool.map(lambda target: needed(*target), targets), strict=True))
    head = [
        "# Written by deploy/hashes.py from constraints.txt: what the device runs on. OpenCV, TensorRT and",
        "# pycuda are not here: on a Jetson they come with JetPack.",
        f"# CPython {' '.join(PYTHONS)} on {' '.join(MACHINES)}",
    ]
    (ROOT / "deploy" / "requirements.txt").write_text("\n".join([*head, *lines(found)]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
