"""How every command of fnrbc ends: its errors as one sentence, its exit code by what went wrong."""

import errno
import sys
from typing import Final, NoReturn

import typer

from fnrbc_device.errors import FnrbcError
from fnrbc_device.host.console import opened_console

INTERRUPTED: Final = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""

FAILED: Final = 1

FILES: Final = 1024
"""Open files that are always enough: the daemon with a page and a broker holds about a hundred."""


def run(app: typer.Typer) -> NoReturn:
    """Run a command line; exit 0 done, 1 failed, 2 wrong usage, 78 wrong configuration."""
    with opened_console() as console:
        code = _code_of(app)
    if console.fault is not None:
        with opened_console():
            _say(f"standard output took not all of the result ({console.fault.strerror}); send it elsewhere")
    sys.exit(code or (FAILED if console.fault else 0))


def _code_of(app: typer.Typer) -> int:
    """Run the command; its exit code, once its error is said."""
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except FnrbcError as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        _say(_words(error))
        return FAILED
    except MemoryError:
        _say("there is not enough memory; end other programs, or give it smaller pictures")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _words(error: OSError) -> str:
    """A fault of the system that no part of a command has words of its own for."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many files are open at once; allow {FILES}, with ulimit -n or LimitNOFILE of the unit"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; mend that, or choose another place"


def _say(words: str) -> None:
    print(f"error: {words}", file=sys.stderr)
