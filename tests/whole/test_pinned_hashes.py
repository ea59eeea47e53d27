"""deploy/requirements.txt holds all that the device runs on, in the tested versions, and each file by its hash."""

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PINNED = (ROOT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(text: str) -> list[Requirement]:
    """Of a file for pip, without its hashes and remarks."""
    whole = text.replace("\\\n", " ").splitlines()
    return [Requirement(line.split("--hash")[0]) for line in whole if line and not line.startswith("#")]


def versions(text: str, python: str) -> dict[str, str]:
    """What a file pins for one Python."""
    ours = {"python_version": python, "python_full_version": f"{python}.0"}
    meant = [one for one in requirements(text) if one.marker is None or one.marker.evaluate(ours)]
    found = {canonicalize_name(one.name): str(one.specifier) for one in meant}
    assert len(found) == len(meant), "one name stands there twice for one Python"
    return found


def direct() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"(?ms)^dependencies = \[$(.*?)^\]$", text)
    assert block is not None
    return re.findall(r'(?m)^\s*"(.+)",$', block[1])


def runs_on(wanted: list[str]) -> set[str]:
    """Names of what is asked for, and of what that needs in turn, as it is installed here."""
    found: set[str] = set()
    waiting = [Requirement(one) for one in wanted]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(need) for need in distribution(name).requires or []]
    return found


@pytest.mark.skipif(HERE not in PYTHONS, reason=f"no device runs on Python {HERE}")
def test_all_that_the_device_runs_on_is_pinned_with_a_hash_and_nothing_else():
    assert set(versions(PINNED, HERE)) == runs_on(direct())


@pytest.mark.parametrize("python", PYTHONS)
def test_the_device_gets_the_versions_that_the_tests_ran_with(python):
    tested = versions((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)

    pinned = versions(PINNED, python)

    assert pinned == {name: tested.get(name) for name in pinned}
    assert {canonicalize_name(Requirement(one).name) for one in direct()} - pinned.keys() <= {"tomli"}


def test_each_line_has_hashes_and_those_with_machine_code_one_for_each_machine():
    lines = [line for line in PINNED.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    hashes = [(line.split("==")[0], len(set(HASH.findall(line)))) for line in lines]
    machine_code = {"imagecodecs", "markupsafe", "numpy", "onnxruntime", "protobuf", "pydantic-core"}

    assert all(count >= (2 if name in machine_code else 1) for name, count in hashes)
    assert machine_code <= {name for name, _ in hashes}


def test_the_file_says_for_which_pythons_and_machines_it_is_and_names_no_place_to_fetch_from():
    assert f"# CPython {' '.join(PYTHONS)} on aarch64 x86_64\n" in PINNED
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", PINNED)
