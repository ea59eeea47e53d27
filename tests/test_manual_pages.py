"""Pages that a script writes hold what it writes; the site is built strictly where mkdocs is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fnrbc_device.health import REASONS
from fnrbc_device.texts import REJECTIONS

ROOT = Path(__file__).parents[1]


def test_the_technicians_page_has_every_cue_and_its_cure():
    said = (ROOT / "docs" / "technician.md").read_text(encoding="utf-8")
    cures = [reason.cure for reason in REASONS.values()] + [advice.cure for advice in REJECTIONS.values()]
    assert [cure for cure in cures if cure not in said] == [], "run .venv/bin/python deploy/technician.py"


@pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="mkdocs-material is not installed: make docs")
def test_the_site_is_built_without_a_warning(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    assert "fine focus" in (tmp_path / "site" / "technician.html").read_text(encoding="utf-8")
