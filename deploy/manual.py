"""Writes the manual from the programs' own help: docs/cli.md, and the manual pages in deploy/man.

.venv/bin/python deploy/manual.py

Nothing in them is written by hand: a sentence is changed where the command stands, a line to copy in its examples. The
wheel takes the manual pages to share/man/man1, where ``man fnrbc`` finds them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from typer.main import get_command

from fnrbc_device import cli as device
from fnrbc_device.commands.program import with_examples
from fnrbc_export import cli as export
from fnrbc_training import cli as training

ROOT: Final = Path(__file__).resolve().parents[1]
WIDTH: Final = 100
PROGRAMS: Final[dict[str, Any]] = {"fnrbc": device, "fnrbc-export": export, "fnrbc-train": training}

CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration, 130 interrupted. What went wrong is one "
    "sentence on standard error."
)
COMPLETION: Final = "Completion of commands and options in your shell: `PROGRAM --install-completion`."


def commands(program: str) -> Iterator[tuple[str, Any, typer.Context]]:
    """A program and all its commands, by their whole name, groups before what is in them."""
    module = PROGRAMS[program]
    with_examples(module.app, module.EXAMPLES)
    yield from _below(program, get_command(module.app), None)


def _below(
    name: str, command: Any, parent: typer.Context | None
) -> Iterator[tuple[str, Any, typer.Context]]:
    context = typer.Context(
        command, parent=parent, info_name=name.rpartition(" ")[2], max_content_width=WIDTH, terminal_width=WIDTH
    )
    yield name, command, context
    if hasattr(command, "list_commands"):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _below(f"{name} {child}", found, context)


def markdown() -> str:
    """The page of all commands."""
    parts = ["# The command line", "", f"{CODES} {COMPLETION}", ""]
    for program in PROGRAMS:
        for name, command, context in commands(program):
            level = "##" if name == program else "###"
            parts += [f"{level} {name}", "", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(parts).rstrip() + "\n"


def manual(program: str) -> str:
    """One manual page: the program, and a section for each command."""
    found = list(commands(program))
    _name, whole, _context = found[0]
    about = (whole.help or "").split(". ")[0].rstrip(".")
    lines = [f'.TH {program.upper()} 1 "" "fnrbc" "User Commands"', ".SH NAME", f"{program} \\- {_roff(about)}"]
    for name, command, context in found:
        lines += [f'.SH "{name.upper()}"', ".nf", *map(_roff, command.get_help(context).rstrip().splitlines()), ".fi"]
    return "\n".join([*lines, ".SH EXIT STATUS", _roff(CODES)]) + "\n"


def _roff(text: str) -> str:
    """A line that troff prints as it is."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{safe}" if safe.startswith((".", "\\(aq")) else safe


def pages() -> dict[Path, str]:
    """Every file, and what is to stand in it."""
    return {ROOT / "docs/cli.md": markdown()} | {
        ROOT / f"deploy/man/{program}.1": manual(program) for program in PROGRAMS
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
