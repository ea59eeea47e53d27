"""The bill of materials names every pin of one Python, once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_the_bill_holds_every_pin_of_a_python_once(python):
    command = [sys.executable, ROOT / "deploy" / "sbom.py", "--python", python]
    bill = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    names = [part["name"] for part in bill["components"]]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = [Requirement(line) for line in lines]
    meant = [one.name for one in pins if one.marker is None or one.marker.evaluate({"python_version": python})]
    assert len(meant) > 30
    assert sorted(names) == sorted(map(canonicalize_name, meant))
    numpy = next(part for part in bill["components"] if part["name"] == "numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{numpy['version']}"
    assert (numpy["version"] == "2.2.6") == (python == "3.10")
