"""A daemon that can be started and killed hundreds of times: a parent loads all once, and forks a child a start.

Run as a program it is that parent: it reads ``recording FOLDER``, ``live FOLDER`` or ``attended-TASK FOLDER`` from its
input, answers with the child's process id, and with its exit code once the child has ended.
"""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import Frame
from fnrbc_device.session_state import SessionControl, SessionPlan
from fnrbc_device.web.snapshot import LiveView
from truth import held_against

SHAPE = (480, 640)
LIVE_FPS = 60.0


class Camera:
    """A simulated microscope as a live camera: what was not looked at in time is gone, and it counts from 0."""

    def __init__(self, microscope, counter):
        self.name, self.pixel_size_um = microscope.name, microscope.pixel_size_um
        self._microscope, self._counter = microscope, counter
        self._first = int(counter.read_text()) if counter.exists() else 0
        microscope.skip_to(self._first)

    def read(self):
        frame = self._microscope.read()
        if frame is None:
            return None
        part = self._counter.with_suffix(".part")
        part.write_text(str(frame.index + 1))
        part.replace(self._counter)
        return Frame(frame.index - self._first, frame.captured_at_s, frame.image, str(frame.index))

    def close(self):
        self._microscope.close()


def calm_path(slide, frames):
    """A raster of two lines, and back over them."""
    rows, cols = (side - frame - 20 for side, frame in zip(slide.image.shape, SHAPE, strict=False))
    across = np.linspace(10, min(cols, 6.0 * frames), frames // 4)
    line = [(10.0, col) for col in across] + [(min(rows, 260.0), col) for col in across[::-1]]
    return np.array(line + line[::-1])


SPARE = SessionPlan(specimen="B 4", objective="spare", pixel_size_um=0.15)


def attend(task, control, view, stop):
    """What people do: start so many sessions one after the other, or end the one that is gone on with."""
    if task == "end":
        _wait_for_count(view)
        stop.set()
    for number in range(int(task) if task.isdigit() else 0):
        if number:
            control.ask("stop", lambda: None)
            assert control.wait("finished", 30)
        control.ask("start", lambda: None, SPARE if number else SessionPlan(specimen="A 17"))
        assert control.wait("running", 30)
        _wait_for_count(view)


def _wait_for_count(view, frames=20):
    """Wait until a session has counted so many frames more."""
    seq, first = 0, None
    while True:
        shown = view.wait_newer(seq, 30)
        seq, step = shown.seq, shown.snapshot.step
        if shown.snapshot.state == "running" and step is not None:
            first = step.tally.frames if first is None else first
            if step.tally.frames >= first + frames:
                return


def run_daemon(slide, frames, folder, kind, least_free_mb=50):
    live, view, control, stop = kind != "recording", LiveView(), SessionControl(), threading.Event()
    microscope = SimulatedMicroscope(
        slide, calm_path(slide, frames), seed=7, frame_shape=SHAPE, fps=LIVE_FPS if live else None
    )
    setup = Setup(
        source=Camera(microscope, folder / "hand") if live else microscope,
        bundle=load_bundle(None),
        pixel_size_um=slide.pixel_size_um,
        journal_path=folder / "journal.sqlite",
        mqtt=MqttSettings(enabled=False),
        live=view,
        record=RecordSettings(least_free_mb=least_free_mb),
        start="by_hand" if kind.startswith("attended-") else "at_once",
        control=control,
    )
    task = kind.removeprefix("attended-") if setup.start == "by_hand" else ""
    people = threading.Thread(target=attend, args=(task, control, view, stop), daemon=True)
    Daemon(setup).run(stop, people.start)


class Mortal:
    """Starts daemons over one slide, and kills them."""

    def __init__(self, seed=77, cells=40, frames=200):
        self.frames = frames
        self._newest = 0
        paths = [str(Path(__file__).parent), *sys.path]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, __file__, str(seed), str(cells), str(frames)]
        self._parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self):
        self._parent.stdin.close()
        if self._newest:  # of a test that failed it may still run
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._newest, signal.SIGKILL)
        self._parent.wait(20)
        self._parent.stdout.close()

    def start(self, folder, kind):
        self._parent.stdin.write(f"{kind} {folder}\n")
        self._parent.stdin.flush()
        self._newest = int(self._parent.stdout.readline())
        return self._newest

    def ended(self):
        """Exit code of the newest daemon; -9 where it was killed. Waits for it."""
        self._newest = 0
        return int(self._parent.stdout.readline())

    def killed_until_it_ends(self, folder, kind, kills, seed):
        """Kill the daemon at random moments, prove its record after each; then let it end. Gives how often."""
        rng = random.Random(seed)
        told, struck = [], 0
        while not recorded(folder, "SELECT 1 FROM sessions WHERE ended_utc IS NOT NULL"):
            pid = self.start(folder, kind)
            if struck < kills:
                _wait_for_frames(folder, rng.randint(1, max(2, 2 * self.frames // kills)))
                time.sleep(rng.uniform(0, 0.03))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            code = self.ended()
            assert code in (0, -signal.SIGKILL)
            struck += code != 0
            log = recorded(folder, "SELECT seq, payload FROM outbox ORDER BY seq")
            assert log[: len(told)] == told
            told = log
            if log:
                assert prove(folder / "journal.sqlite").fault == ""
        return struck


def _wait_for_frames(folder, number):
    deadline = time.monotonic() + 30
    before = len(recorded(folder, "SELECT 1 FROM frames"))
    while time.monotonic() < deadline:
        if len(recorded(folder, "SELECT 1 FROM frames")) >= before + number:
            return
        if recorded(folder, "SELECT 1 FROM sessions WHERE ended_utc IS NOT NULL"):
            return
        time.sleep(0.01)


def kill_after(pid, folder, query, rows):
    """Kill a daemon once its journal holds so many rows."""
    deadline = time.monotonic() + 60
    while len(recorded(folder, query)) < rows:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def recorded(folder, query):
    if not (folder / "journal.sqlite").exists():
        return []
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # killed before the tables were there
            return []


def standing(folder):
    """Cells that stand counted, by number: (row_px, col_px, class). None was ever counted twice under one number."""
    ((session,),) = recorded(folder, "SELECT session FROM sessions")
    with Journal.open(folder / "journal.sqlite") as journal:
        assert journal.unfinished() == []
        found = {}
        for event in journal.events(session):
            assert event.event != "counted" or event.cell not in found
            if event.event == "counted":
                found[event.cell] = (event.row_px, event.col_px, event.verdict.class_name)
            else:
                found.pop(event.cell)
        assert journal.tally(session).cells == len(found)
    return found


WHOLE_PX = 60
"""A cell this far inside a frame is whole: 7.5 um at 0.125 um a pixel."""

TIMES = 3
WAITS = 5
"""A cell that so many used frames show whole, and the next five no more, must be counted: P-net is asked in frames that
have the time. Of 50 such sessions on a busy machine 5 of 623 cells waited longer than two, none longer than three."""


def held_to_truth(folder, slide, frames):
    """What a live session counted, held against the cells that its recorded frames show: ``truth.Held``."""
    path = calm_path(slide, frames)
    rows = recorded(folder, "SELECT frame, name, island, row_px, col_px FROM frames WHERE used ORDER BY frame")
    hand = np.array([path[int(name)] for _, name, *_ in rows])
    islands, places = np.array([row[2] for row in rows]), np.array([row[3:] for row in rows])
    offsets = {one: np.median((hand - places)[islands == one], axis=0) for one in set(islands.tolist())}
    counted = {}
    for event, cell, island, *place in recorded(
        folder, "SELECT event, cell, island, row_px, col_px FROM events ORDER BY seq"
    ):
        counted.pop(cell, None)
        if event == "counted":
            counted[cell] = place + offsets[island]
    truth = np.array([(cell.row_px, cell.col_px) for cell in slide.truth])
    inside = truth[:, None] - hand[None]
    whole = ((inside > WHOLE_PX) & (inside < np.array(SHAPE) - WHOLE_PX)).all(axis=2)
    # The hand moved on while nobody counted, so that frames and their names differ by more.
    lives = np.array([int(name) - frame for frame, name, *_ in rows])
    due = np.any([_is_due(whole[:, lives == one], one == lives[-1]) for one in set(lives.tolist())], axis=0)
    return held_against(truth, due, np.array(list(counted.values())), slide.pixel_size_um)


def _is_due(whole, ended):
    """(cells,) which a daemon must have counted that was shown so much of them until it ended, or was killed."""
    return (whole.sum(axis=1) >= TIMES) & (ended | ~whole[:, -WAITS:].any(axis=1))


def _serve(seed, cells, frames):
    cv2.setNumThreads(1)  # a pool of threads does not outlive a fork
    slide = SimulatedSlide.make(seed, "giemsa", cells)
    for line in sys.stdin:
        kind, folder = line.split()
        child = os.fork()
        if child == 0:
            try:
                run_daemon(slide, frames, Path(folder), kind)
            except BaseException:  # noqa: BLE001 - the child must not go on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
