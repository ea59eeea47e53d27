import asyncio
import csv
import dataclasses
import json
import subprocess
import sys
import time
from datetime import datetime, timezone

import cv2
import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.inference.bundle_store import BundleStore
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.learning.calibrating import Calibrating
from fnrbc_device.learning.calibration import FEWEST, HOME_LOSS, ReviewedCells, auc, calibrate
from fnrbc_device.learning.reviewed_cells import from_folder
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.head import features_of, holds, with_head
from fnrbc_device.model.seal import write_bundle
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web import calibration, learn
from fnrbc_device.web.access.user import User
from fnrbc_device.web.calibration import _here
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.snapshot import LiveView
from site_cells import site_cells
from site_cells import write_reviewed as write_reviewed_session

AT = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
NAMES = {"target": "fnrbc", "denominator": "leukocyte", "ignored": "other"}


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return site_cells(tmp_path_factory.mktemp("site") / "cells", 260, 45)


@pytest.fixture(scope="module")
def calibrated(bundle, site):
    return calibrate(bundle, site, "Here", AT)


def chosen(site, rows):
    return ReviewedCells(site.crops[rows], [site.roles[row] for row in rows])


def kinds(site):
    positive = np.array([role == "target" for role in site.roles])
    return np.flatnonzero(positive), np.flatnonzero(~positive)


def test_a_site_bundle_names_its_parent_its_cells_and_its_gain(bundle, site, calibrated):
    of = calibrated.manifest.site
    assert (of.name, of.parent) == ("Here", bundle.id)
    assert of.cells == {"target": 45, "denominator": 45, "ignored": 0}
    assert of.cells_sha256 == site.sha256()
    assert 0 < of.gain_low < of.gain < of.gain_high
    assert of.auc_after >= of.auc_before
    assert calibrated.manifest.bundle_id != bundle.id


def test_a_site_bundle_is_a_bundle_and_computes_what_was_tuned(calibrated, bundle, tmp_path):
    write_bundle(tmp_path / "site", calibrated.files, prove=load_bundle)
    found = load_bundle(tmp_path / "site")
    classifier = OnnxClassifier(found)
    assert prove(classifier, found) < 1e-4
    assert not np.allclose(classifier.probabilities(bundle.golden_crops), bundle.golden_probabilities, atol=1e-4)
    assert np.array_equal(found.golden_crops, bundle.golden_crops)
    assert (found.manifest.threshold, found.manifest.indeterminate) == (
        bundle.manifest.threshold, bundle.manifest.indeterminate,
    )  # fmt: skip
    assert "tuned for Here" in found.model_card
    assert (found.seeing is None) == (bundle.seeing is None)


def test_what_was_right_at_home_stays_right(calibrated):
    for before, after in zip(calibrated.home_before, calibrated.home_after, strict=True):
        assert after.value >= before.value - HOME_LOSS


def test_counts_of_the_laboratory_are_of_cells_that_the_head_was_not_tuned_on(calibrated):
    here = [entry for entry in calibrated.manifest.metrics.counts if entry.laboratory == "Here"]
    assert {entry.role: entry.right + entry.wrong + entry.undecided for entry in here} == {
        "target": 45, "denominator": 45,
    }  # fmt: skip


@pytest.mark.parametrize("kind", [0, 1])
def test_one_kind_alone_is_refused(bundle, site, kind):
    with pytest.raises(UsageError, match="One kind alone teaches"):
        calibrate(bundle, chosen(site, kinds(site)[kind]), "Here", AT)


def test_too_few_are_refused(bundle, site):
    positive, others = kinds(site)
    with pytest.raises(UsageError, match=f"{FEWEST} of each are needed"):
        calibrate(bundle, chosen(site, np.append(positive[: FEWEST - 1], others)), "Here", AT)


def test_one_wrong_label_in_ten_is_survived(bundle, site):
    roles = list(site.roles)
    for row in range(0, len(roles), 10):
        roles[row] = "denominator" if roles[row] == "target" else "target"
    found = calibrate(bundle, ReviewedCells(site.crops, roles), "Here", AT)
    assert found.manifest.site.gain_low > 0
    assert found.home_after[0].value >= found.home_before[0].value - HOME_LOSS


@pytest.mark.parametrize("seed", [4, 6, 9])
def test_labels_that_mean_nothing_are_refused(bundle, site, seed):
    rng = np.random.default_rng(seed)
    with pytest.raises(UsageError, match=r"does not help here|forgets"):
        calibrate(bundle, ReviewedCells(site.crops, list(rng.permutation(site.roles))), "Here", AT)


def test_a_head_is_put_back_byte_for_byte(bundle, calibrated):
    with pytest.raises(BundleError, match="calibrate an fp32 bundle"):
        with_head(calibrated.files["model.onnx"], bundle.head, bundle.head)
    assert holds(bundle.model, bundle.head)
    assert with_head(bundle.model, bundle.head, bundle.head) == bundle.model


def test_features_with_the_head_are_the_networks_probabilities(bundle):
    found = bundle.head.probabilities(features_of(bundle.model, bundle.golden_crops))
    assert found == pytest.approx(bundle.golden_probabilities, abs=1e-4)


def test_the_area_is_the_share_of_pairs_in_order():
    assert auc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == pytest.approx(3.5 / 4)


def write_reviewed(folder, site):
    """As ``fnrbc reviewed`` writes it, with a cell that the machine alone named."""
    (folder / "reviewed").mkdir(parents=True)
    (folder / "machine").mkdir()
    with (folder / "cells.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "x", "y", "group", "label"])
        for i, (crop, role) in enumerate(zip(site.crops, site.roles, strict=True)):
            name = f"reviewed/s-{i:06d}.png"
            cv2.imwrite(str(folder / name), crop[..., ::-1])
            rows.writerow([name, 59.5, 59.5, "s", NAMES[role]])
        cv2.imwrite(str(folder / "machine/s-999999.png"), site.crops[0][..., ::-1])
        rows.writerow(["machine/s-999999.png", 59.5, 59.5, "s", "leukocyte"])
    return folder / "cells.csv"


def run(*arguments):
    command = [sys.executable, "-m", "fnrbc_device.cli", "calibrate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_a_folder_of_reviewed_cells_reads_as_what_people_said(site, tmp_path):
    found = from_folder(write_reviewed(tmp_path / "cells", site))
    assert found.sha256() == site.sha256()


def test_the_command_writes_a_bundle_beside_the_device(site, tmp_path):
    from fnrbc_device.model.bundle import SHIPPED

    table = write_reviewed(tmp_path / "cells", site)
    done = run("--name", "Here", "--cells", table, "--bundle", SHIPPED, "--out", tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    assert "count with it: fnrbc bundle install" in done.stdout
    assert json.loads((tmp_path / "site" / "manifest.json").read_text())["site"]["name"] == "Here"
    again = run("--name", "Here", "--cells", table, "--bundle", SHIPPED, "--out", tmp_path / "site")
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1


@pytest.mark.parametrize("content", [None, "image,label\n", "a,b\n1,2\n", "image,label\nreviewed/x.png,blood\n"])
def test_a_table_that_is_none_is_one_sentence(tmp_path, content):
    from fnrbc_device.model.bundle import SHIPPED

    if content is not None:
        (tmp_path / "cells.csv").write_text(content)
    done = run("--name", "Here", "--cells", tmp_path / "cells.csv", "--bundle", SHIPPED, "--out", tmp_path / "site")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


class Pages:
    """The pages of a laboratory whose people reviewed its cells."""

    def __init__(self, state, site):
        self.journal = state / "journal.sqlite"
        write_reviewed_session(self.journal, site)
        self.store = BundleStore(state / "bundles")
        self.control = SessionControl()
        calibrating = Calibrating(self.journal, "Here", self.store.active, self.store)
        self.context = WebContext(LiveView(), self.control, self.journal, "Here", "bench", calibrating=calibrating)

    def asked(self, method, address, role="admin"):
        application = Starlette(routes=[*learn.routes(self.context), *calibration.routes(self.context)])

        async def as_user(scope, receive, send):
            scope["fnrbc.user"] = User("anna", role)
            await application(scope, receive, send)

        async def answer():
            transport = httpx.ASGITransport(as_user)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, address)

        return asyncio.run(answer())

    def ended(self):
        deadline = time.monotonic() + 280
        while self.asked("GET", "/learn/calibration").json()["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return self.context.calibrating.standing


@pytest.fixture
def pages(tmp_path, site):
    found = Pages(tmp_path, site)
    yield found
    found.context.close()


def test_the_button_tunes_proves_and_installs_a_bundle_that_does_not_count_yet(pages, calibrated):
    assert pages.asked("POST", "/learn/calibration").status_code == 303
    assert pages.asked("POST", "/learn/calibration").text == "A calibration is under way; wait for its end."
    standing = pages.ended()
    (installed,) = pages.store.installed()
    found = load_bundle(installed)
    assert (standing.state, standing.made.bundle_id) == ("made", found.id)
    assert found.manifest.site == calibrated.manifest.site
    assert pages.store.active() is None
    with reading(pages.journal) as connection:
        ordered = [row[0] for row in connection.execute("SELECT kind FROM audit")].count("command")
    assert ordered == 1
    text = pages.asked("GET", "/learn").text
    assert "by 45 fNRBC and 45 other cells" in text
    assert f"{found.manifest.site.auc_after:.3f}" in text
    assert found.id[:16] in text


def test_a_session_that_counts_is_not_disturbed_and_only_an_admin_tunes(pages):
    pages.control.enter("running")
    assert pages.asked("POST", "/learn/calibration").status_code == 409
    pages.control.enter("idle")
    assert pages.asked("POST", "/learn/calibration", role="reviewer").status_code == 403
    assert pages.context.calibrating.standing.state == "none"
    without = dataclasses.replace(pages.context, calibrating=None)
    with pytest.raises(HTTPException, match="Nothing can be calibrated here"):
        _here(without)


def test_a_calibration_that_is_closed_leaves_no_process_and_no_bundle(pages):
    pages.asked("POST", "/learn/calibration")
    pages.context.close()
    assert pages.context.calibrating.standing.state == "refused"
    assert pages.store.installed() == []
    assert not pages.context.calibrating.start(lambda _: None)
