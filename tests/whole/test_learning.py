"""From reviewed cells to a network that counts: one slide of real cells, all commands as an engineer types them."""

import csv
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fnrbc_device.camera.replay import open_source
from fnrbc_device.cli import app as fnrbc
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.read_only import reading
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.labels import of_sessions
from fnrbc_device.web.snapshot import LiveView
from fnrbc_export.cli import app as fnrbc_export
from fnrbc_training.cli import app as fnrbc_train
from fnrbc_training.dataset import load

SHARED = Path(__file__).parents[3] / "shared"
CELLS = SHARED / "data" / "pbc"
COMPOSER = SHARED / "tools" / "compose_slide.py"
PIXEL_SIZE_UM = 0.105
NEAR_UM = 4.5

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not CELLS.is_dir() or not COMPOSER.is_file(), reason="no real cells in ../shared"),
]


APPS = {"fnrbc": fnrbc, "fnrbc-train": fnrbc_train, "fnrbc-export": fnrbc_export}


@pytest.fixture
def run(capsys):
    """Runs a command line in this process: a new one would import torch each time."""

    def command(name, *arguments):
        APPS[name]([str(one) for one in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return command


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def slide(tmp_path):
    folder = tmp_path / "slide"
    compose = [COMPOSER, "--crops", CELLS, "--out", folder, "--grid", "5", "--seed", "77", "--path", "raster"]
    options = ["--share", "0.5"]
    subprocess.run([sys.executable, *map(str, compose), *options], check=True, stdout=subprocess.DEVNULL, timeout=60)
    return folder


@pytest.fixture
def state(tmp_path, slide):
    """A device that counted the slide, and its configuration."""
    folder = tmp_path / "state"
    source = open_source(slide / "frames", PIXEL_SIZE_UM)
    setup = Setup(
        source=source,
        bundle=load_bundle(None),
        pixel_size_um=PIXEL_SIZE_UM,
        journal_path=folder / "journal.sqlite",
        mqtt=MqttSettings(enabled=False, site="lab", device="scope"),
        live=LiveView(),
    )
    stop = threading.Event()
    daemon = Daemon(setup)
    daemon.run(stop)
    (tmp_path / "fnrbc.toml").write_text(f'state_dir = "{folder}"\n[camera]\npixel_size_um = {PIXEL_SIZE_UM}\n')
    return folder, daemon.session_id, tmp_path / "fnrbc.toml"


def true_classes(slide, journal, session):
    """What each counted cell is in truth, by its place; cells with no labelled one near are left out."""
    truth, corner = rows(slide / "truth.csv"), rows(slide / "poses.csv")[0]
    at = np.array([(float(one["x_px"]), float(one["y_px"])) for one in truth])
    at_um = PIXEL_SIZE_UM * (at - (float(corner["x_px"]), float(corner["y_px"])))
    with reading(journal) as connection:
        counted = connection.execute("SELECT cell, x_um, y_um FROM events WHERE session = ?", (session,)).fetchall()
    away = {cell: np.hypot(*(at_um - (x, y)).T) for cell, x, y in counted}
    return {cell: truth[int(um.argmin())]["class"] for cell, um in away.items() if um.min() < NEAR_UM}


def called(name):
    return {"erythroblast": "fnrbc", "platelet": "other"}.get(name, "leukocyte")


def test_cells_that_people_reviewed_teach_the_network_that_counts_next(tmp_path, slide, state, run):
    folder, session, config = state
    journal = folder / "journal.sqlite"
    with Decisions(journal, "scope", SystemClock()) as reviewing:
        for cell, name in true_classes(slide, journal, session).items():
            reviewing.decide(session, cell, "reclassified", "anna", class_name=called(name))
    reviewed = [one for one in of_sessions(journal, [])[session] if one.label]
    assert len(reviewed) >= 19  # of 24 with a nucleus; the one platelet that was among them is no cell any more
    data, crops, checkpoint, bundle = (tmp_path / name for name in ("data", "crops.npz", "pnet.pt", "pnet"))

    assert "stretches" in run("fnrbc", "reviewed", "--out", data, "--config", config)
    run("fnrbc-train", "cut", "--data", data / "cells.csv", "--out", crops)
    cut = load(crops)
    assert len(cut) == len(rows(data / "cells.csv")) >= len(reviewed)
    assert all(group.split("/")[1] == session for group in cut.groups)
    by_name = {f"reviewed/{one.session}-{one.cell:06d}.png": one for one in reviewed}
    taught = {name.split("/", 1)[1].split(" at ")[0]: crop for name, crop in zip(cut.names, cut.crops, strict=True)}
    for name, one in by_name.items():
        assert (taught[name] == one.crop).all()  # what the device saw is what is taught, bit for bit

    run("fnrbc-train", "fit", "--data", crops, "--out", checkpoint, "--epochs", 1)
    run("fnrbc-export", "onnx", checkpoint, "--out", bundle)
    compared = run("fnrbc", "bundle", "compare", bundle, "--config", config)
    assert f"{len(reviewed)} reviewed cells" in compared
    assert "mended" in compared
    assert "spoiled" in compared
    assert session in run("fnrbc", "drift", session, "--bundle", bundle, "--config", config)
    # One epoch makes a poor network: what is worse beyond its interval is taken by force alone.
    assert "does not count yet" in run("fnrbc", "bundle", "install", bundle, "--force", "--config", config)
    name = next((folder / "bundles").glob("*/manifest.json")).parent.name
    assert "counts from the next session on" in run("fnrbc", "bundle", "use", name, "--config", config)

    count = ("fnrbc", "count", slide / "frames", "--pixel-size-um", PIXEL_SIZE_UM)
    run(*count, "--out", tmp_path / "before")
    said = run(*count, "--out", tmp_path / "now", "--bundle", bundle, "--compare", tmp_path / "before")
    assert re.search(r"\d+ of \d+ cells changed", said)
