"""What the pages show and change: the live view, the record and the session's control, in one hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fnrbc_device.host.clock import Clock, SystemClock
from fnrbc_device.laboratory.settings import LaboratorySettings
from fnrbc_device.learning.calibrating import Calibrating
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.model.site_figures import SiteFigures
from fnrbc_device.quality.controls import NOTHING_ASKED, ControlRules
from fnrbc_device.records import SessionKind
from fnrbc_device.session_state import SessionControl
from fnrbc_device.web.long_poll import LongPoll
from fnrbc_device.web.snapshot import LiveView


def shipped() -> Bundle:
    """Load the bundle that comes with fnrbc."""
    return load_bundle(None)


@dataclass(frozen=True, slots=True, eq=False)
class WebContext:
    """One device as its pages know it. Made once at the start; used by the web thread."""

    live: LiveView
    control: SessionControl = field(default_factory=SessionControl)
    journal_path: Path | None = None
    """The record; None where only the live view is shown. The file may not be there yet."""
    site: str = "lab"
    device: str = "fnrbc"
    pixel_size_um: float | None = None
    """The camera's own; None where the pages need not know it."""
    objectives: dict[str, float] = field(default_factory=dict)
    """Pixel sizes in um by the names of the objectives that a session may choose."""
    kind: SessionKind = "sample"
    """What a session counts whose start does not say."""
    laboratory: LaboratorySettings = field(default_factory=LaboratorySettings)
    """How the laboratory's system calls things."""
    controls: ControlRules = NOTHING_ASKED
    """What the laboratory wants of its controls."""
    site_figures: Callable[[str], SiteFigures | None] = lambda _bundle: None
    """What the bundle of an id was measured to do here."""
    bundle: Callable[[], Bundle] = shipped
    """Loads the one that the next session counts with."""
    config_file: Path | None = None
    """As the daemon was started with it, for commands that people are told; None where they find it by themselves."""
    language: str = "browser"
    """Of the pages, where a reader has chosen none; ``browser`` for the one that each browser asks for."""
    calibrating: Calibrating | None = None
    """Tunes the network to this laboratory; None where no bundle can be installed."""
    clock: Clock = field(default_factory=SystemClock)
    told: LongPoll = field(default_factory=LongPoll)
    """Wakes who waits for another person's decision."""

    def close(self) -> None:
        """End what pages began."""
        if self.calibrating is not None:
            self.calibrating.close()
