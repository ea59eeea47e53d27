"""Writes the software bill of materials of the pinned versions, as CycloneDX 1.5 in JSON.

python deploy/sbom.py [--python 3.12] > fnrbc.cdx.json

It says what constraints.txt pins for one Python, not what a machine has: for that, ask the machine's own pip.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)"
    r"(?:;\s*python_version\s*(?P<sign><|>=)\s*\"(?P<than>[\d.]+)\")?$"
)


def pins(text: str, python: str) -> dict[str, str]:
    """Versions by name, for one Python."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pin = PIN.match(line.strip())
        if pin is None:
            raise SystemExit(f"error: constraints.txt, line {number}: {line!r} is no pin; write NAME==VERSION")
        if pin["than"] and (_parts(python) < _parts(pin["than"])) != (pin["sign"] == "<"):
            continue
        found[re.sub(r"[-_.]+", "-", pin["name"]).lower()] = pin["version"]
    return found


def bill(versions: dict[str, str], own_version: str) -> dict[str, Any]:
    """The bill; the same pins give the same bytes."""
    parts = [
        {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}",
         "bom-ref": f"pkg:pypi/{name}@{version}"}
        for name, version in sorted(versions.items())
    ]  # fmt: skip
    own = {"type": "application", "name": "fnrbc", "version": own_version, "bom-ref": f"pkg:pypi/fnrbc@{own_version}"}
    depends = [{"ref": own["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}]
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": own},
            "components": parts, "dependencies": depends}  # fmt: skip


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def main() -> None:
    """Write the bill to the standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="whose pins are meant, such as 3.10")
    python = parser.parse_args().python
    source = (ROOT / "device" / "fnrbc_device" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "([^"]+)"', source)
    assert version is not None
    versions = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"), python)
    json.dump(bill(versions, version[1]), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
