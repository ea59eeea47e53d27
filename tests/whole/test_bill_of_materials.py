"""The bill of materials names every pin of one Python, once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_the_bill_holds_every_pin_of_a_python_once(python):
    command = [sys.executable, ROOT / "deploy" / "sbom.py", "--python", python]
    bill = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    names = [part["name"] for part in bill["components"]]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert len(names) == len(set(names)) == len({line.split("==")[0].lower().replace("_", "-") for line in lines})
    numpy = next(part for part in bill["components"] if part["name"] == "numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{numpy['version']}"
    assert (numpy["version"] == "2.2.6") == (python == "3.10")
