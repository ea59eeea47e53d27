"""The guard that all other tests stand behind: it has to bite."""

import subprocess
import sys
from pathlib import Path

LEAKS = """
import socket, subprocess, threading, time

kept = []

def test_thread():
    threading.Thread(target=time.sleep, args=(9,), name="stray", daemon=True).start()

def test_process():
    kept.append(subprocess.Popen(["sleep", "9"]))

def test_listener():
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_clean():
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    subprocess.run(["true"], check=True)
    socket.create_server(("127.0.0.1", 0)).close()
"""


def test_what_leaves_a_thread_a_process_or_a_listener_behind_fails(tmp_path):
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    helpers = Path(__file__).with_name("helpers")
    quietly = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "-o", f"pythonpath={helpers}"]
    command = [sys.executable, "-m", "pytest", *quietly, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path).stdout

    assert "4 passed, 3 errors" in told
    assert "left running: thread stray" in told
    assert "(sleep)" in told
    assert "left running: listener" in told
