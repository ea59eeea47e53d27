"""How every command of fnrbc ends: its errors as one sentence, its exit code by what went wrong."""

import sys
from typing import NoReturn

import typer

from fnrbc_device.errors import FnrbcError

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""


def run(app: typer.Typer) -> NoReturn:
    """Run a command line; exit 0 done, 1 failed, 2 wrong usage, 78 wrong configuration."""
    try:
        app()
    except FnrbcError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)
