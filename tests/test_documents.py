"""The documents: each link in them leads somewhere, and each decision says how it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("device/**/*.md"), *ROOT.glob("tests/**/*.md")]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if ":" not in target]

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name[:4])
def test_every_decision_says_its_status_the_context_and_what_else_was_weighed(page: Path) -> None:
    said = page.read_text(encoding="utf-8")

    assert said.startswith(f"# {int(page.name[:4])}. ")
    for part in ("Status", "Context", "Alternatives", "Decision", "Consequences"):
        assert re.search(rf"(?m)^(\*\*{part}\b|## {part}\b)", said), f"{page.name} has no {part}"


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [page.name[:4] for page in DECISIONS]

    assert len(set(numbers)) == len(numbers)
