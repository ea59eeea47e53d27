"""The page Learn: how a session's cells look, what the newest comparison found, and the way to the next network."""

import asyncio
import html
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette

from fnrbc_device.counting.cell import View
from fnrbc_device.errors import UsageError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.queries import Kept
from fnrbc_device.learning import drift_cache as standing
from fnrbc_device.learning.comparison import FILE_NAME, SHOWN, Comparison, compared, keep, kept
from fnrbc_device.learning.drift_cache import DriftCache
from fnrbc_device.learning.reclassifying import Reclassified
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.records import SessionMeta
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.labels import of_sessions
from fnrbc_device.vision.appearance import FEATURES, QUANTILES, appearance
from fnrbc_device.web.access.user import AT_THE_MICROSCOPE, User
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.learn import routes
from fnrbc_device.web.snapshot import LiveView

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
CELLS = range(1, 101)
NASTY = "/tmp/<script>alert(1)</script> pnet"


@dataclass
class As:
    """Stands in for the guard: says who asks."""

    app: Any
    user: User

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["fnrbc.user"] = self.user
        await self.app(scope, receive, send)


async def answer(app: As, address: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(address)


def crops(shade: int) -> dict[int, Any]:
    """A grey cell on glass for each number, some darker, some lighter."""
    rng = np.random.default_rng(3)
    made = {}
    for cell in CELLS:
        crop = np.full((120, 120, 3), 240, np.uint8)
        crop[40:80, 40:80] = shade + rng.integers(-20, 21)
        made[cell] = crop
    return made


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The shipped one, as if it had been measured on such cells."""
    shipped = load_bundle(None)
    looks = np.full((len(shipped.classes), len(QUANTILES), len(FEATURES)), np.nan)
    looks[:2] = np.quantile(appearance(np.stack(list(crops(120).values()))), QUANTILES, axis=0)
    return replace(shipped, appearance=looks)


@pytest.fixture
def record(path: Path, make_step: Callable[..., Any]) -> Path:
    """Two sessions: the cells of the first look as usual, those of the second are paler."""
    with Journal.open(path) as journal:
        for name, shade in (("s1", 120), ("s2", 180)):
            journal.begin(name, NOON.replace(day=int(name[1])), SessionMeta("0.1.0", "b", "simulation", 0.125))
            views = {cell: [View(1.0, 0, crop)] for cell, crop in crops(shade).items()}
            journal.record(make_step(0, list(CELLS)), Kept(views))
            journal.end(NOON, journal.tally(name), complete=True)
    return path


@pytest.fixture
def ask(record: Path, bundle: Bundle) -> Callable[..., Any]:
    def asked(address: str = "/learn", user: User = AT_THE_MICROSCOPE, **fields: Any) -> Any:
        context = WebContext(LiveView(), **{"journal_path": record, "bundle": lambda: bundle, **fields})
        return asyncio.run(answer(As(Starlette(routes=routes(context)), user), address))

    return asked


def decide(path: Path, *cells: int) -> None:
    with Decisions(path, "bench", SystemClock()) as reviewing:
        for cell in cells:
            reviewing.decide("s1", cell, "reclassified", "anna", class_name="leukocyte")


def comparison_of(path: Path, spoiled: int, mended: int, source: str = "pnet-9") -> Comparison:
    cells = of_sessions(path, ["s1"])["s1"]
    right, wrong = "denominator", "target"
    found = [Reclassified("s1", one, "denominator", wrong, right, taught=one % 2 == 0) for one in CELLS[:mended]]
    others = CELLS[mended : mended + spoiled]
    found += [Reclassified("s1", one, "denominator", right, None, taught=False) for one in others]
    return compared(found, cells, ("a" * 64, "c" * 64), source, "2026-03-02T08:00:00+00:00")


def test_the_newest_session_is_shown_where_none_is_named_with_its_drift_in_words_and_figures(ask: Any) -> None:
    text = ask().text
    assert "s2: crops of fNRBC, leukocyte differ" in text
    assert "paler nuclei (median 1" in text
    assert "Nucleus in green" in text
    assert "100 %" in text


def test_a_session_like_the_bundles_cells_is_said_to_be_so(ask: Any) -> None:
    text = ask("/learn?session=s1").text
    assert "s1: crops of fNRBC, leukocyte look like those" in text
    assert "&#8800;" not in text


def test_every_step_to_the_next_network_is_a_command_with_this_devices_configuration(ask: Any) -> None:
    text = html.unescape(ask(config_file=Path("/etc/a lab/fnrbc.toml")).text)
    lines = text.replace("<span>", "").replace("</span>", "")
    for command in (
        "fnrbc drift s2", "fnrbc reviewed --out reviewed", "fnrbc bundle compare pnet-new",
        "fnrbc bundle install pnet-new", "fnrbc bundle use ID", "fnrbc bundle rollback",
    ):  # fmt: skip
        assert f"{command} --config '/etc/a lab/fnrbc.toml'</code>" in lines
    for command in ("fnrbc-train cut --data", "fnrbc-train fit --data", "fnrbc-export onnx pnet.pt"):
        assert command in lines
    assert "--config" not in ask().text


def test_a_drift_is_worked_out_once_until_something_of_the_session_changes(record: Path, bundle: Bundle) -> None:
    reports = DriftCache(record, lambda: bundle)
    first = reports.of("s1")
    reports.of("s2")
    assert reports.of("s1") is first
    decide(record, 1)
    again = reports.of("s1")
    assert (first.reviewed, again.reviewed) == (0, 1)


def test_of_many_crops_as_many_are_looked_at_as_a_page_may_take(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "MOST_CROPS", 60)
    assert "60 crops of 100, spread over the pan" in ask().text


def test_a_bundle_that_does_not_say_how_its_crops_looked_costs_the_drift_alone(ask: Any, bundle: Bundle) -> None:
    answer = ask(bundle=lambda: replace(bundle, appearance=None))
    assert answer.status_code == 200
    assert "does not say how the crops looked" in answer.text
    assert "fnrbc-export onnx" in html.unescape(answer.text.replace("</span> <span>", " "))


def test_the_newest_comparison_is_shown_with_the_cells_that_change(ask: Any, record: Path) -> None:
    assert "None was made yet" in ask().text
    keep(comparison_of(record, spoiled=1, mended=1), record.parent)
    keep(comparison_of(record, spoiled=2, mended=5, source=NASTY), record.parent)
    text = ask().text
    assert "It mends 5 and spoils 2" in text
    assert text.count("spoiled</b>") == 2
    assert text.count("data:image/png;base64,") == 7
    assert "leukocyte &rarr; indeterminate" in text
    assert "2 of these cells taught one of the two networks" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_bundle_that_counts_already_can_be_taken_back_another_can_be_installed(
    ask: Any, record: Path, bundle: Bundle
) -> None:
    found = comparison_of(record, spoiled=0, mended=0)
    for now, counts in ((bundle.id, True), ("c" * 64, False)):
        keep(found.model_copy(update={"bundle_now": now}), record.parent)
        assert ("It counts from the next session on" in ask().text) == counts


def test_a_comparison_comes_back_as_it_was_kept_the_spoiled_cells_first_and_not_without_end(record: Path) -> None:
    found = comparison_of(record, spoiled=10, mended=90)
    assert [one.mended for one in found.changes] == [False] * 10 + [True] * (SHOWN - 10)
    assert {one.what: (one.cells, one.before, one.now) for one in found.rows} == {
        "All reviewed cells": (100, 10, 90),
        "fNRBC, as the readers say": (0, 0, 0),
        "No fNRBC, as the readers say": (100, 10, 90),
        "That neither network was taught by": (55, 10, 45),
        "Session s1": (100, 10, 90),
    }
    keep(found, record.parent)
    assert kept(record.parent) == found


def test_a_damaged_comparison_is_told_of_and_the_rest_is_shown(ask: Any, record: Path) -> None:
    (record.parent / FILE_NAME).write_text('{"at_utc": 3')
    text = ask().text
    assert "comparison is damaged; compare the bundles again" in text
    assert "s2: crops of" in text


def test_a_comparison_that_cannot_be_kept_is_refused_with_the_cure(record: Path) -> None:
    with pytest.raises(UsageError, match="free some space, or run as the daemon's user"):
        keep(comparison_of(record, 1, 1), record.parent / "not-there")


@pytest.mark.parametrize("session", ["s9", "../../etc/passwd", "%3Cscript%3E", "s1%00", "x" * 3000])
def test_a_session_that_is_none_is_not_found(ask: Any, session: str) -> None:
    answer = ask(f"/learn?session={session}")
    assert answer.status_code == 404
    assert "script" not in answer.text
    assert "journal" not in answer.text


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("operator", 403), ("reviewer", 200), ("admin", 200)])
def test_only_reviewers_and_admins_see_it(ask: Any, role: Any, status: int) -> None:
    answer = ask(user=User("kim", role, logged_in=True))
    assert answer.status_code == status
    assert ('href="/learn" aria-current="page"' in answer.text) == (status == 200)


def test_where_nothing_was_counted_the_page_says_so_and_makes_no_record(ask: Any, tmp_path: Path) -> None:
    for place in (None, tmp_path / "none.sqlite"):
        assert "Nothing was counted here yet" in ask("/learn?session=s1", journal_path=place).text
    assert not (tmp_path / "none.sqlite").exists()
