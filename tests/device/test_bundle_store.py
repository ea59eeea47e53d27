"""Rolling bundles out and back: one switch, whole or not at all, and nothing lost by a kill."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fnrbc_device.errors import BundleError, ParityError, UsageError
from fnrbc_device.inference.bundle_store import BundleStore
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.manifest import SEALED_FILES
from fnrbc_export.seal import golden_bytes, seal


def resealed(folder, golden=None, **changed):
    """A bundle that differs from the shipped one: a retrained one, for all that a device can tell."""
    shipped = load_bundle(None)
    fields = json.loads(shipped.manifest.canonical())
    fields = {k: v for k, v in fields.items() if k not in ("format", "bundle_id", "files")}
    contents = {name: (SHIPPED / name).read_bytes() for name in SEALED_FILES}
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


def test_an_installed_bundle_counts_and_a_rollback_takes_it_back(store, first, second):
    one, two = store.install(first).id, store.install(second).id
    assert load_bundle(store.active()).id == two
    assert store.rollback().id == one
    assert load_bundle(store.active()).id == one
    assert store.rollback().id == load_bundle(None).id
    assert store.active() is None
    assert len(store.installed()) == 2


def test_use_takes_the_first_characters_of_an_id_or_shipped(store, first, second):
    one = store.install(first).id
    store.install(second)
    assert store.use(one[:6]).id == one
    assert store.use("shipped").id == load_bundle(None).id
    assert store.active() is None
    assert store.rollback().id == one


@pytest.mark.parametrize("name", ["", "nothing", "../first"])
def test_what_is_not_installed_cannot_be_used(store, first, name):
    store.install(first)
    with pytest.raises(UsageError, match=f"{name!r} names 0 of the bundles"):
        store.use(name)


def test_installing_again_changes_nothing_to_take_back(store, first):
    store.install(first)
    store.install(first)
    store.rollback()
    assert store.active() is None


def test_a_zip_is_installed_as_a_folder_and_what_it_came_from_may_go(store, first, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", first))
    bundle = store.install(archive)
    archive.unlink()
    assert load_bundle(store.active()).id == bundle.id


def test_installed_files_cannot_be_written(store, first):
    store.install(first)
    assert {path.stat().st_mode & 0o222 for path in store.active().iterdir()} == {0}


def test_an_altered_bundle_is_not_installed(store, first, second):
    one = store.install(first).id
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
    store.install(first)
    model = store.active() / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"rot")
    store.install(first)
    assert load_bundle(store.active()).id == load_bundle(first).id


KILLED = """
import os, sys
from pathlib import Path
from fnrbc_device import bundle_store, durable
left = int(sys.argv[3])
real = os.fsync
def fsync(descriptor):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    real(descriptor)
durable.os.fsync = fsync
bundle_store.BundleStore(Path(sys.argv[1])).install(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("step", [0, 1, 5, 11, 12, 13, 14])
def test_a_kill_in_the_middle_of_an_install_leaves_the_last_good_bundle(store, first, second, step):
    one = store.install(first).id

    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.folder), str(second), str(step)], timeout=60, check=False
    )

    assert done.returncode == -signal.SIGKILL
    found = load_bundle(store.active()).id
    assert found == one or (step >= 14 and found == load_bundle(second).id)
    assert load_bundle(store.installed()[0]).id
    assert store.install(second).id == load_bundle(store.active()).id
    assert not list(store.folder.glob(".fresh-*"))


def test_a_switch_that_says_nothing_is_named_with_the_cure(store, first):
    store.install(first)
    (store.folder / "active.json").write_text("{")
    with pytest.raises(BundleError, match="does not say which bundle counts"):
        store.active()
