"""A daemon in a thread over a simulated microscope, with its pages; and what is taken along from them."""

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.daemon.daemon import Daemon, Setup
from fnrbc_device.journal.journal import Journal
from fnrbc_device.laboratory.settings import LaboratorySettings
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.records import Tally
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView

SOON_S = 40.0
FRAMES = 50_000
PX_A_FRAME = 8.0


def slide() -> SimulatedSlide:
    """Sixteen fNRBC among sixty cells."""
    return SimulatedSlide.make(8, "giemsa", 60)


class SteadyHand(SimulatedMicroscope):
    """A microscope whose slide lies still until the test moves it; its frames wait for the daemon, however slow."""

    def __init__(self, row_px: float, col_px: float) -> None:
        still = np.tile([float(row_px), float(col_px)], (FRAMES, 1))
        optics = Optics(dust=0, focus_drift_px=0.0, light_drift=0.0)
        super().__init__(slide(), still, seed=4, frame_shape=(480, 640), optics=optics)

    @property
    def read_so_far(self) -> int:
        return self._next

    def pan_to(self, row_px: float, col_px: float) -> None:
        """Slowly, in a straight line."""
        start = self._next + 2
        way = np.array([row_px, col_px]) - self.path[start]
        steps = max(int(np.hypot(*way) / PX_A_FRAME), 1)
        self.path[start : start + steps] = self.path[start] + way * np.linspace(0, 1, steps)[:, None]
        self.path[start + steps :] = (row_px, col_px)

    def push_to(self, row_px: float, col_px: float) -> None:
        """From one frame to the next, as a slide that is pushed away."""
        self.path[self._next + 2 :] = (row_px, col_px)


class Device:
    """The appliance as one process would run it."""

    def __init__(
        self,
        folder: Path,
        mqtt: MqttSettings,
        access: Authentication | None = None,
        laboratory: Path | None = None,
        source: SimulatedMicroscope | None = None,
    ) -> None:
        self.microscope = source or SimulatedMicroscope(slide(), seed=8, fps=30)
        um = self.microscope.slide.pixel_size_um
        self.path = folder / "journal.sqlite"
        self.control = SessionControl()
        self.control.enter("starting")  # as the service does: nobody is to ask before the daemon waits
        self.stop = threading.Event()
        live, ready = LiveView(), threading.Event()
        context = WebContext(live, self.control, self.path, "lab", "bench", um, {"40x": um})
        self.web = WebServer(live, context=context, access=access)
        self.web.start()
        setup = Setup(
            source=self.microscope,
            bundle=load_bundle(None),
            pixel_size_um=um,
            journal_path=self.path,
            mqtt=mqtt,
            live=live,
            start="by_hand",
            control=self.control,
            laboratory=LaboratorySettings(folder=laboratory, forms=("hl7", "fhir")),
        )
        self._thread = threading.Thread(target=lambda: Daemon(setup).run(self.stop, ready.set), name="counting")
        self._thread.start()
        assert ready.wait(SOON_S)

    def sessions(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as database:
            return [name for (name,) in database.execute("SELECT session FROM sessions ORDER BY started_utc")]

    def tally(self, session: str) -> Tally:
        with Journal.open(self.path) as journal:
            return journal.tally(session)

    def wait_for_candidates(self, least: int) -> None:
        deadline = time.monotonic() + SOON_S
        while not (names := self.sessions()) or self.tally(names[-1]).fnrbc < least:
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def end(self) -> None:
        self.stop.set()
        self._thread.join(SOON_S)
        self.web.stop()


def taken(folder: Path, name: str) -> bytes:
    """What the browser has put into the folder of downloads."""
    deadline = time.monotonic() + SOON_S
    while not (folder / name).exists():
        assert time.monotonic() < deadline, f"{name} was not downloaded"
        time.sleep(0.05)
    return (folder / name).read_bytes()


def handed_over(folder: Path, ending: str) -> str:
    """What lies in the folder that the laboratory's engine watches."""
    deadline = time.monotonic() + SOON_S
    while not (found := list(folder.glob(f"*{ending}"))):
        assert time.monotonic() < deadline, f"no {ending} was handed over"
        time.sleep(0.05)
    return found[0].read_bytes().decode()


def of_fhir(text: str) -> dict[str, float]:
    """The figures of a FHIR document, by their codes."""
    parts = json.loads(text)["entry"][0]["resource"]["component"]
    return {one["code"]["coding"][0]["code"]: one.get("valueQuantity", {}).get("value") for one in parts}


def of_hl7(text: str) -> dict[str, float]:
    """The figures of an HL7 message, by their codes."""
    lines = [line.split("|") for line in text.split("\r") if line.startswith("OBX")]
    return {line[3].partition("^")[0]: float(line[5]) for line in lines if line[2] == "NM" and line[5]}
