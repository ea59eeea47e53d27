"""A calibration that a page asked for: in a process of its own, so that nothing that counts waits for it.

Run as a program it is that process: it says in lines of JSON how far it is, and how it ended.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from fnrbc_device.errors import FnrbcError
from fnrbc_device.inference.bundle_store import BundleStore, Record
from fnrbc_device.model.manifest import SiteCalibration

LONGEST_S: Final = 900.0
"""100 cells take 6 s on a desktop core; whatever takes so much longer hangs."""

ENDING_S: Final = 10.0
"""For a process that was killed."""

NICENESS: Final = 10
"""Counting comes first."""

BROKE_OFF: Final = "it broke off; the log of the device says why, and fnrbc calibrate in a shell shows more"


@dataclass(frozen=True, slots=True)
class Made:
    """A site bundle that was installed and does not count yet."""

    bundle_id: str
    site: SiteCalibration
    home: tuple[tuple[float, float], tuple[float, float]]
    """Sensitivity and specificity on the parent's held-out cells, each before and after."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the newest calibration is."""

    state: Literal["none", "running", "made", "refused"] = "none"
    done: int = 0
    of: int = 1
    words: str = ""
    """Why it was refused, one sentence."""
    made: Made | None = None


class Calibrating:
    """One calibration at a time.

    Parameters
    ----------
    journal
        The record's file, for the reviewed cells.
    name
        Of the laboratory.
    parent
        Gives the folder of the bundle to tune, None for the shipped one.
    store
        Where the site bundle is installed.
    barred
        Why none can be installed on this device, one sentence; empty where it can.
    """

    def __init__(
        self, journal: Path, name: str, parent: Callable[[], Path | None], store: BundleStore, barred: str = ""
    ) -> None:
        self.barred = barred
        self.name = name
        self._journal = journal
        self._parent = parent
        self._store = store
        self._lock = threading.Lock()
        self._standing = Standing()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def standing(self) -> Standing:
        """As it is now."""
        return self._standing

    def start(self, record: Record) -> bool:
        """Begin in the background; False where one is under way.

        Parameters
        ----------
        record
            Puts the installation on record, told by both bundles' figures; where it raises, nothing is installed.
        """
        with self._lock:
            if self._closed or self._standing.state == "running":
                return False
            self._standing = Standing("running")
            self._thread = threading.Thread(target=self._work, args=(record,), name="calibrating", daemon=True)
            self._thread.start()
        return True

    def close(self) -> None:
        """End what is under way."""
        with self._lock:
            self._closed = True
            thread, process = self._thread, self._process
        if process is not None:
            process.kill()
        if thread is not None:
            thread.join(ENDING_S)

    def _work(self, record: Record) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="fnrbc-site-") as scratch:
                out = Path(scratch) / "site"
                said = self._run(out)
                if "refused" in said:
                    self._standing = Standing("refused", words=str(said["refused"]))
                    return
                bundle = self._store.install(out, record=record)
                assert bundle.manifest.site is not None
                (found, kept) = said["home"]
                made = Made(bundle.id, bundle.manifest.site, (tuple(found), tuple(kept)))
            self._standing = Standing("made", 1, made=made)
        except (FnrbcError, OSError) as error:
            self._standing = Standing("refused", words=str(error))

    def _run(self, out: Path) -> dict[str, Any]:
        """Run the process to its end, and give the last that it said."""
        parent = self._parent()
        command = [sys.executable, "-m", "fnrbc_device.learning.calibrating"]
        command += [str(self._journal), str(parent or ""), self.name, str(out)]
        last: dict[str, Any] = {}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        with process, self._bounded(process) as _:
            assert process.stdout is not None
            for line in process.stdout:
                with suppress(ValueError):
                    last = json.loads(line)
                if "of" in last:
                    self._standing = replace(self._standing, done=int(last["done"]), of=int(last["of"]))
        return last if {"home", "refused"} & last.keys() else {"refused": BROKE_OFF}

    def _bounded(self, process: "subprocess.Popen[str]") -> "_Bound":
        with self._lock:
            self._process = process
            if self._closed:
                process.kill()
        return _Bound(process)


class _Bound:
    """Kills a process that takes too long."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._timer = threading.Timer(LONGEST_S, process.kill)
        self._timer.daemon = True

    def __enter__(self) -> "_Bound":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _main(journal: str, parent: str, name: str, out: str) -> int:
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.learning.calibration import STAGES, calibrate
    from fnrbc_device.learning.reviewed_cells import from_record
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.model.seal import write_bundle

    os.nice(NICENESS)
    done = 0

    def stage() -> None:
        nonlocal done
        done += 1
        print(json.dumps({"done": done, "of": STAGES}), flush=True)

    try:
        bundle = load_bundle(Path(parent) if parent else None)
        found = calibrate(bundle, from_record(Path(journal), []), name, SystemClock().utc(), stage)
        write_bundle(Path(out), found.files, prove=load_bundle)
    except (FnrbcError, OSError) as error:
        print(json.dumps({"refused": str(error)}), flush=True)
        return 1
    home = [[before.value, after.value] for before, after in zip(found.home_before, found.home_after, strict=True)]
    print(json.dumps({"home": home}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
