"""The manual says what the programs say of themselves, and every example in it is one that they take."""

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.main import get_command

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("fnrbc", "fnrbc-export", "fnrbc-train")


@pytest.fixture(scope="module")
def manual() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "deploy" / "manual.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_manual_is_what_its_script_writes(manual: ModuleType):
    stale = [str(path.relative_to(ROOT)) for path, text in manual.pages().items() if path.read_text("utf-8") != text]
    assert stale == [], "run .venv/bin/python deploy/manual.py"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_shows_lines_to_copy_and_says_what_it_does(manual: ModuleType, program: str):
    for name, command, _context in manual.commands(program):
        assert command.help, name
        if not hasattr(command, "list_commands"):
            assert f"\n  {name}" in (command.epilog or "") or f"| {name}" in (command.epilog or ""), name


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_example_is_one_that_its_program_takes(manual: ModuleType, program: str):
    whole = get_command(manual.PROGRAMS[program].app)
    for lines in manual.PROGRAMS[program].EXAMPLES.values():
        for line in lines:
            name, *given = shlex.split(line.rpartition("| ")[2])
            assert name == program
            command, context = whole, typer.Context(whole, info_name=program)
            while hasattr(command, "list_commands"):
                command, given = command.get_command(context, given[0]), given[1:]
                assert command is not None, line
            command.make_context(line, list(given), parent=context)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_its_version_and_completes_itself(program: str):
    run = [str(Path(sys.executable).with_name(program))]
    version = subprocess.run([*run, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip()[0].isdigit()
    shown = subprocess.run([*run, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--install-completion" in shown
