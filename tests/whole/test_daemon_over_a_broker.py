"""The whole way: a simulated camera, the daemon, a real broker, and an independent client that listens."""

import sqlite3
import threading
from contextlib import closing

import numpy as np
import pytest

from attended import Device, power_lost
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.host.clock import SystemClock, moment_of
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.journal import Journal
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.web.snapshot import LiveView
from mortal import SHAPE, calm_path, recorded
from truth import held_against, offset_of

B = "fnrbc/v1/lab/bench"


def run_daemon(slide, microscope, port, folder, stop=None):
    setup = Setup(
        source=microscope,
        bundle=load_bundle(None),
        pixel_size_um=slide.pixel_size_um,
        journal_path=folder / "journal.sqlite",
        mqtt=MqttSettings(port=port, site="lab", device="bench"),
        live=LiveView(),
        simulated=True,
    )
    daemon = Daemon(setup)
    return daemon, daemon.run(stop or threading.Event())


def test_tally_log_and_journal_agree_and_hold_the_truth(broker, listen, tmp_path):
    listener = listen(broker.port)
    slide = SimulatedSlide.make(21, "giemsa", 24)
    microscope = SimulatedMicroscope(slide, seed=21, fps=15)

    daemon, tally = run_daemon(slide, microscope, broker.port, tmp_path)
    heard = listener.wait_for(lambda heard: heard and heard[-1].payload == "offline")

    # The log: every record once it is deduplicated, without a gap.
    records = [one.fields for one in heard if "/log/" in one.topic]
    seqs = sorted({record["seq"] for record in records})
    assert seqs == list(range(1, len(seqs) + 1))
    cells = [one.fields for one in heard if one.topic == f"{B}/log/cell"]
    counted = {cell["cell_id"]: cell for cell in cells}
    assert len(cells) == len(counted) == tally.cells

    # The last tally said is the one returned, and the one that the journal adds up to.
    said = [one.fields for one in heard if one.topic == f"{B}/tally"]
    with Journal.open(tmp_path / "journal.sqlite", "bench") as journal:
        recorded = journal.tally(daemon.session_id)
        assert journal.unfinished() == []
    for name in ("cells", "fnrbc", "leukocytes", "other", "indeterminate", "frames", "frames_used"):
        assert getattr(tally, name) == getattr(recorded, name) == said[-1][name], name
    assert said[-1]["state"] == "finished"
    assert said[-1]["log_seq"] == seqs[-1]
    rising = [one["cells"] for one in said]
    assert rising == sorted(rising)
    assert len(set(rising)) > 3

    # The order of a life: online only after the state that it stands for, offline last.
    order = [one.topic.removeprefix(f"{B}/") for one in heard]
    assert order.index("status") < order.index("availability")
    assert [one.payload for one in heard if one.topic == f"{B}/availability"] == ["online", "offline"]
    assert next(one.fields for one in heard if one.topic == f"{B}/summary")["cells"] == tally.cells

    # And the truth: who was seen whole and sharp three times is counted, nobody twice.
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
        rows = database.execute("SELECT frame, row_px, col_px FROM frames WHERE row_px IS NOT NULL").fetchall()
    true = [microscope.pose(frame) for frame, _, _ in rows]
    offset = offset_of([row[1:] for row in rows], [(pose.row_px, pose.col_px) for pose in true])
    um = slide.pixel_size_um
    places = np.array([(cell["y_um"] / um, cell["x_um"] / um) for cell in counted.values()]) - offset
    truth = np.array([(cell.row_px, cell.col_px) for cell in slide.truth])
    held = held_against(truth, microscope.times_sharp() >= 3, places, um)
    assert held.twice == []
    # Frames that a busy machine dropped may take a cell's only views.
    assert held.found >= held.wanted - (1 if tally.frames_dropped else 0)


def test_a_late_client_learns_who_speaks_and_how_the_count_stands(broker, listen, tmp_path):
    slide = SimulatedSlide.make(22, "he", 10)
    microscope = SimulatedMicroscope(slide, seed=22)

    _, tally = run_daemon(slide, microscope, broker.port, tmp_path)

    wanted = {f"{B}/availability", f"{B}/tally"}
    late = listen(broker.port, f"{B}/#", "late")
    heard = {one.topic: one for one in late.wait_for(lambda heard: wanted <= {one.topic for one in heard})}
    assert heard[f"{B}/availability"].payload == "offline"
    assert heard[f"{B}/tally"].fields["cells"] == tally.cells
    assert all(one.retained for one in heard.values())


def test_a_client_reads_what_is_on_record_of_a_session_that_was_held_when_the_power_went(broker, listen, tmp_path):
    """What was said last before that lay up to half a second behind the record."""
    with power_lost():
        device = Device(tmp_path)
        device.ask("start")
        device.shown(lambda one: one.step is not None and one.tally.frames >= 20)
        command_log = CommandLog(device.journal_path, "fnrbc", SystemClock())
        device.control.ask("pause", lambda: command_log.audit("anna", "pause", "r1", ""))
        command_log.close()
        device.shown(lambda one: one.state == "paused")
        device.end()
    ((began,),) = recorded(tmp_path, "SELECT started_utc FROM sessions")

    listener = listen(broker.port)
    again = Device(tmp_path, mqtt=MqttSettings(port=broker.port, site="lab", device="bench"))
    try:
        listener.wait_for(lambda _: listener.on("tally"))
    finally:
        again.end()

    told = listener.on("tally")[0].fields
    ((frames,),) = recorded(tmp_path, "SELECT count(*) FROM frames")
    assert (told["state"], told["frames"]) == ("paused", frames)
    since_s = (moment_of(told["ts"]) - moment_of(began)).total_seconds()
    assert told["elapsed_s"] == pytest.approx(since_s, abs=0.5)


def test_a_client_reads_the_last_count_of_a_session_that_ended_while_no_broker_was_there(broker, listen, tmp_path):
    slide = SimulatedSlide.make(5, "giemsa", 40)
    microscope = SimulatedMicroscope(slide, calm_path(slide, 80), seed=5, frame_shape=SHAPE, fps=60)
    setup = Setup(
        source=microscope,
        bundle=load_bundle(None),
        pixel_size_um=slide.pixel_size_um,
        journal_path=tmp_path / "journal.sqlite",
        mqtt=MqttSettings(enabled=False),
        live=LiveView(),
    )
    tally = Daemon(setup).run(threading.Event())
    ((ended,),) = recorded(tmp_path, "SELECT ended_utc FROM sessions")

    listener = listen(broker.port)
    again = Device(tmp_path, mqtt=MqttSettings(port=broker.port, site="lab", device="bench"))
    try:
        listener.wait_for(lambda _: listener.on("summary"))
        listener.wait_for(lambda _: listener.on("tally"))
    finally:
        again.end()

    told = listener.on("summary")[0].fields
    assert (told["cells"], told["frames"], told["frames_dropped"]) == (tally.cells, tally.frames, tally.frames_dropped)
    assert (told["area_mm2"], told["finished"]) == (round(tally.unique_area_mm2, 4), ended)
    assert told["claim"] == (tally.claim.state if tally.claim else None)
    assert listener.on("tally")[0].fields["state"] == "finished"


def test_counting_goes_on_with_no_broker_and_the_outbox_keeps_it_all(free_port, tmp_path, monkeypatch):
    monkeypatch.setattr("fnrbc_device.daemon.daemon.FLUSH_TIMEOUT_S", 0.5)  # in vain here
    slide = SimulatedSlide.make(23, "giemsa", 10)
    microscope = SimulatedMicroscope(slide, seed=23)

    daemon, tally = run_daemon(slide, microscope, free_port, tmp_path)

    assert tally.cells > 0
    with Journal.open(tmp_path / "journal.sqlite", "bench") as journal:
        assert journal.last_seq == tally.cells + 2  # a record for each cell, one for the start, one for the end
        assert journal.tally(daemon.session_id).cells == tally.cells


def test_a_count_is_paused_goes_on_and_ends_by_command(broker, listen, operate, tmp_path):
    listener = listen(broker.port)
    slide = SimulatedSlide.make(24, "giemsa", 60)
    microscope = SimulatedMicroscope(slide, seed=24, fps=30)
    stop = threading.Event()
    counting = threading.Thread(
        target=lambda: run_daemon(slide, microscope, broker.port, tmp_path, stop), name="counting"
    )
    counting.start()

    def states():
        return [one.fields["state"] for one in list(listener.heard) if one.topic == f"{B}/session"]

    def wait_for_state(name):
        """Until it is heard: of states that follow each other at once only the newest is sent."""
        listener.wait_for(lambda _: states()[-1:] == [name])

    listener.wait_for(lambda _: any(one.payload == "online" for one in listener.on("availability")))
    wait_for_state("running")
    operator = operate(broker.port, B)

    assert operator.ask("pause")["state"] == "paused"
    wait_for_state("paused")
    listener.wait_for(lambda _: listener.on("tally") and listener.on("tally")[-1].fields["state"] == "paused")
    assert recorded(tmp_path, "SELECT count(*) FROM frames") == [(listener.on("tally")[-1].fields["frames"],)]
    assert operator.ask("resume")["accepted"]
    wait_for_state("running")
    frames = listener.on("tally")[-1].fields["frames"]
    assert operator.ask("start")["code"] == "wrong_state"
    listener.wait_for(lambda _: listener.on("tally") and listener.on("tally")[-1].fields["frames"] > frames)
    assert operator.ask("mark", note="here")["accepted"]
    assert operator.ask("stop")["state"] == "stopping"
    wait_for_state("finished")
    assert operator.ask("start")["state"] == "starting"
    wait_for_state("running")
    listener.wait_for(lambda _: len(listener.on("health")) > 1)
    assert operator.ask("stop")["accepted"]
    wait_for_state("finished")
    stop.set()
    counting.join(60)

    listener.wait_for(lambda heard: heard[-1].payload == "offline")
    lasting = [one for one in states() if one not in ("starting", "stopping")]
    assert lasting == ["running", "paused", "running", "finished", "running", "finished"]
    said = [(one.fields["verb"], one.fields["outcome"]) for one in listener.on("log/audit")]
    assert said == [
        ("pause", "accepted"), ("resume", "accepted"), ("start", "refused"), ("mark", "accepted"), ("stop", "accepted"),
        ("start", "accepted"), ("stop", "accepted"),
    ]  # fmt: skip
    told = [(one.fields["event"], one.fields["session"]) for one in listener.on("log/session")]
    first, second = told[0][1], told[-1][1]
    assert told == [("started", first), ("finished", first), ("started", second), ("finished", second)]
    assert first != second
    health = listener.on("health")[0].fields
    assert health["disk_free_mb"] > 0
    assert health["mem_used_mb"] > 0
    seqs = [one.fields["seq"] for one in listener.log()]
    assert sorted(set(seqs)) == list(range(1, max(seqs) + 1))
