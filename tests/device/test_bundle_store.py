"""Rolling bundles out and back: one switch, whole or not at all, and nothing lost by a kill."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fnrbc_device.errors import BundleError, ParityError, UsageError
from fnrbc_device.inference.bundle_store import SHIPPED_NAME, BundleStore
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.seal import golden_bytes, seal


def resealed(folder, golden=None, **changed):
    """A bundle that differs from the shipped one: a retrained one, for all that a device can tell."""
    shipped = load_bundle(None)
    fields = json.loads(shipped.manifest.canonical())
    fields = {k: v for k, v in fields.items() if k not in ("format", "bundle_id", "files")}
    contents = {path.name: path.read_bytes() for path in SHIPPED.iterdir()}
    if golden is not None:
        contents["golden.npz"] = golden_bytes(shipped.golden_crops, golden)
    folder.mkdir(parents=True)
    for name, content in seal({**fields, **changed}, contents).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def first(tmp_path):
    return resealed(tmp_path / "first", software_version="1")


@pytest.fixture
def second(tmp_path):
    return resealed(tmp_path / "second", software_version="2")


@pytest.fixture
def store(tmp_path):
    return BundleStore(tmp_path / "store")


def test_before_anything_is_installed_the_shipped_bundle_counts(store):
    assert store.active() is None
    with pytest.raises(UsageError, match="nothing was switched yet"):
        store.rollback()


def installed_and_used(store, source):
    bundle = store.install(source)
    store.use(bundle.id)
    return bundle


def test_an_installed_bundle_does_not_count_before_it_is_used(store, first):
    store.install(first)
    assert store.active() is None
    assert len(store.installed()) == 1


def test_a_bundle_in_use_counts_and_a_rollback_takes_it_back(store, first, second):
    one, two = installed_and_used(store, first).id, installed_and_used(store, second).id
    assert load_bundle(store.active()).id == two
    assert store.rollback().id == one
    assert load_bundle(store.active()).id == one
    assert store.rollback().id == load_bundle(None).id
    assert store.active() is None
    assert len(store.installed()) == 2


def test_use_takes_the_first_characters_of_an_id_or_shipped(store, first, second):
    one = store.install(first).id
    installed_and_used(store, second)
    assert store.use(one[:6]).id == one
    assert store.use("shipped").id == load_bundle(None).id
    assert store.active() is None
    assert store.rollback().id == one


@pytest.mark.parametrize("name", ["", "nothing", "../first"])
def test_what_is_not_installed_cannot_be_used(store, first, name):
    store.install(first)
    with pytest.raises(UsageError, match=f"{name!r} names 0 of the bundles"):
        store.use(name)


def test_using_again_changes_nothing_to_take_back(store, first):
    installed_and_used(store, first)
    installed_and_used(store, first)
    store.rollback()
    assert store.active() is None


def test_a_zip_is_installed_as_a_folder_and_what_it_came_from_may_go(store, first, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", first))
    bundle = installed_and_used(store, archive)
    archive.unlink()
    assert load_bundle(store.active()).id == bundle.id


def test_installed_files_cannot_be_written(store, first):
    installed_and_used(store, first)
    assert {path.stat().st_mode & 0o222 for path in store.active().iterdir()} == {0}


def test_an_altered_bundle_is_not_installed(store, first, second):
    one = installed_and_used(store, first).id
    with (second / "model.onnx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=r"model\.onnx of the bundle"):
        store.install(second)
    assert load_bundle(store.active()).id == one
    assert len(store.installed()) == 1


def test_golden_crops_of_another_model_are_not_installed(store, tmp_path):
    turned = load_bundle(None).golden_probabilities[:, [1, 0, 2]].copy()
    with pytest.raises(ParityError, match="golden crops is off"):
        store.install(resealed(tmp_path / "other", golden=turned))
    assert store.active() is None
    assert store.installed() == []


def test_a_damaged_bundle_is_mended_by_installing_it_again(store, first):
    installed_and_used(store, first)
    model = store.active() / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"rot")
    store.install(first)
    assert load_bundle(store.active()).id == load_bundle(first).id


KILLED = """
import os, sys
from pathlib import Path
from fnrbc_device.host import atomic_file
from fnrbc_device.inference.bundle_store import BundleStore
left = int(sys.argv[3])
real = os.fsync
def fsync(descriptor):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    real(descriptor)
atomic_file.os.fsync = fsync
store = BundleStore(Path(sys.argv[1]))
store.use(store.install(Path(sys.argv[2])).id)
"""


@pytest.mark.parametrize("step", [0, 1, 5, 11, 12, 13, 14])
def test_a_kill_in_the_middle_of_a_roll_out_leaves_the_last_good_bundle(store, first, second, step):
    one = installed_and_used(store, first).id

    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.folder), str(second), str(step)], timeout=60, check=False
    )

    assert done.returncode == -signal.SIGKILL
    found = load_bundle(store.active()).id
    assert found == one or (step >= 14 and found == load_bundle(second).id)
    assert load_bundle(store.installed()[0]).id
    assert installed_and_used(store, second).id == load_bundle(store.active()).id
    assert not list(store.folder.glob(".fresh-*"))


def test_a_switch_that_says_nothing_is_named_with_the_cure(store, first):
    installed_and_used(store, first)
    (store.folder / "active.json").write_text("{")
    with pytest.raises(BundleError, match="does not say which bundle counts"):
        store.active()


def figures(sensitivity, specificity, spread=0.01):
    def figure(value):
        return {"value": value, "low": max(value - spread, 0.0), "high": min(value + spread, 1.0)}

    metrics = json.loads(load_bundle(None).manifest.canonical())["metrics"]
    metrics = {name: value for name, value in metrics.items() if name != "counts"}
    return {**metrics, "sensitivity": figure(sensitivity), "specificity": figure(specificity)}


def test_a_bundle_that_is_worse_beyond_its_interval_is_refused_with_both_figures(store, tmp_path):
    good = resealed(tmp_path / "good", metrics=figures(0.995, 0.995))
    bad = resealed(tmp_path / "bad", metrics=figures(0.86, 0.71))
    one = installed_and_used(store, good).id
    with pytest.raises(BundleError) as refused:
        store.install(bad)
    words = str(refused.value)
    assert "is worse than the one in use beyond its interval" in words
    assert "sensitivity 86.0 % (85.0 to 87.0) against 99.5 %" in words
    assert "specificity 71.0 % (70.0 to 72.0) against 99.5 %" in words
    assert words.endswith("with --force, which goes on record")
    assert load_bundle(store.active()).id == one
    assert len(store.installed()) == 1


def test_force_takes_it_and_the_record_hears_of_it_before_anything_changes(store, tmp_path):
    bad = resealed(tmp_path / "bad", metrics=figures(0.5, 0.5))
    heard = []

    def record(weighed):
        heard.append((weighed.worse, store.installed()))

    bundle = store.install(bad, force=True, record=record)
    assert store.active() is None
    ((worse, there_then),) = heard
    assert len(worse) == 2
    assert there_then == []

    def refuse(weighed):
        raise UsageError("the record is full")

    with pytest.raises(UsageError, match="the record is full"):
        store.use(bundle.id, refuse)
    assert store.active() is None


def test_a_bundle_that_is_worse_within_its_interval_is_taken(store, tmp_path):
    installed_and_used(store, resealed(tmp_path / "good", metrics=figures(0.995, 0.995)))
    bundle = store.install(resealed(tmp_path / "like", metrics=figures(0.99, 0.99)))
    assert load_bundle(store.find(bundle.id[:6])).id == bundle.id


def test_old_and_new_stand_side_by_side_with_what_they_were_measured_on(store, tmp_path):
    installed_and_used(store, resealed(tmp_path / "good", metrics=figures(0.995, 0.995)))
    metrics = {**figures(0.5, 0.9), "measured_on": "forty cells of a drawer"}
    lines = store.weigh(resealed(tmp_path / "new", metrics=metrics)).in_words().splitlines()
    assert "(in use)" in lines[0]
    assert "(new)" in lines[0]
    assert lines[3].split("  ")[0] == "false positives per 1,000"
    assert "5.0 (0.0 to 15.0)" in lines[3]
    assert "100.0 (90.0 to 110.0)" in lines[3]
    assert lines[-1] == "new, measured on: forty cells of a drawer"


def test_the_commands_refuse_install_use_and_record_in_one_sentence_each(tmp_path):
    config = tmp_path / "fnrbc.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    bad = resealed(tmp_path / "bad", metrics=figures(0.5, 0.5))

    def fnrbc(*words):
        command = [sys.executable, "-m", "fnrbc_device.cli", "bundle", *map(str, words), "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    refused = fnrbc("install", bad)
    assert refused.returncode == 1
    assert "(in use)" in refused.stdout
    assert refused.stderr.startswith("error: the bundle ")
    assert len(refused.stderr.splitlines()) == 1
    assert fnrbc("list").stdout.count("\n") == 1

    forced = fnrbc("install", bad, "--force")
    assert forced.returncode == 0, forced.stderr
    name = load_bundle(bad).id[:16]
    assert f"bundle {name} is installed and does not count yet" in forced.stdout
    assert f"* {SHIPPED_NAME}" in fnrbc("list").stdout
    assert f"bundle {name} counts from the next session on" in fnrbc("use", name).stdout
    assert fnrbc("rollback").returncode == 0

    with closing(sqlite3.connect(tmp_path / "state" / "journal.sqlite")) as journal:
        told = [json.loads(payload) for (payload,) in journal.execute("SELECT payload FROM outbox ORDER BY seq")]
    assert [one["verb"] for one in told] == ["bundle-install", "bundle-use", "bundle-rollback"]
    assert "worse, by force: sensitivity 50.0 %" in told[0]["detail"]
    assert told[0]["user"]
    assert prove(tmp_path / "state" / "journal.sqlite").fault == ""
