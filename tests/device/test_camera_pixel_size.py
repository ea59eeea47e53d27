"""The stated pixel size against the red cells': asked for when absent, doubted when it cannot be, never replaced."""

import logging
import threading

import numpy as np
import pytest

from fnrbc_device.camera.pixel_size import STRIDE_FRAMES, SUGGESTION_FRAMES, ScaleWatch, require_known_pixel_size
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.errors import ConfigError, SourceError, UsageError
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import BadFrame, Frame
from fnrbc_device.vision.pixelsize import MOST_LOOKS
from fnrbc_device.web.snapshot import LiveView

UM = 0.2


@pytest.fixture(scope="module")
def slide():
    return SimulatedSlide.make(8, "giemsa", 20, UM)


@pytest.fixture(scope="module")
def picture(slide):
    return slide.image[:480, :640]


class Recorded:
    """A source of some pictures, which notes what was asked of it."""

    def __init__(self, pictures, pixel_size_um=None):
        self.name = "recorded"
        self.pixel_size_um = pixel_size_um
        self.closed = False
        self.given = 0
        self._pictures = pictures

    def read(self):
        if self.given == len(self._pictures):
            return None
        picture = self._pictures[self.given]
        self.given += 1
        if isinstance(picture, Exception):
            raise picture
        return Frame(self.given - 1, 0.0, picture)

    def close(self):
        self.closed = True


def watched(pictures, reason=None):
    watch = ScaleWatch()
    for index, picture in enumerate(pictures):
        watch.see(Frame(index, index / 30, picture), reason)
    watch.finish()
    return watch


def test_a_pixel_size_that_red_cells_rule_out_is_doubted_with_both_figures_and_the_cure(picture):
    watch = watched([picture])

    said = watch.doubt(0.1, "--pixel-size-um")

    assert "--pixel-size-um is 0.1 um" in said
    assert f"{watch.estimate.value_um:.3g} um ({watch.estimate.low_um:.3g}..{watch.estimate.high_um:.3g}" in said
    assert "check objective" in said
    assert "\n" not in said


@pytest.mark.parametrize("stated", [0.92 * UM, UM, 1.08 * UM])
def test_a_pixel_size_that_fits_is_not_doubted(picture, stated):
    assert watched([picture]).doubt(stated, "--pixel-size-um") == ""


def test_nothing_is_doubted_where_no_red_cell_lies(slide):
    assert watched([np.full((480, 640, 3), 240, np.uint8)] * 30).doubt(0.9, "--pixel-size-um") == ""


def test_a_few_frames_of_a_session_are_measured_however_long_it_is(slide):
    sparse = slide.image[:340, :440]
    once = watched([sparse]).estimate.cells

    assert once < watched([sparse] * 200).estimate.cells <= MOST_LOOKS * once
    assert watched([sparse] * 2000).estimate.cells <= MOST_LOOKS * once


def test_a_look_is_spread_over_frames_and_says_what_it_says_at_once(picture):
    spread, at_once = ScaleWatch(), watched([picture])
    calls = 0
    while spread.estimate is None:
        spread.see(Frame(0, 0.0, picture), None if calls == 0 else "blurred")
        calls += 1

    assert spread.estimate == at_once.estimate
    assert 5 <= calls <= 30


def test_a_session_that_starts_on_empty_glass_is_measured_when_cells_come(picture):
    empty = np.full_like(picture, 240)

    assert watched([empty] * 300 + [picture] * 10 * STRIDE_FRAMES).estimate is not None


@pytest.mark.parametrize("reason", ["blurred", "too_fast", "too_dark", "too_bright", "repeated"])
def test_frames_that_show_no_outlines_are_not_measured(picture, reason):
    assert watched([picture] * 40, reason).estimate is None


def test_frames_that_could_not_be_placed_are_measured_for_a_wrong_pixel_size_is_one_cause(picture):
    assert watched([picture], "tracking_lost").estimate is not None


def test_broken_and_odd_frames_end_nothing(picture):
    watch = ScaleWatch()
    watch.see(BadFrame(0, 0.0, "unreadable", "torn"), "unreadable")
    watch.see(Frame(1, 0.0, np.zeros((3, 0, 3), np.uint8)), "failed")
    for index in range(2, 2 + 4 * STRIDE_FRAMES):
        watch.see(Frame(index, 0.0, picture), None)

    assert watch.estimate is not None


def test_what_was_asked_for_counts_and_the_source_is_left_alone(picture):
    source = Recorded([picture], pixel_size_um=0.3)

    assert require_known_pixel_size(0.7, source) == 0.7
    assert require_known_pixel_size(None, source) == 0.3
    assert (source.given, source.closed) == (0, False)


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), 5.0])
def test_a_pixel_size_of_no_microscope_is_refused(size):
    with pytest.raises(UsageError, match="pixel size"):
        require_known_pixel_size(size, Recorded([]))


def test_where_nobody_knows_the_refusal_offers_what_red_cells_suggest(picture):
    source = Recorded([picture] * 400)

    with pytest.raises(UsageError, match=r"red cells suggest 0\.1\d+ um \(.*give --pixel-size-um 0\.1\d+ only if"):
        require_known_pixel_size(None, source)

    assert source.closed
    assert source.given <= SUGGESTION_FRAMES


def test_the_refusal_of_a_configuration_names_its_own_setting(picture):
    with pytest.raises(ConfigError, match=r"give camera\.pixel_size_um") as refused:
        require_known_pixel_size(None, Recorded([picture]), "camera.pixel_size_um", ConfigError)

    assert "--pixel-size-um" not in str(refused.value)


@pytest.mark.parametrize("pictures", [[], [SourceError("no frame")], [np.full((64, 64, 3), 240, np.uint8)] * 3])
def test_where_red_cells_tell_nothing_the_refusal_suggests_nothing(pictures):
    source = Recorded(pictures)

    with pytest.raises(UsageError, match="nothing tells") as refused:
        require_known_pixel_size(None, source)

    assert "red cells" not in str(refused.value)
    assert source.closed


@pytest.mark.parametrize(("stated", "doubtful"), [(0.125, False), (0.2, True)])
def test_the_daemon_says_once_and_shows_while_it_lasts_that_the_pixel_size_is_doubtful(
    tmp_path, caplog, stated, doubtful
):
    slide = SimulatedSlide.make(9, "he", 10)
    path = np.array([(100.0, 20.0 + 25 * step) for step in range(12)])
    live = LiveView()
    setup = Setup(
        source=SimulatedMicroscope(slide, path, optics=Optics.perfect(), fps=30),
        bundle=load_bundle(None),
        pixel_size_um=stated,
        journal_path=tmp_path / "journal.sqlite",
        mqtt=MqttSettings(enabled=False),
        live=live,
    )

    with caplog.at_level(logging.WARNING, "fnrbc_device.daemon"):
        Daemon(setup).run(threading.Event())

    said = [record.message for record in caplog.records if "red cells suggest" in record.message]
    assert len(said) == doubtful
    assert all(f"camera.pixel_size_um is {stated} um" in sentence for sentence in said)
    shown = live.newest()
    assert ("pixel_size_doubtful" in shown.snapshot.health.reasons) == doubtful
