"""A real mosquitto for tests and benches: a child process on loopback that can be held, killed and started again."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A mosquitto of our own: a child process on loopback, with a folder of its own.

    ``conf`` is a whole configuration for a broker that then listens on ``port``, instead of ours; with ``each_second``
    it writes to disk so often, instead of at each change.
    """

    def __init__(self, folder: Path, acl: str = "", conf: str = "", port: int = 0, each_second: bool = False) -> None:
        folder.chmod(0o755)
        self.port = port or free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            # What survives a kill -9: stock settings write to disk every half an hour.
            "persistence true",
            f"persistence_location {folder}/",
            f"autosave_on_changes {'false' if each_second else 'true'}",
            "autosave_interval 1",
        ]
        if acl:
            (folder / "acl").write_text(acl)
            lines.append(f"acl_file {folder}/acl")
        ours = [f"log_dest file {folder}/log", f"user {_user()}", ""]
        (folder / "mosquitto.conf").write_text("\n".join([conf, *ours] if conf else [*lines, *ours]))

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(mosquitto_path()), "-c", str(self._folder / "mosquitto.conf")], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.02)
        raise AssertionError("mosquitto does not listen")

    def pause(self) -> None:
        """Hold it as a stalled machine would: connections stay open and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def forget(self) -> None:
        """Lose all that it kept, while it is down."""
        (self._folder / "mosquitto.db").unlink(missing_ok=True)

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(10)
            self._process = None


def _user() -> str:
    """Root's mosquitto would give up its rights, and with them the test's folder."""
    return "root" if os.geteuid() == 0 else ""


def mosquitto_path() -> str | None:
    """Where it is installed; None where it is not."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
