"""What all programs of fnrbc share on a command line: one style of help, ``--version``, completion, examples."""

from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

import fnrbc_device

Examples = Mapping[str, Iterable[str]]
"""Lines to copy, by the names of a command, such as ``bundle use``."""


def program(about: str) -> typer.Typer:
    """Begin a program. Its help is plain text, the same on a terminal, in a pipe and in a manual.

    Parameters
    ----------
    about
        What it is for, in a sentence or two.
    """
    app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, help=about)

    @app.callback()
    def main(
        version: Annotated[
            bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
        ] = False,
    ) -> None:
        pass

    return app


def with_examples(app: typer.Typer, examples: Examples, names: tuple[str, ...] = ()) -> None:
    """Put examples below the help of each command that has some; call it once all commands are there."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        lines = list(examples.get(" ".join((*names, name)), ()))
        if lines:
            command.epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_examples(group.typer_instance, examples, (*names, str(group.name)))


def _say_version(wanted: bool) -> None:
    if wanted:
        print(fnrbc_device.__version__)
        raise typer.Exit
