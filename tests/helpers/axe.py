"""axe-core in a page: what keeps people from using it. Comes with a package that is installed without what it needs."""

import json
from pathlib import Path

import pytest

from chromium import Chromium

FILE = Path(__file__).parents[2] / "build" / "axe" / "axe_playwright_python" / "axe.min.js"

SERIOUS = """axe.run(document, {resultTypes: ['violations']}).then(found => JSON.stringify(found.violations
    .filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => [one.id, one.help, one.nodes.map(node => node.target.join(' ') + ': ' + node.failureSummary)])))"""


def axe_source() -> str:
    """The script; skips where it is not installed."""
    if not FILE.is_file():
        pytest.skip(f"axe-core is not in {FILE.parent}; `make test` installs it")
    return FILE.read_text(encoding="utf-8")


def serious_violations(browser: Chromium) -> list[object]:
    """Rules that a page breaks with an impact of serious or critical, each with the places.

    The script must have been evaluated in it, over the debugging pipe: the page's own security policy keeps others out.
    """
    found: list[object] = json.loads(browser.evaluate(SERIOUS))
    return found
