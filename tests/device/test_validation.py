"""What the network does at a site: counted from what people decided, sealed beside the bundle, told in one page."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from fnrbc_device.config import load_config
from fnrbc_device.daemon.active_bundle import errors_for, store_of
from fnrbc_device.errors import BundleError, ReviewError, UsageError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.intervals import clopper_pearson, per_hundred
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.error_counts import shipped_errors
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.manual_counts import read_manual_counts
from fnrbc_device.sessions.validation import NO_CELL, UNSEEN, validate
from laboratory import FNRBC, LEUKOCYTE, MONDAY, NEAR_MISS, OPEN, cells, write_session
from screens import left_in_english, texts_of

# Machine: 3 fNRBC, 1 left open, 1 near miss, 60 leukocytes.
VERDICTS = [FNRBC, FNRBC, FNRBC, OPEN, NEAR_MISS, *[LEUKOCYTE] * 60]


def decide(path, session, decisions):
    with Decisions(path, "bench", SystemClock()) as deciding:
        for cell, (decision, class_name) in decisions.items():
            deciding.decide(session, cell, decision, "dora", class_name=class_name)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    path = folder / "journal.sqlite"
    write_session(path, "s1", VERDICTS, specimen="A 1")
    decide(path, "s1", {1: ("confirmed", ""), 2: ("reclassified", "leukocyte"), 3: ("rejected", "")})
    decide(path, "s1", {4: ("confirmed", ""), 5: ("confirmed", "")})
    write_session(path, "s2", VERDICTS[:4], specimen="A 2", ended=MONDAY + timedelta(hours=1))  # not reviewed
    write_session(path, "s3", VERDICTS, bundle="d" * 64, ended=MONDAY + timedelta(hours=2))
    for number in range(5):
        ended = MONDAY + timedelta(hours=3 + number)
        write_session(path, f"b{number}", cells(number % 2, 100), kind="blank", ended=ended)
    return folder


@pytest.fixture
def state(written, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "journal.sqlite").write_bytes((written / "journal.sqlite").read_bytes())
    (tmp_path / "fnrbc.toml").write_text(f'state_dir = "{folder}"\n')
    return folder


def measured(state, names=()):
    with reading(state / "journal.sqlite") as connection:
        return validate(connection, load_bundle(None).id, names)


def test_each_cell_is_right_wrong_or_open_by_what_people_said_of_it(state):
    found = measured(state, ["s1"])
    classes = {name: (one.called, one.open, one.otherwise) for name, one in found.classes.items()}
    assert classes == {"fnrbc": (1, 1, 1), "leukocyte": (1, 0, 0), NO_CELL: (1, 0, 0), UNSEEN: (0, 0, 60)}
    assert (found.targets_right, found.targets_wrong) == (1, 2)
    assert (found.leukocytes_right, found.leukocytes_wrong) == (60, 2)
    assert found.misses_known
    low, high = clopper_pearson(1, 3)
    assert (found.sensitivity.low, found.sensitivity.high) == (low, high)
    assert found.specificity.value == 60 / 61  # what was no cell is no leukocyte, yet it is a false fNRBC
    rate = per_hundred(2, 60)
    assert found.false_per_1000.high == pytest.approx(10 * rate.high)


def test_what_says_nothing_of_this_bundle_is_left_out_with_its_reason(state):
    found = measured(state)
    assert [one.session for one in found.sessions] == ["s1", "b0", "b1", "b2", "b3", "b4"]
    assert found.left_out == {
        "s2": "4 of its 4 candidates are not reviewed",
        "s3": "it was counted with another bundle, dddddddddddddddd",
    }
    with pytest.raises(ReviewError, match="session s9 is not in the record"):
        measured(state, ["s9"])


def test_a_blank_needs_no_review_all_that_is_called_on_it_is_false(state):
    found = measured(state, ["b1", "b2"])
    assert (found.targets_right + found.targets_wrong, found.leukocytes_wrong, found.leukocytes_right) == (0, 1, 200)
    assert found.classes["on a blank"].called == 1


def test_near_misses_that_nobody_looked_at_make_the_sensitivity_an_upper_bound(state):
    path = state / "journal.sqlite"
    write_session(path, "s4", VERDICTS, ended=MONDAY + timedelta(hours=9))
    decide(path, "s4", dict.fromkeys((1, 2, 3, 4), ("confirmed", "")))
    assert not measured(state, ["s4"]).misses_known


def run(state, *words):
    command = [sys.executable, "-m", "fnrbc_device.cli", "validate", *map(str, words)]
    command += ["--config", str(state.parent / "fnrbc.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


class Outside(HTMLParser):
    """What a page would load or run."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [tag] if tag in ("script", "link", "iframe", "img") else []
        self.found += [name for name, value in attrs if name in ("src", "href")]


def test_one_command_makes_the_page_and_the_figures_of_the_site(state, tmp_path):
    manual = tmp_path / "manual.csv"
    manual.write_text("\ufeffSession;per_100\ns1;4,9\nb0;0\nb1;0,2\nb2;0\n", encoding="utf-8")
    done = run(state, "--out", tmp_path / "out", "--manual", manual, "--by", "Dr. Ada", "--language", "de")
    assert done.returncode == 0, done.stderr
    assert "sensitivity 33.3 % (0.8 to 90.6), 1 of 3 fNRBC" in done.stdout
    assert "left out s2: 4 of its 4 candidates are not reviewed" in done.stdout
    assert "against a manual count, 4 slides: bias" in done.stdout
    page = (tmp_path / "out" / "validation.html").read_text()
    outside = Outside()
    outside.feed(page)
    assert outside.found == []
    assert "Passing-Bablok" in page
    assert "Dr. Ada" in page
    assert list(left_in_english(texts_of(page), "de", (str(manual),))) == []
    figures = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert figures["counts"] == {
        "targets_right": 1, "targets_wrong": 2, "leukocytes_right": 560, "leukocytes_wrong": 4,
    }  # fmt: skip
    assert figures["manual"]["Counted by the machine"]["pairs"] == 4
    assert figures["manual"]["Counted by the machine"]["bland_altman"]["bias"]["value"] == pytest.approx(
        (300 / 61 - 4.9 + 0 + 1.0 - 0.2 + 0) / 4
    )

    config, bundle = load_config(state.parent / "fnrbc.toml"), load_bundle(None)
    (errors,) = errors_for(config, bundle)
    assert (errors.targets_right, errors.targets_wrong, errors.source) == (1, 2, "site")
    assert (errors.leukocytes_right, errors.leukocytes_wrong) == (560, 4)
    with closing(sqlite3.connect(state / "journal.sqlite")) as journal:
        (told,) = journal.execute("SELECT payload FROM outbox ORDER BY seq DESC LIMIT 1").fetchone()
    assert json.loads(told)["verb"] == "validate"
    assert "by Dr. Ada, 6 sessions: fNRBC 1 right and 2 missed" in json.loads(told)["detail"]
    assert prove(state / "journal.sqlite").fault == ""


def test_figures_that_were_changed_or_come_from_elsewhere_are_not_counted_by(state, tmp_path):
    assert run(state, "--out", tmp_path / "out").returncode == 0
    config, bundle = load_config(state.parent / "fnrbc.toml"), load_bundle(None)
    store = store_of(config)
    (path,) = store.folder.glob("*.site.json")
    whole = path.read_text()
    for changed in (whole.replace('"leukocytes_wrong": 4', '"leukocytes_wrong": 0'), "{", "[]", '{"seal": ""}'):
        path.write_text(changed)
        with pytest.raises(BundleError, match="validate here again"):
            store.site_figures(bundle.id)
        assert errors_for(config, bundle) == shipped_errors(bundle.manifest)
    path.write_text(whole)
    assert store.site_figures(bundle.id) is not None
    (store.folder / "site.key").write_bytes(b"k" * 32)
    with pytest.raises(BundleError, match="made by another device"):
        store.site_figures(bundle.id)
    assert not list(store.folder.glob("*/")) or all(one.is_file() for one in store.folder.glob("*"))


def test_a_report_alone_changes_nothing_on_the_device(state, tmp_path):
    done = run(state, "--out", tmp_path / "out", "--report-only", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["misses_known"] is True
    assert not (state / "bundles").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "has the columns a, b; it needs a column `session` or `specimen`"),
        ("session,per_100\n", "holds no count"),
        ("session,per_100\ns1,many\n", "line 2: per_100 is 'many'; give 0 to 100000"),
        ("session,per_100\ns1,-1\n", "line 2: per_100 is '-1'"),
        ("session,per_100\n,1\n", "line 2: no session is named"),
        ("", "has the columns none"),
    ],
)
def test_a_table_of_manual_counts_that_is_none_is_named_with_its_line(tmp_path, text, words):
    path = tmp_path / "manual.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_manual_counts(path)
    assert words in str(refused.value)
    with pytest.raises(UsageError, match="cannot be read"):
        read_manual_counts(tmp_path / "none.csv")


def test_a_manual_count_of_a_slide_that_is_not_measured_is_refused(state, tmp_path):
    manual = tmp_path / "manual.csv"
    manual.write_text("specimen,per_100\nA 1,4.9\nA 2,1\n")
    done = run(state, "--out", tmp_path / "out", "--manual", manual)
    assert done.returncode == 2
    assert "line 3: specimen A 2 is that of 0 sessions measured here" in done.stderr
    assert not (state / "bundles").exists()


def test_a_record_without_a_reviewed_session_says_what_is_missing(state, tmp_path):
    done = run(state, "--out", tmp_path / "out", "--session", "s2")
    assert done.returncode == 1
    assert "no session measures the bundle" in done.stderr
    assert "s2: 4 of its 4 candidates are not reviewed" in done.stderr
