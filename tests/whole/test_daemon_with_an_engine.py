"""The daemon over an engine: it says while one is built, counts with it, and says aloud when it counts without."""

import threading
from dataclasses import replace

import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.errors import EngineError
from fnrbc_device.inference.choose import EngineSettings
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView
from older_bundle import bundle_without_eyes


class Watched(LiveView):
    """Remembers every health that was shown."""

    def __init__(self):
        super().__init__()
        self.healths = []

    def show(self, snapshot):
        self.healths.append(snapshot.health)
        super().show(snapshot)


@pytest.fixture
def count(tmp_path):
    """Count a small slide; gives what was counted and what was shown."""

    def run(fallback="onnxruntime", **changes):
        slide = SimulatedSlide.make(41, "giemsa", 4)
        live = Watched()
        setup = Setup(
            source=SimulatedMicroscope(slide, seed=41, fps=60),
            bundle=load_bundle(None),
            pixel_size_um=slide.pixel_size_um,
            journal_path=tmp_path / "journal.sqlite",
            mqtt=MqttSettings(enabled=False),
            live=live,
            simulated=True,
            engines=EngineSettings(None, tmp_path / "engines", fallback, 60.0),
        )
        stop = threading.Event()
        timer = threading.Timer(4.0, stop.set)
        try:
            return Daemon(replace(setup, **changes)).run(stop, timer.start), live
        finally:
            timer.cancel()

    return run


def test_it_says_that_it_builds_then_counts_with_the_engine(fake_gpu, count, monkeypatch):
    monkeypatch.setenv("FAKE_TENSORRT_BUILD_S", "1")
    tally, live = count()
    states = [health.state for health in live.healths]
    assert states[0] == "building_engine"
    assert "building_engine" not in states[states.index("counting") :]
    assert tally.cells > 0
    assert not any("engine_parity_failed" in health.reasons for health in live.healths)


def test_with_an_engine_that_fails_its_proof_it_counts_on_the_processor_and_says_so_all_the_time(
    fake_gpu, count, monkeypatch, caplog
):
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "channels")
    tally, live = count()
    counting = [health for health in live.healths if health.state in ("counting", "degraded")]
    assert tally.cells > 0
    assert counting
    assert all("engine_parity_failed" in health.reasons for health in counting)
    assert "engine_parity_failed: a probability of the golden crops is off" in caplog.text


def test_without_a_proved_network_it_does_not_count_at_all(fake_gpu, count, monkeypatch):
    monkeypatch.setenv("FAKE_TENSORRT_FAULT", "channels")
    with pytest.raises(EngineError, match="nor is there a last good engine"):
        count("last_good")


@pytest.mark.parametrize(("method", "says"), [("network", True), ("both", False)])
def test_where_the_network_that_shall_find_the_cells_is_missing_the_threshold_finds_them_and_it_says_so(
    count, tmp_path, method, says
):
    older = load_bundle(bundle_without_eyes(tmp_path / "older"))
    tally, live = count(bundle=older, method=method, engines=None)

    assert tally.cells > 0
    assert {"seeing_by_threshold" in one.reasons for one in live.healths if one.state != "starting"} == {says}
